"""Calls that wait for the work they started."""

from anyio import current_time, sleep
from anyio.to_thread import run_sync

from workers.jobs import Record
from workers.store import Store

#: How often a waiting call looks whether its work is done, in seconds.
LOOK_SECONDS = 0.2


async def finished(record: Record, store: Store, seconds: int) -> Record:
    """The record when it is over, or as it stands after `seconds`."""
    gives_up_at = current_time() + seconds
    while not record.status.is_final and current_time() < gives_up_at:
        await sleep(LOOK_SECONDS)
        record = await run_sync(store.get, record.id)
    return record
