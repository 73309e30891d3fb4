"""Calls that delete: what goes, and what the client is told of it."""

from collections.abc import Callable
from dataclasses import asdict

from fastapi import Response
from pydantic import Field

from app.conditional import check_if_match
from app.deps import Services
from app.errors import Problem
from app.replies import json_reply, object_etag
from app.schemas import Reply
from workers.deletion import delete_record
from workers.jobs import Kind, Record
from workers.store import IllegalMove


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
        description="Folders with results that stay, because other records have them too."
    )
    is_put_off: bool = Field(
        description="Whether the results go a little later: other work on the same images might "
        "be about to use them."
    )


def deleted(
    services: Services, record: Record, show: Callable[[], object], *, if_match: str | None
) -> Response:
    """Delete a record, which its client knows as `show` tells, and tell what went.

    What is broken can be deleted: it is shown only where If-Match asks for its version.

    Raises:
        Problem: it is another version than If-Match names, or has not ended.
    """
    if if_match is not None:
        check_if_match(if_match, object_etag(show()), record.id)
    try:
        receipt = delete_record(services.store, services.data, record)
    except IllegalMove as error:
        code = "dataset_in_use" if record.kind is Kind.DATASET else f"{record.kind}_running"
        raise Problem(code, f"{record.id} is {error.status}; it has to end first") from error
    return json_reply({"deleted": True, **asdict(receipt)})
