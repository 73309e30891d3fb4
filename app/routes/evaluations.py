"""Evaluations: how good a job's labels are, where the user knows the truth."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Query, Response

from app.bodies import create_from_json_or_files
from app.conditional import IfMatch
from app.creating import CreationDep
from app.deleting import Deleted, deleted
from app.deps import DEFAULT_PAGE, Cursor, Limit, Services, ServicesDep, Submitter
from app.evaluation_schemas import EvaluationCreate, EvaluationPage, EvaluationRead
from app.evaluations import (
    evaluation_reply,
    evaluation_result,
    submit_evaluation,
    submit_uploaded_truth,
    succeeded_job,
)
from app.openapi import BINARY, created, json_or_form, problems
from app.replies import json_reply, polled_reply
from app.uploads import Upload
from app.waiting import Applied, waits_for
from workers.jobs import Kind, Record
from workers.truth.truth import TruthFormat

router = APIRouter(tags=["evaluations"])

FORM = {
    "truth": {
        **BINARY,
        "description": "CSV, JSON Lines or COCO's instances file; a zip of a VOC or NUS-WIDE.",
    },
    "format": {"type": "string", "enum": list(TruthFormat)},
    "split": {"type": "string", "maxLength": 100},
    "class_map": {"type": "string", "description": "A JSON object, as in a JSON body."},
    "name": {"type": "string", "maxLength": 200},
}


@router.post(
    "/v1/jobs/{job_id}/evaluations",
    status_code=202,
    operation_id="create_evaluation",
    summary="Compare a job's labels with the truth",
    response_model=EvaluationRead,
    responses=created(
        EvaluationRead,
        "malformed_request",
        "path_not_allowed",
        "job_not_found",
        "not_ready",
        "upload_stalled",
        "body_too_large",
        "unsupported_media_type",
        "unsupported_archive",
        "archive_rejected",
        "disk_full",
    ),
    openapi_extra=json_or_form(EvaluationCreate, FORM),
)
async def create_evaluation(job_id: str, creation: CreationDep, submitter: Submitter) -> Response:
    """A truth as an uploaded file, or a file or folder of the server.

    What is wrong inside the truth shows when it is read: the evaluation then fails, with the line.
    """
    job = await run_sync(succeeded_job, creation.services, job_id)

    def from_upload(services: Services, upload: Upload, _folder: Path) -> Record:
        return submit_uploaded_truth(services, job, upload, submitter=submitter)

    return await create_from_json_or_files(
        creation,
        EvaluationCreate,
        from_json=lambda services, body: submit_evaluation(
            services, job, body, submitter=submitter
        ),
        from_upload=from_upload,
        makes_dataset=False,
        show=partial(_shown, creation.services),
    )


@router.get(
    "/v1/jobs/{job_id}/evaluations",
    operation_id="list_evaluations",
    summary="List the evaluations of a job, newest first",
    response_model=EvaluationPage,
    responses=problems("job_not_found"),
)
def list_evaluations(
    job_id: str, services: ServicesDep, limit: Limit = DEFAULT_PAGE, cursor: Cursor = None
) -> Response:
    """With their mAP; all figures are in each one."""
    services.record(job_id, "job")
    records, next_cursor = services.page(
        Kind.EVALUATION,
        limit=limit,
        cursor=cursor,
        keep=lambda record: record.request["job_id"] == job_id,
    )
    data = [evaluation_reply(record) for record in records]
    return json_reply({"data": data, "next_cursor": next_cursor})


@router.get(
    "/v1/evaluations/{evaluation_id}",
    operation_id="get_evaluation",
    summary="Get an evaluation and its figures",
    response_model=EvaluationRead,
    responses=problems("evaluation_not_found", "artifact_corrupt"),
)
def get_evaluation(
    evaluation_id: str,
    services: ServicesDep,
    waited: Annotated[Applied, waits_for("evaluation_id", "eval")],
    *,
    curves: Annotated[
        bool, Query(description="With the points of the precision-recall curves.")
    ] = False,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """`result` is null until it succeeded."""
    record = services.record(evaluation_id, "eval")
    reply = _shown(services, record, with_curves=curves)
    return polled_reply(reply, record, if_none_match=if_none_match, waited=waited)


@router.delete(
    "/v1/evaluations/{evaluation_id}",
    operation_id="delete_evaluation",
    summary="Delete an evaluation",
    response_model=Deleted,
    responses=problems("evaluation_not_found", "evaluation_running", "precondition_failed"),
)
async def delete_evaluation(
    evaluation_id: str, services: ServicesDep, if_match: IfMatch = None
) -> Response:
    """Its figures and an uploaded truth. Thresholds that it tuned stay in force."""
    show = partial(_shown, services)
    return await deleted(services, evaluation_id, "eval", show, if_match=if_match)


def _shown(services: Services, record: Record, *, with_curves: bool = False) -> dict[str, Any]:
    result = evaluation_result(record, services, with_curves=with_curves)
    return {**evaluation_reply(record), "result": result}
