"""Records as the API shows them."""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fastapi import Response

from app.conditional import is_unchanged
from app.errors import Problem, invalid, shown
from workers.forecast import NO_PLACE, Place, find_places
from workers.halving import halving_warnings
from workers.jobs import Priority, Progress, Record, Status
from workers.sources import UPLOADS
from workers.store import Store

#: Seconds after which a client should look again at work that goes on.
POLL_SECONDS = 2

_DATASET_STATUS = {
    Status.QUEUED: "registering",
    Status.RUNNING: "registering",
    Status.CANCELLING: "registering",
    Status.SUCCEEDED: "ready",
    Status.FAILED: "failed",
    Status.CANCELLED: "failed",
}


def dataset_reply(record: Record) -> dict[str, Any]:
    facts = record.facts
    return {
        "id": record.id,
        "name": record.request.get("name"),
        "source": source_reply(record.request["source"]),
        "status": _DATASET_STATUS[record.status],
        "counts": facts.get("counts"),
        "bytes": facts.get("bytes"),
        "formats": facts.get("formats"),
        "images_digest": facts.get("images_digest"),
        "progress": progress_reply(record.progress),
        "error": _error(record),
        **times_reply(record),
    }


def job_replies(records: Sequence[Record], store: Store) -> list[dict[str, Any]]:
    """Jobs with their places in the queue, which costs two calls whatever their number."""
    places = find_places(records, store)
    return [job_reply(record, places.get(record.id)) for record in records]


def job_reply(record: Record, place: Place | None) -> dict[str, Any]:
    """`place` in the queue, where it stands in it."""
    request, facts = record.request, record.facts
    return {
        "id": record.id,
        "name": request["name"],
        "retry_of": request.get("retry_of"),
        "dataset_id": request["dataset_id"],
        "classes": request["classes"],
        "preset": request["preset"],
        "config": request["config"],
        "metadata": request["metadata"],
        **state_reply(record),
        "submitter": record.submitter,
        "priority": Priority(record.priority).name.lower(),
        "queue": vars(place or NO_PLACE) if record.status is Status.QUEUED else None,
        "counts": facts.get("counts", {}),
        "warnings": [
            *request.get("warnings", []),
            *facts.get("warnings", []),
            *halving_warnings(facts),
        ],
        "student_id": facts.get("student_id"),
        "metrics": facts.get("metrics", {}),
        **times_reply(record),
    }


def prediction_reply(record: Record) -> dict[str, Any]:
    """A prediction without its rows."""
    request = record.request
    return {
        "id": record.id,
        "student_id": request["student_id"],
        "dataset_id": request["dataset_id"],
        "name": request["name"],
        **state_reply(record),
        **times_reply(record),
        "data": None,
        "next_cursor": None,
    }


def json_reply(
    content: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """`content` as JSON."""
    return Response(json_text(content), status, headers, "application/json")


def json_text(content: object) -> str:
    """`content` as the body of an answer has it."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def object_reply(
    content: object, *, if_none_match: str | None, headers: Mapping[str, str] | None = None
) -> Response:
    """One object with its ETag; 304 where the client has these very bytes."""
    etag = object_etag(content)
    headers = {"ETag": etag, "Cache-Control": "private, no-cache", **(headers or {})}
    if is_unchanged(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    return json_reply(content, headers=headers)


def object_etag(content: object) -> str:
    """The strong ETag of an object: of other bytes it is another one, whatever they come from."""
    return f'"{hashlib.sha256(json_text(content).encode()).hexdigest()[:32]}"'


def polled_reply(
    content: object,
    record: Record,
    *,
    if_none_match: str | None,
    waited: Mapping[str, str],
) -> Response:
    """One record, with what a client needs that looks at it again and again."""
    return object_reply(
        content, if_none_match=if_none_match, headers={**retry_after(record), **waited}
    )


def retry_after(record: Record) -> dict[str, str]:
    return {} if record.status.is_final else {"Retry-After": str(POLL_SECONDS)}


def write_position(position: int) -> str:
    """The cursor of rows that begin at `position` of a file."""
    return write_marked("at", position)


def read_position(cursor: str | None) -> int:
    """The position that `write_position` wrote; 0 without one."""
    if cursor is None:
        return 0
    (position,) = read_marked("at", cursor, 1)
    if not position.isdecimal() or len(position) > 18:
        raise bad_cursor(cursor)
    return int(position)


def write_marked(mark: str, *parts: object) -> str:
    """A cursor that is one of a kind of list."""
    return (
        base64.urlsafe_b64encode(":".join(map(str, (mark, *parts))).encode()).decode().rstrip("=")
    )


def read_marked(mark: str, cursor: str, parts: int) -> list[str]:
    """So many parts, as `write_marked` was given them with this mark.

    Raises:
        Problem: it gave no such cursor.
    """
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        raise bad_cursor(cursor) from None
    found, *rest = text.split(":")
    if found != mark or len(rest) != parts:
        raise bad_cursor(cursor)
    return rest


def bad_cursor(cursor: str) -> Problem:
    return invalid("/query/cursor", f"is no next_cursor of this list, is {shown(cursor)}")


def source_reply(source: Mapping[str, Any]) -> dict[str, Any]:
    """As it was given, but for a long list; where an upload lay on disk is nobody's business."""
    if source["kind"] == "list" and "paths" in source:
        return {"kind": "list", "count": len(source["paths"])}
    is_upload = source["kind"] in {*UPLOADS, "upload"}
    return {key: value for key, value in source.items() if not (is_upload and key == "path")}


def state_reply(record: Record) -> dict[str, Any]:
    """How far a job, prediction or evaluation is."""
    return {
        "status": str(record.status),
        "terminal": record.status.is_final,
        "phase": record.phase,
        "progress": progress_reply(record.progress),
        "error": _error(record),
    }


def progress_reply(progress: Progress) -> dict[str, Any]:
    """How far a record is."""
    return {
        "phase": progress.phase,
        "phase_index": progress.phase_index,
        "phase_count": progress.phase_count,
        "done": progress.done,
        "total": progress.total,
        "percent": progress.percent,
        "rate_per_second": progress.rate_per_second,
        "eta_seconds": progress.eta_seconds,
        "updated_at": progress.updated_at,
    }


def _error(record: Record) -> dict[str, Any] | None:
    return asdict(record.error) if record.error else None


def times_reply(record: Record) -> dict[str, Any]:
    """When it was made, taken up and over."""
    return {
        "created_at": record.created_at,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
    }
