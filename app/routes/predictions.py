"""Predictions: a student's answer on new images."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Response

from app.bodies import create_from_json_or_files, text_fields
from app.conditional import IfMatch, best_type
from app.creating import CreationDep
from app.deleting import Deleted, deleted, taken_back
from app.deps import (
    DEFAULT_PAGE,
    AtVersion,
    Cursor,
    RowLimit,
    Services,
    ServicesDep,
    Submitter,
)
from app.label_replies import CSV, JSON, NDJSON, page_fields, stream
from app.labels import predicted_labels
from app.openapi import created, json_or_files, problems
from app.replies import (
    polled_reply,
    prediction_reply,
    read_position,
)
from app.student_schemas import Prediction, PredictionCreate
from app.submit import student_job, submit_prediction, submit_upload
from app.uploads import Upload
from app.waiting import Applied, waits_for
from workers.jobs import Record, Status
from workers.label_tables import Labels

router = APIRouter(tags=["predictions"])


@router.post(
    "/v1/students/{student_id}/predictions",
    status_code=202,
    operation_id="create_prediction",
    summary="Ask a student about images",
    response_model=Prediction,
    responses=created(
        Prediction,
        "malformed_request",
        "path_not_allowed",
        "student_not_found",
        "dataset_not_found",
        "upload_stalled",
        "dataset_failed",
        "body_too_large",
        "unsupported_media_type",
        "unsupported_archive",
        "archive_rejected",
        "disk_full",
    ),
    openapi_extra=json_or_files(PredictionCreate, files_field="images"),
)
async def create_prediction(
    student_id: str, creation: CreationDep, submitter: Submitter
) -> Response:
    """Images as files, a folder of the server, or a dataset.

    With `Prefer: wait=N` (at most 60) the answer is the finished prediction where it can be.
    """
    job = await run_sync(student_job, creation.services, student_id)

    def from_upload(services: Services, upload: Upload, folder: Path) -> Record:
        name = text_fields(upload, {"name"}).get("name")
        student_job(services, student_id)  # it may have gone while the files came
        dataset = submit_upload(
            services,
            upload,
            folder,
            files_field="images",
            name=name,
            hidden=True,
            submitter=submitter,
        )
        body = PredictionCreate(dataset_id=dataset.id, name=name)
        with taken_back(services, dataset.id):
            return submit_prediction(services, job, body, submitter=submitter)

    return await create_from_json_or_files(
        creation,
        PredictionCreate,
        from_json=lambda services, body: submit_prediction(
            services, job, body, submitter=submitter
        ),
        from_upload=from_upload,
        show=partial(_first_page, creation.services),
    )


@router.get(
    "/v1/predictions/{prediction_id}",
    operation_id="get_prediction",
    summary="Get a prediction and its rows",
    response_model=Prediction,
    responses={
        200: {
            "description": "The prediction with a page of rows; all rows where a stream is "
            "asked for without a limit.",
            "content": {NDJSON: {}, CSV: {}},
        },
        **problems("prediction_not_found", "not_ready", "dataset_deleted", "artifact_corrupt"),
    },
)
def get_prediction(
    prediction_id: str,
    services: ServicesDep,
    waited: Annotated[Applied, waits_for("prediction_id", "pred")],
    *,
    thresholds_version: AtVersion = None,
    limit: RowLimit = None,
    cursor: Cursor = None,
    accept: Annotated[str | None, Header()] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """`data` is null until it succeeded. NDJSON and CSV stream all rows."""
    record = services.record(prediction_id, "pred")
    media_type = best_type(accept, [JSON, NDJSON, CSV])
    start = read_position(cursor)
    if media_type != JSON:
        labels = _labels(services, record, thresholds_version)
        return stream(
            *(labels, media_type, services.may_go_on),
            filename=prediction_id,
            start=start,
            limit=limit,
        )
    rows = _ready_labels(services, record, thresholds_version)
    reply = _with_rows(record, rows, start=start, limit=limit or DEFAULT_PAGE)
    return polled_reply(reply, record, if_none_match=if_none_match, waited=waited)


@router.delete(
    "/v1/predictions/{prediction_id}",
    operation_id="delete_prediction",
    summary="Delete a prediction",
    response_model=Deleted,
    responses=problems(
        "prediction_not_found", "prediction_running", "prediction_in_use", "precondition_failed"
    ),
)
async def delete_prediction(
    prediction_id: str, services: ServicesDep, if_match: IfMatch = None
) -> Response:
    """Its rows, and images that were uploaded for it alone."""
    show = partial(_first_page, services)
    return await deleted(services, prediction_id, "pred", show, if_match=if_match)


def _first_page(services: Services, record: Record) -> dict[str, Any]:
    rows = _ready_labels(services, record)
    return _with_rows(record, rows, start=0, limit=DEFAULT_PAGE)


def _with_rows(record: Record, rows: Labels | None, *, start: int, limit: int) -> dict[str, Any]:
    reply = prediction_reply(record)
    return reply if rows is None else reply | page_fields(rows, start, limit)


def _ready_labels(
    services: Services, record: Record, thresholds_version: int | None = None
) -> Labels | None:
    """The rows; None until there are any."""
    if record.status is not Status.SUCCEEDED:
        return None
    return _labels(services, record, thresholds_version)


def _labels(services: Services, record: Record, thresholds_version: int | None) -> Labels:
    job = student_job(services, record.request["student_id"])
    return predicted_labels(
        record,
        job,
        store=services.store,
        data=services.data,
        thresholds_version=thresholds_version,
    )
