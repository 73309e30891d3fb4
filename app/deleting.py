"""Calls that delete: what goes, and what the client is told of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial

from anyio.to_thread import run_sync
from fastapi import Response
from pydantic import Field
from redis import RedisError

from app.conditional import check_if_match
from app.deps import Services
from app.errors import REFUSALS, Problem
from app.replies import json_reply, object_etag
from app.schemas import Reply
from workers.deletion import delete_record
from workers.files import DiskFull
from workers.jobs import Kind, Record
from workers.store import IllegalMove, RecordNotFound


class Deleted(Reply):
    """What a deletion took with it."""

    id: str
    deleted: bool
    records: list[str] = Field(
        description="What made no sense without it and went too: evaluations, predictions and "
        "exports of a job, images that were uploaded for a prediction."
    )
    bytes_freed: int
    folders_shared: int = Field(
        description="Folders with results that stay, because other records of your project have "
        "them too."
    )
    is_put_off: bool = Field(
        description="Whether the results go a little later: other work on the same images might "
        "be about to use them."
    )


async def deleted(
    services: Services,
    id: str,
    prefix: str,
    show: Callable[[Record], object],
    *,
    if_match: str | None,
) -> Response:
    """Delete the record of this id, which its client knows as `show` tells, and tell what went.

    What is broken can be deleted: it is shown only where If-Match asks for its version.

    Raises:
        Problem: it is not there or another version than If-Match names, or has not ended.
    """
    record = await run_sync(services.record, id, prefix)
    remove = partial(_deleted, services, record, show, if_match)
    return await run_sync(remove, limiter=services.removals)


@contextmanager
def taken_back(services: Services, dataset_id: str) -> Iterator[None]:
    """Delete a dataset again where that is refused for which alone it was made."""
    try:
        yield
    except (*REFUSALS, DiskFull):
        # Else the first try of the same request was accepted, and needs it.
        with suppress(IllegalMove, OSError, RecordNotFound, RedisError):
            if not services.store.users(dataset_id):
                _take_back(services, dataset_id)
        raise


def _take_back(services: Services, dataset_id: str) -> None:
    with suppress(IllegalMove):  # it has ended
        services.store.cancel(dataset_id)
    delete_record(services.store, services.data, services.store.get(dataset_id))


def _deleted(
    services: Services, record: Record, show: Callable[[Record], object], if_match: str | None
) -> Response:
    if if_match is not None:
        check_if_match(if_match, object_etag(show(record)), record.id)
    try:
        receipt = delete_record(services.store, services.data, record)
    except IllegalMove as error:
        code = "dataset_in_use" if record.kind is Kind.DATASET else f"{record.kind}_running"
        raise Problem(code, f"{record.id} is {error.status}; it has to end first") from error
    return json_reply({"deleted": True, **asdict(receipt)})
