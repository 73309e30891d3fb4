"""Where a record's finished units lie, asked of Redis name by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Protocol, TypeVar

from workers.store import Store

T = TypeVar("T")


class Ask(Protocol):
    """Makes a call to Redis, again if that is what it takes."""

    def __call__(self, call: Callable[[], T], /) -> T:
        """The answer."""


class StoredOutputs(Mapping[tuple[str, int], str]):
    """(phase, unit) -> name of the folder with its output, for every unit that is done.

    Most units want two names or none, and a job of 100 million images has 200,000: all of them
    are fetched only where somebody goes through them.
    """

    def __init__(self, store: Store, record_id: str, ask: Ask) -> None:
        self._store, self._record_id, self._ask = store, record_id, ask
        self._known: dict[tuple[str, int], str] = {}
        self._knows_all = False

    def __getitem__(self, unit: tuple[str, int]) -> str:
        if unit not in self._known and not self._knows_all:
            name = self._ask(partial(self._store.output, self._record_id, *unit))
            if name is not None:
                self._known[unit] = name
        return self._known[unit]

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self._everything())

    def __len__(self) -> int:
        return len(self._everything())

    def _everything(self) -> Mapping[tuple[str, int], str]:
        if not self._knows_all:
            self._known = self._ask(partial(self._store.outputs, self._record_id))
            self._knows_all = True
        return self._known
