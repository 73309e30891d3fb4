"""Calls that create: what they make is made once however often they are sent, and waited for."""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Depends, Header, Request, Response
from redis import RedisError

from app.conditional import wait_seconds
from app.deps import Services, ServicesDep
from app.errors import REFUSALS, Problem
from app.replies import json_text, retry_after
from app.waiting import WAITS, finished
from workers.deletion import PREFIXES, deleted_ids
from workers.digests import digest_of
from workers.fault_points import fault
from workers.jobs import Mark, Record
from workers.once import Answered, KeyBusy, KeyReused, Once, Taken
from workers.store import RecordNotFound

#: What the key of a request may look like: visible ASCII.
KEY_PATTERN = r"^[!-~]{1,255}$"
#: Seconds after which a request that is being answered may be sent again.
BUSY_SECONDS = 1

#: Makes the records, with the ids that the services it is given hand out.
Submit = Callable[[Services], Record]
#: A record as the answer shows it.
Show = Callable[[Record], Any]


@dataclass(frozen=True)
class Accepted:
    """The first answer to a request, which those get too that repeat it."""

    #: Of the record.
    id: str
    headers: dict[str, str]
    content: str

    def without(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What is kept of it: not what stands in the record's `request`, which Redis has too."""
        fields: dict[str, Any] = json.loads(self.content)
        asked = [name for name, value in fields.items() if value and request.get(name) == value]
        rest = fields | dict.fromkeys(asked)
        return {"id": self.id, "headers": self.headers, "content": rest, "asked": asked}

    @classmethod
    def of(cls, kept: Mapping[str, Any], request: Mapping[str, Any]) -> Self:
        """What `without` kept, whole again."""
        fields = kept["content"] | {name: request[name] for name in kept["asked"]}
        return cls(kept["id"], kept["headers"], json_text(fields))


class Creation:
    """One request that creates a record."""

    def __init__(self, request: Request, services: Services, key: str | None, wait: int) -> None:
        self.request, self.services = request, services
        self._key, self._wait = key, wait
        self._is_repeated = False

    async def of_json(
        self, submit: Submit, show: Show, *, limiter: CapacityLimiter | None = None
    ) -> Response:
        """The answer to a request whose whole content is its JSON body."""
        content = _digest_of_json(await self.request.body())
        accepted = await self.accept(content, submit, show, limiter=limiter)
        return await self.answer(accepted, show)

    async def accept(
        self,
        content: object,
        submit: Submit,
        show: Show,
        *,
        limiter: CapacityLimiter | None = None,
    ) -> Accepted:
        """What `submit` makes, or made when the request came before.

        Args:
            content: what stands for the body, in a form that JSON can hold.
            submit: makes the records.
            show: the record as the answer has it.
            limiter: of the threads in which it is made; None: the common ones.

        Raises:
            Problem: the key was sent with another content, or this one is being answered.
        """
        return await run_sync(self._accept, content, submit, show, limiter=limiter)

    async def answer(self, accepted: Accepted, show: Show) -> Response:
        """The answer, after the wait that was asked for."""
        headers = {"Idempotent-Replayed": "true"} if self._is_repeated else {}
        if self._wait:
            with suppress(RecordNotFound):  # deleted this moment
                record = await finished(accepted.id, self.services.store, self._wait)
                headers["Preference-Applied"] = f"wait={self._wait}"
                status = 200 if record.status.is_final else 202
                accepted = await run_sync(_accepted, record, show)
                return _response(accepted, headers, status)
        return _response(accepted, headers, 202)

    def _accept(self, content: object, submit: Submit, show: Show) -> Accepted:
        if self._key is None:
            return _accepted(submit(self.services), show)
        taken = self._take(self._key, content)
        if isinstance(taken, Answered):
            self._is_repeated = True
            return self._first_answer(taken.answer)
        self._is_repeated = taken.is_again
        return self._make(taken, submit, show)

    def _take(self, key: str, content: object) -> Taken | Answered:
        name = f"{self.services.caller.project}:{key}"  # no project meets another's
        url = self.request.url
        digest = digest_of(self.request.method, url.path, url.query, content)
        try:
            return Once(self.services.store).take(name, digest)
        except KeyBusy as error:
            raise Problem(
                "idempotency_in_flight",
                f"the request with Idempotency-Key {key} is being answered; send it again",
                headers={"Retry-After": str(BUSY_SECONDS)},
            ) from error
        except KeyReused as error:
            raise Problem(
                "idempotency_key_reused",
                f"Idempotency-Key {key} was sent with another request in the last 24 hours; "
                "a new request needs a new key",
            ) from error

    def _first_answer(self, kept: Mapping[str, Any]) -> Accepted:
        try:
            record = self.services.store.get(kept["id"])
        except RecordNotFound as error:
            raise _deleted(kept["id"]) from error
        return Accepted.of(kept, record.request)

    def _make(self, taken: Taken, submit: Submit, show: Show) -> Accepted:
        once = Once(self.services.store)
        try:
            if taken.is_again:
                self._check_not_deleted(taken.mark)
            record = submit(replace(self.services, mark=taken.mark))
            accepted = _accepted(record, show)
        except Exception as error:
            with suppress(RedisError):  # then its lease has to end
                is_nothing = isinstance(error, REFUSALS) and not self._has_made(taken.mark)
                once.let_go(taken, forget=is_nothing)
            raise
        fault("create.accepted", accepted.id, redis=self.services.store.redis)
        with suppress(RedisError):  # it is accepted all the same, and found by its ids
            once.keep(taken, accepted.without(record.request))
        return accepted

    def _check_not_deleted(self, mark: Mark) -> None:
        """Nothing is made under an id whose deletion is remembered: it would go again."""
        gone = deleted_ids(self.services.data).intersection(_ids_of(mark))
        if gone:
            raise _deleted(*sorted(gone))

    def _has_made(self, mark: Mark) -> bool:
        """Whether a refused request left a record: sent again with its key, it finds that."""
        return bool(self.services.store.known(_ids_of(mark)))


def _deleted(*ids: str) -> Problem:
    return Problem(
        "idempotency_key_reused",
        f"this Idempotency-Key made {', '.join(ids)}, which has been deleted; "
        "a new request needs a new key",
    )


def _ids_of(mark: Mark) -> list[str]:
    """All that a request with this key may make."""
    return [f"{prefix}_{mark.stem}" for prefix in PREFIXES]


def _accepted(record: Record, show: Show) -> Accepted:
    headers = {"Location": f"/v1/{record.kind}s/{record.id}", **retry_after(record)}
    return Accepted(record.id, headers, json_text(show(record)))


def _response(accepted: Accepted, headers: dict[str, str], status: int) -> Response:
    headers = {**accepted.headers, **headers}
    return Response(accepted.content, status, headers, "application/json")


def _digest_of_json(body: bytes) -> str:
    """The same for the same JSON, however it is spaced and ordered."""
    try:
        content = json.dumps(json.loads(body), sort_keys=True).encode()
    except (ValueError, RecursionError):
        content = body
    return hashlib.sha256(content).hexdigest()


async def _creation(
    request: Request,
    services: ServicesDep,
    idempotency_key: Annotated[
        str | None,
        Header(
            pattern=KEY_PATTERN,
            description="Of your choice, new for each thing you want made. The same request with "
            "the same key is answered as the first time and makes nothing more, for 24 hours.",
        ),
    ] = None,
    prefer: WAITS = None,
) -> Creation:
    return Creation(request, services, idempotency_key, wait_seconds(prefer))


CreationDep = Annotated[Creation, Depends(_creation)]
