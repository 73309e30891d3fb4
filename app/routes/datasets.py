"""Datasets: images that nobody has labelled, registered once and used by many jobs."""

import json
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response

from app.bodies import create_from_json_or_files, text_fields
from app.conditional import IfMatch
from app.creating import CreationDep
from app.dataset_schemas import Dataset, DatasetCreate, DatasetPage, ImagePage, SkippedPage
from app.deleting import Deleted, deleted
from app.deps import DEFAULT_PAGE, Cursor, Limit, Services, ServicesDep, Submitter
from app.errors import Problem, invalid
from app.images import IMAGE_FIELDS
from app.openapi import created, json_or_files, problems
from app.replies import (
    dataset_reply,
    json_reply,
    polled_reply,
    read_position,
    write_position,
)
from app.submit import submit_folder, submit_upload
from app.uploads import Upload
from app.waiting import Applied, waits_for
from workers.files import MANIFEST
from workers.jobs import Kind, Record, Status
from workers.rows import manifest_count, manifest_rows

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])


@router.post(
    "",
    status_code=202,
    operation_id="create_dataset",
    summary="Register a folder of the server, a zip file or uploaded images",
    response_model=Dataset,
    responses=created(
        Dataset,
        "malformed_request",
        "path_not_allowed",
        "upload_stalled",
        "body_too_large",
        "unsupported_media_type",
        "unsupported_archive",
        "archive_rejected",
        "disk_full",
    ),
    openapi_extra=json_or_files(DatasetCreate, files_field="files"),
)
async def create_dataset(creation: CreationDep, submitter: Submitter) -> Response:
    """Every file is decoded once by a worker; `status` tells when the dataset is ready."""

    def from_upload(services: Services, upload: Upload, folder: Path) -> Record:
        fields = text_fields(upload, {"name", "max_bad_fraction"})
        return submit_upload(
            services, upload, folder, files_field="files", submitter=submitter, **fields
        )

    return await create_from_json_or_files(
        creation,
        DatasetCreate,
        from_json=lambda services, body: submit_folder(services, body, submitter=submitter),
        from_upload=from_upload,
        show=dataset_reply,
    )


@router.get(
    "",
    operation_id="list_datasets",
    summary="List datasets, newest first",
    response_model=DatasetPage,
    responses=problems(),
)
def list_datasets(
    services: ServicesDep, limit: Limit = DEFAULT_PAGE, cursor: Cursor = None
) -> Response:
    """Without those that a prediction registered for itself."""
    records, next_cursor = services.page(Kind.DATASET, limit=limit, cursor=cursor, keep=_is_listed)
    data = [dataset_reply(record) for record in records]
    return json_reply({"data": data, "next_cursor": next_cursor})


@router.get(
    "/{dataset_id}",
    operation_id="get_dataset",
    summary="Get a dataset",
    response_model=Dataset,
    responses=problems("dataset_not_found"),
)
def get_dataset(
    dataset_id: str,
    services: ServicesDep,
    waited: Annotated[Applied, waits_for("dataset_id", "ds")],
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """With an ETag: a client that has this version already gets 304."""
    record = services.record(dataset_id, "ds")
    return polled_reply(dataset_reply(record), record, if_none_match=if_none_match, waited=waited)


@router.get(
    "/{dataset_id}/images",
    operation_id="list_images",
    summary="List the images of a dataset",
    response_model=ImagePage,
    responses=problems("dataset_not_found", "not_ready"),
)
def list_images(
    dataset_id: str, services: ServicesDep, limit: Limit = DEFAULT_PAGE, cursor: Cursor = None
) -> Response:
    """One row per accepted file, in the byte order of the paths."""
    record = services.record(dataset_id, "ds")
    if record.status is not Status.SUCCEEDED:
        raise _not_ready(record, "images")
    manifest = services.data.dataset(dataset_id) / MANIFEST
    start = read_position(cursor)
    rows = manifest_rows(manifest, start, start + limit)
    has_more = start + len(rows) < manifest_count(manifest)
    return json_reply(
        {
            "data": [{field: row[field] for field in IMAGE_FIELDS} for row in rows],
            "next_cursor": write_position(start + len(rows)) if has_more else None,
        }
    )


@router.get(
    "/{dataset_id}/skipped",
    operation_id="list_skipped_files",
    summary="List the files of a dataset that cannot be used, and why",
    response_model=SkippedPage,
    responses=problems("dataset_not_found", "not_ready"),
)
def list_skipped_files(
    dataset_id: str, services: ServicesDep, limit: Limit = DEFAULT_PAGE, cursor: Cursor = None
) -> Response:
    """Also of a dataset that failed because of them."""
    record = services.record(dataset_id, "ds")
    if not record.status.is_final:
        raise _not_ready(record, "list of skipped files")
    rows, end = _read_lines(services.data.skipped(dataset_id), read_position(cursor), limit)
    return json_reply({"data": rows, "next_cursor": None if end is None else write_position(end)})


@router.delete(
    "/{dataset_id}",
    operation_id="delete_dataset",
    summary="Delete a dataset",
    response_model=Deleted,
    responses=problems("dataset_not_found", "dataset_in_use", "precondition_failed"),
)
async def delete_dataset(
    dataset_id: str, services: ServicesDep, if_match: IfMatch = None
) -> Response:
    """Its record, list and uploaded images; a folder on the server stays as it is.

    What jobs made of it stays too, but for what needs the images or their list: from then on maps
    (`.../cam`), new exports in `yolo_cls` and the rows of predictions on it are answered with 410
    `dataset_deleted`, and none of its jobs can be tried again.
    """
    return await deleted(services, dataset_id, "ds", dataset_reply, if_match=if_match)


def _is_listed(record: Record) -> bool:
    return not record.request.get("hidden")


def _not_ready(record: Record, wanted: str) -> Problem:
    reply = dataset_reply(record)
    return Problem(
        "not_ready",
        f"the {wanted} of {record.id} is made by phase register; it is {reply['status']}",
    )


def _read_lines(path: Path, start: int, limit: int) -> tuple[list[Any], int | None]:
    """Up to `limit` JSON lines from byte `start` on, and where the next begins, None at the end."""
    if not path.exists():  # it failed before a file was looked at
        return [], None
    with path.open("rb") as file:
        file.seek(max(0, start - 1))
        if start and file.read(1) != b"\n":
            raise invalid("/query/cursor", f"is no next_cursor of this list, points to {start}")
        lines = [line for _, line in zip(range(limit), file, strict=False)]
        end = start + sum(map(len, lines))
        has_more = bool(file.read(1))
    return [json.loads(line) for line in lines], end if has_more else None
