"""The images of a job, one at a time, and where its student sees a class in them."""

from functools import partial
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Query, Request, Response

from app.cams import MAX_SIDE, WantedCam, failure_of, wanted_cam
from app.conditional import best_type, wait_seconds
from app.deps import Services, ServicesDep
from app.downloads import OCTETS, StoredFile, send_file
from app.images import image_of, image_reply
from app.job_schemas import CamPending, JobImage
from app.openapi import FILE_PROBLEMS, download, problems
from app.replies import POLL_SECONDS, json_reply, object_reply
from app.waiting import finished
from workers.cams import CamFormat
from workers.jobs import Record, Status
from workers.store import RecordNotFound

router = APIRouter(prefix="/v1/jobs/{job_id}/images/{image_id}", tags=["jobs"])

#: A call waits this long for its map unless it says otherwise, in seconds.
DEFAULT_WAIT = 5
FORMATS = {"image/png": CamFormat.PNG, OCTETS: CamFormat.NPY}


@router.get(
    "",
    operation_id="get_job_image",
    summary="Get an image of a job, with its scores at every stage and its local views",
    response_model=JobImage,
    responses=problems("job_not_found", "image_not_found", "not_ready", "artifact_corrupt"),
)
def get_job_image(
    job_id: str,
    image_id: str,
    services: ServicesDep,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Stages appear as their phases end. The answer outlives the dataset, the image may not."""
    record = services.record(job_id, "job")
    image = image_of(record, image_id, services.data)
    outputs = services.store.outputs(job_id)
    reply = image_reply(record, image, outputs=outputs, data=services.data)
    return object_reply(reply, if_none_match=if_none_match)


@router.get(
    "/cam",
    operation_id="get_cam",
    summary="See where the student of a job sees a class in an image",
    response_class=Response,
    responses={
        **download(
            "The map over the image in grey (PNG), or its activations (NPY). The colours go from "
            "dark blue, where of this image the student sees least of the class, through purple, "
            "red and orange to light yellow, where it sees most. They are stretched for each map, "
            "so that a class that is nowhere has a yellow place too: read its score beside it.",
            *FORMATS,
        ),
        202: {"model": CamPending, "description": "It is being made: ask again at Location."},
        **problems(
            "job_not_found",
            "image_not_found",
            "not_ready",
            "dataset_deleted",
            "input_changed",
            "cam_failed",
            "too_many_cams",
            "disk_full",
            *FILE_PROBLEMS,
        ),
    },
)
async def get_cam(
    job_id: str,
    image_id: str,
    request: Request,
    services: ServicesDep,
    *,
    class_: Annotated[str, Query(alias="class", description="Name of a class of the job.")],
    format: Annotated[
        CamFormat | None,
        Query(description="`png`, or `npy`: float32, (height, width). Goes before Accept."),
    ] = None,
    max_side: Annotated[
        int | None,
        Query(
            ge=16,
            le=MAX_SIDE,
            description="Longest side of the answer in pixels, which is never larger than the "
            "upright image; without it 1024 for PNG, 4096 for NPY.",
        ),
    ] = None,
    accept: Annotated[str | None, Header()] = None,
    prefer: Annotated[
        str | None, Header(description="`wait=N`: wait up to N seconds, else 5.")
    ] = None,
) -> Response:
    """Made by a worker when it is first asked for, and kept for a day after it was last.

    The header Link leads to the image with its scores and the boxes of its local views.
    """
    chosen = format or FORMATS[best_type(accept, list(FORMATS))]
    find = partial(wanted_cam, format=chosen, max_side=max_side)
    wanted = await run_sync(find, services, job_id, image_id, class_)
    stored = await run_sync(wanted.stored)
    if stored is None:
        record = await run_sync(wanted.ask)
        record = await _ended(record, services, wait_seconds(prefer, default=DEFAULT_WAIT))
        if record.status is Status.FAILED:
            raise failure_of(record)
        stored = await run_sync(wanted.stored)
        if stored is None:
            return _pending_reply(wanted, record, max_side)
    return await run_sync(_cam_reply, request, wanted, stored, services)


async def _ended(record: Record, services: Services, seconds: int) -> Record:
    """As `finished`; a record that is forgotten meanwhile has ended, and its map tells how."""
    try:
        return await finished(record.id, services.store, seconds)
    except RecordNotFound:
        return record


def _cam_reply(
    request: Request, wanted: WantedCam, stored: StoredFile, services: Services
) -> Response:
    """The file, to be looked at; the address alone does not say in which format."""
    headers = {
        "Content-Disposition": stored.disposition("inline"),
        "Link": _link(wanted),
        "Vary": "Accept",
    }
    return send_file(request, stored, data=services.data, headers=headers)


def _pending_reply(wanted: WantedCam, record: Record, max_side: int | None) -> Response:
    is_queued = record.status is Status.QUEUED
    content = {
        "image_id": wanted.image["image_id"],
        "class": wanted.class_name,
        "format": str(wanted.cam.format),
        "status": str(Status.QUEUED if is_queued else Status.RUNNING),
    }
    headers = {
        "Location": wanted.path(max_side),
        "Retry-After": str(POLL_SECONDS),
        "Cache-Control": "no-store",
        "Link": _link(wanted),
    }
    return json_reply(content, status=202, headers=headers)


def _link(wanted: WantedCam) -> str:
    return f'<{wanted.image_path}>; rel="describedby"'
