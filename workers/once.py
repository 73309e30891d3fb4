"""Requests that carry a key: however often one is sent, what it makes is made once."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workers.jobs import Mark, new_stem
from workers.store import Store


@dataclass(frozen=True)
class Taken:
    """The key is this request's: it makes what is asked for, or finds it made under its ids."""

    mark: Mark
    #: Names this request to the store.
    holder: str
    #: Whether the request came before, and its answer was not kept.
    is_again: bool


@dataclass(frozen=True)
class Answered:
    """The request was answered before."""

    answer: Mapping[str, Any]


class KeyBusy(Exception):
    """The same request is being answered."""


class KeyReused(Exception):
    """The key was sent with another request."""


class Once:
    """The keys of requests, in the Redis of a store; errors of Redis pass through."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def take(self, name: str, digest: str) -> Taken | Answered:
        """Before anything is made.

        Raises:
            KeyBusy, KeyReused: it is not to be had.
        """
        holder = secrets.token_hex(8)
        verdict, stem, *answer = self._store.call("take_key", name, digest, new_stem(), holder)
        if verdict == "other":
            raise KeyReused(name)
        if verdict == "busy":
            raise KeyBusy(name)
        if verdict == "done":
            return Answered(json.loads(answer[0]))
        return Taken(Mark(name, digest, stem), holder, is_again=verdict == "again")

    def keep(self, taken: Taken, answer: Mapping[str, Any]) -> None:
        """Every repetition gets this answer."""
        self._store.call("keep_answer", taken.mark.name, taken.mark.stem, json.dumps(answer))

    def let_go(self, taken: Taken, *, forget: bool) -> None:
        """There is no answer; `forget` where nothing was made either."""
        self._store.call("let_key_go", taken.mark.name, taken.holder, int(forget))
