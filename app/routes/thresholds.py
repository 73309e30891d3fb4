"""The thresholds of a student, version by version."""

import time
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Header, Response

from app.conditional import is_unchanged, matches
from app.deps import DEFAULT_PAGE, Cursor, Limit, Services, ServicesDep
from app.labels import columns_of
from app.openapi import problems
from app.replies import json_reply, read_position, write_position
from app.rethreshold import wanted_thresholds
from app.student_files import exports_folder
from app.student_schemas import ThresholdsPage, ThresholdsReply, ThresholdsUpdate
from app.submit import student_job
from app.thresholds import changed, etag_of, thresholds_of, thresholds_reply
from workers.jobs import Record, rfc3339
from workers.thresholds import (
    Thresholds,
    ThresholdsVersion,
    VersionDamaged,
    VersionTaken,
    add_version,
    latest_version,
    read_version,
    versions,
)

router = APIRouter(prefix="/v1/students/{student_id}/thresholds", tags=["students"])


@router.get(
    "",
    operation_id="get_thresholds",
    summary="Get the thresholds of a student",
    response_model=ThresholdsReply,
    responses=problems("student_not_found", "artifact_corrupt"),
)
def get_thresholds(
    student_id: str,
    services: ServicesDep,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Those in force. The ETag is what a change names in If-Match."""
    job = student_job(services, student_id)
    current = thresholds_of(student_id, services.data)
    if is_unchanged(if_none_match, etag_of(current.version)):
        return Response(status_code=304, headers=_headers(current))
    return _reply(job, current)


@router.get(
    "/versions",
    operation_id="list_thresholds_versions",
    summary="List all thresholds that a student had, newest first",
    response_model=ThresholdsPage,
    responses=problems("student_not_found", "artifact_corrupt"),
)
def list_thresholds_versions(
    student_id: str, services: ServicesDep, limit: Limit = DEFAULT_PAGE, cursor: Cursor = None
) -> Response:
    """No version is ever changed or deleted; the first is what the job itself found."""
    job = student_job(services, student_id)
    names, start = columns_of(job).names, read_position(cursor)
    numbers = list(versions(services.data, student_id))
    page = numbers[start : start + limit]
    found = [thresholds_of(student_id, services.data, number) for number in page]
    has_more = start + limit < len(numbers)
    return json_reply(
        {
            "data": [thresholds_reply(one, names, job.finished_at) for one in found],
            "next_cursor": write_position(start + limit) if has_more else None,
        }
    )


@router.put(
    "",
    operation_id="change_thresholds",
    summary="Change the thresholds of a student",
    response_model=ThresholdsReply,
    responses=problems(
        "student_not_found",
        "not_ready",
        "thresholds_changed",
        "malformed_request",
        "body_too_large",
        "unsupported_media_type",
        "artifact_corrupt",
        "disk_full",
    ),
)
def change_thresholds(
    student_id: str,
    body: ThresholdsUpdate,
    services: ServicesDep,
    if_match: Annotated[
        str | None, Header(description="The ETag of the thresholds that the change is based on.")
    ] = None,
) -> Response:
    """Labels follow at once, those of predictions too; nothing runs again.

    With If-Match a change that somebody else made meanwhile is answered with 412; without it the
    change goes on top of whatever is in force. Either way the earlier versions stay. The same
    change again, with nothing between, makes no version: it needs no `Idempotency-Key`.
    """
    job = student_job(services, student_id)
    wanted = wanted_thresholds(body, job, services)
    while True:
        current = latest_version(services.data, student_id)
        if if_match is not None and not matches(if_match, etag_of(current)):
            raise changed(student_id, current)
        present = _present(services, student_id, current)
        if present is not None and present.is_same(wanted):
            return _reply(job, present)
        try:
            return _reply(job, _add(services, job, student_id, wanted, current))
        except VersionTaken:
            continue


def _present(services: Services, student_id: str, version: int) -> ThresholdsVersion | None:
    """A version; None for a damaged one, which can be replaced."""
    with suppress(VersionDamaged):
        return read_version(services.data, student_id, version)
    return None


def _add(
    services: Services,
    job: Record,
    student_id: str,
    wanted: Thresholds,
    current: int,
) -> ThresholdsVersion:
    return add_version(
        services.data,
        student_id,
        wanted,
        after=current,
        now=rfc3339(time.time_ns() // 1_000_000),
        exports=exports_folder(services.store.outputs(job.id), services.data),
    )


def _reply(job: Record, version: ThresholdsVersion) -> Response:
    names = columns_of(job).names
    content = thresholds_reply(version, names, job.finished_at)
    return json_reply(content, headers=_headers(version))


def _headers(version: ThresholdsVersion) -> dict[str, str]:
    return {"ETag": etag_of(version.version), "Cache-Control": "private, no-cache"}
