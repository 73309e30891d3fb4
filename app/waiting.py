"""Calls that wait for work."""

from contextlib import suppress
from typing import Annotated, Any

from anyio import current_time, sleep
from anyio.to_thread import run_sync
from fastapi import Depends, Header, Request

from app.conditional import wait_seconds
from app.deps import ServicesDep
from workers.jobs import Record
from workers.store import RecordNotFound, Store

#: How often a waiting call looks whether its work is done: at first, and after some time, in
#: seconds. What takes long is not missed by a moment more.
FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS = 0.1, 1.0
LOOKS_GROW = 1.3

#: The headers of an answer that came after a wait.
Applied = dict[str, str]
#: The header with which a client asks to wait.
WAITS = Annotated[
    str | None,
    Header(alias="Prefer", description="`wait=N`: wait up to N seconds, at most 60, for the end."),
]


async def finished(id: str, store: Store, seconds: int) -> Record:
    """The record when it is over, or as it stands after `seconds`; no thread waits.

    Raises:
        RecordNotFound: there is none, or none any more.
    """
    gives_up_at = current_time() + seconds
    look = FIRST_LOOK_SECONDS
    record = await run_sync(store.get, id)
    while not record.status.is_final and current_time() < gives_up_at:
        await sleep(min(look, gives_up_at - current_time()))
        look = min(look * LOOKS_GROW, LAST_LOOK_SECONDS)
        record = await run_sync(store.get, id)
    return record


def waits_for(parameter: str, prefix: str) -> Any:
    """A dependency that lets a look at one record wait for its end; the headers that say so.

    `parameter` of the path has its id, which begins with `prefix`.
    """

    async def wait(request: Request, services: ServicesDep, prefer: WAITS = None) -> Applied:
        seconds = wait_seconds(prefer)
        if not seconds:
            return {}
        record = await run_sync(services.record, request.path_params[parameter], prefix)
        with suppress(RecordNotFound):  # deleted meanwhile: the call itself says so
            await finished(record.id, services.store, seconds)
        return {"Preference-Applied": f"wait={seconds}"}

    return Depends(wait)
