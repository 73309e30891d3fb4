"""Calls that wait for work."""

from typing import Annotated

from anyio import current_time, sleep
from anyio.to_thread import run_sync
from fastapi import Header

from workers.jobs import Record
from workers.store import Store

#: How often a waiting call looks whether its work is done: at first, and after some time, in
#: seconds. What takes long is not missed by a moment more.
FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS = 0.1, 1.0
LOOKS_GROW = 1.3

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
