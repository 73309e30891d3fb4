"""The images of a job, one at a time."""

from fastapi import APIRouter, Response

from app.deps import ServicesDep
from app.images import image_of, image_reply
from app.openapi import problems
from app.replies import json_reply
from app.schemas import JobImage

router = APIRouter(prefix="/v1/jobs/{job_id}/images", tags=["jobs"])


@router.get(
    "/{image_id}",
    operation_id="get_job_image",
    summary="Get an image of a job, with its scores at every stage and its local views",
    response_model=JobImage,
    responses=problems("job_not_found", "image_not_found", "not_ready", "artifact_corrupt"),
)
def get_job_image(job_id: str, image_id: str, services: ServicesDep) -> Response:
    """Stages appear as their phases end. The answer outlives the dataset, the image may not."""
    record = services.record(job_id, "job")
    image = image_of(record, image_id, services.data)
    return json_reply(image_reply(record, image, store=services.store, data=services.data))
