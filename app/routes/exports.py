"""Exports: the labels of a job as files that other tools read."""

from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Query, Request, Response

from app.conditional import IfMatch
from app.creating import CreationDep
from app.deleting import Deleted, deleted
from app.deps import DEFAULT_PAGE, Cursor, Limit, ServicesDep, Submitter
from app.downloads import MEDIA_TYPES, send_file
from app.export_schemas import ExportCreate, ExportPage, ExportRead
from app.exports import export_file, export_reply, submit_export
from app.openapi import FILE_PROBLEMS, created, download, problems
from app.replies import json_reply, polled_reply
from app.waiting import Applied, waits_for
from workers.jobs import Kind

router = APIRouter(tags=["exports"])

EXPORT_TYPES = (
    *(MEDIA_TYPES[suffix] for suffix in (".csv", ".parquet", ".jsonl")),
    *("application/json", "application/zip"),
)


@router.post(
    "/v1/jobs/{job_id}/exports",
    status_code=202,
    operation_id="create_export",
    summary="Export the labels of a job",
    response_model=ExportRead,
    responses=created(
        ExportRead,
        "malformed_request",
        "job_not_found",
        "not_ready",
        "dataset_deleted",
        "body_too_large",
        "unsupported_media_type",
        "artifact_corrupt",
        "disk_full",
    ),
)
async def create_export(
    job_id: str, body: ExportCreate, creation: CreationDep, submitter: Submitter
) -> Response:
    """Any stage that is done, also of a job that goes on. `losses` says what the file lacks.

    `filters` are those of the labels of a job: the file has the images that match now.

    The same labels in the same format are written once, however often they are exported.
    """
    job = await run_sync(creation.services.record, job_id, "job")
    return await creation.of_json(
        lambda services: submit_export(services, job, body, submitter=submitter),
        export_reply,
        limiter=creation.services.slow if body.filters else None,
    )


@router.get(
    "/v1/exports",
    operation_id="list_exports",
    summary="List exports, newest first",
    response_model=ExportPage,
    responses=problems(),
)
def list_exports(
    services: ServicesDep,
    *,
    job_id: Annotated[str | None, Query(max_length=100, description="Of this job alone.")] = None,
    limit: Limit = DEFAULT_PAGE,
    cursor: Cursor = None,
) -> Response:
    """Of all jobs, or of one."""
    records, next_cursor = services.page(
        Kind.EXPORT,
        limit=limit,
        cursor=cursor,
        keep=lambda record: job_id in (None, record.request["job_id"]),
    )
    return json_reply({"data": list(map(export_reply, records)), "next_cursor": next_cursor})


@router.get(
    "/v1/exports/{export_id}",
    operation_id="get_export",
    summary="Get an export",
    response_model=ExportRead,
    responses=problems("export_not_found"),
)
def get_export(
    export_id: str,
    services: ServicesDep,
    waited: Annotated[Applied, waits_for("export_id", "exp")],
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """`file` is null until it succeeded."""
    record = services.record(export_id, "exp")
    return polled_reply(export_reply(record), record, if_none_match=if_none_match, waited=waited)


@router.get(
    "/v1/exports/{export_id}/file",
    operation_id="get_export_file",
    summary="Download the file of an export",
    response_class=Response,
    responses={
        **download("The file.", *EXPORT_TYPES),
        **problems(
            *("export_not_found", "not_ready", "artifact_not_found"),
            *FILE_PROBLEMS,
        ),
    },
)
@router.head("/v1/exports/{export_id}/file", include_in_schema=False)
def get_export_file(export_id: str, request: Request, services: ServicesDep) -> Response:
    """The ETag is the SHA-256 of the bytes; Range, If-Range and HEAD work."""
    record = services.record(export_id, "exp")
    return send_file(request, export_file(services, record), data=services.data)


@router.delete(
    "/v1/exports/{export_id}",
    operation_id="delete_export",
    summary="Delete an export",
    response_model=Deleted,
    responses=problems("export_not_found", "export_running", "precondition_failed"),
)
async def remove_export(
    export_id: str, services: ServicesDep, if_match: IfMatch = None
) -> Response:
    """Its record and, unless another export has the same file, its file. The labels stay."""
    return await deleted(services, export_id, "exp", export_reply, if_match=if_match)
