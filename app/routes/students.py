"""Students: the classifiers that jobs trained."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from app.deps import DEFAULT_PAGE, Cursor, Limit, Services, ServicesDep
from app.downloads import MEDIA_TYPES, send_file
from app.errors import Problem
from app.labels import columns_of
from app.openapi import FILE_PROBLEMS, download, problems
from app.replies import json_reply, object_reply
from app.student_files import student_weights
from app.student_schemas import Student, StudentPage
from app.submit import student_job
from app.thresholds import thresholds_of
from workers.jobs import Kind, Record, Status
from workers.stages import student_id_of

router = APIRouter(prefix="/v1/students", tags=["students"])


@router.get(
    "",
    operation_id="list_students",
    summary="List students, newest first",
    response_model=StudentPage,
    responses=problems("artifact_corrupt"),
)
def list_students(
    services: ServicesDep, limit: Limit = DEFAULT_PAGE, cursor: Cursor = None
) -> Response:
    """One per job that succeeded."""
    records, next_cursor = services.page(
        Kind.JOB,
        limit=limit,
        cursor=cursor,
        keep=lambda record: record.status is Status.SUCCEEDED,
    )
    data = [_student_reply(record, services) for record in records]
    return json_reply({"data": data, "next_cursor": next_cursor})


@router.get(
    "/{student_id}",
    operation_id="get_student",
    summary="Get a student",
    response_model=Student,
    responses=problems("student_not_found", "artifact_corrupt"),
)
def get_student(
    student_id: str,
    services: ServicesDep,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Its classes, its thresholds, and where it comes from."""
    reply = _student_reply(student_job(services, student_id), services)
    return object_reply(reply, if_none_match=if_none_match)


@router.get(
    "/{student_id}/weights",
    operation_id="get_student_weights",
    summary="Download a student",
    response_class=Response,
    responses={
        **download("student.safetensors", MEDIA_TYPES[".safetensors"]),
        **problems("student_not_found", "artifact_not_found", *FILE_PROBLEMS),
    },
)
@router.head("/{student_id}/weights", include_in_schema=False)
def get_student_weights(student_id: str, request: Request, services: ServicesDep) -> Response:
    """It needs nothing else. Its header has the thresholds in force, and the ETag follows them."""
    student_job(services, student_id)
    stored = student_weights(student_id, services.data)
    if stored is None:
        raise Problem("artifact_not_found", f"the file of {student_id} is gone")
    return send_file(request, stored, data=services.data)


def _student_reply(job: Record, services: Services) -> dict[str, Any]:
    request, student_id = job.request, student_id_of(job.id)
    thresholds = thresholds_of(student_id, services.data)
    weights = student_weights(student_id, services.data, thresholds)
    return {
        "id": student_id,
        "job_id": job.id,
        "name": request["name"],
        "dataset_id": request["dataset_id"],
        "classes": request["classes"],
        "thresholds": {name: thresholds.values[name] for name in columns_of(job).names},
        "threshold_basis": thresholds.basis,
        "thresholds_version": thresholds.version,
        "student": request["config"]["student"],
        "teacher": request["config"]["teacher"],
        "preset": request["preset"],
        "metrics": job.facts.get("metrics", {}),
        "weights": weights.listed() if weights else None,
        "created_at": job.finished_at,
    }
