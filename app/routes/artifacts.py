"""The files of a job: a list, and each of them to download."""

from fastapi import APIRouter, Request, Response

from app.artifacts import artifacts_of
from app.deps import ServicesDep
from app.downloads import MEDIA_TYPES, OCTETS, send_file
from app.errors import Problem, shown
from app.openapi import FILE_PROBLEMS, download, problems
from app.replies import json_reply
from app.schemas import ArtifactPage

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

ARTIFACT_TYPES = (*MEDIA_TYPES.values(), "application/json", "text/html", OCTETS)


@router.get(
    "/{job_id}/artifacts",
    operation_id="list_artifacts",
    summary="List the files that a job made so far",
    response_model=ArtifactPage,
    responses=problems("job_not_found", "artifact_corrupt"),
)
def list_artifacts(job_id: str, services: ServicesDep) -> Response:
    """Epochs appear while the training runs. Rows of the tensors are the distinct images."""
    record = services.record(job_id, "job")
    found = artifacts_of(record, store=services.store, data=services.data)
    return json_reply({"data": [stored.listed() for stored in found], "next_cursor": None})


@router.get(
    "/{job_id}/artifacts/{name}",
    operation_id="get_artifact",
    summary="Download a file that a job made",
    response_class=Response,
    responses={
        **download("The file.", *ARTIFACT_TYPES),
        **problems("job_not_found", "artifact_not_found", *FILE_PROBLEMS),
    },
)
@router.head("/{job_id}/artifacts/{name}", include_in_schema=False)
def get_artifact(job_id: str, name: str, request: Request, services: ServicesDep) -> Response:
    """The ETag is the SHA-256 of the bytes; Range, If-Range and HEAD work."""
    record = services.record(job_id, "job")
    for stored in artifacts_of(record, store=services.store, data=services.data):
        if stored.name == name:
            return send_file(request, stored, data=services.data)
    raise Problem("artifact_not_found", f"{job_id} has no artifact {shown(name)}, or not yet")
