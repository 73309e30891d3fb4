"""Jobs: runs of the method over a dataset with a class list."""

from functools import partial
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Response

from app.conditional import IfMatch, check_if_match
from app.creating import CreationDep
from app.deleting import Deleted, deleted
from app.deps import DEFAULT_PAGE, Cursor, Limit, Services, ServicesDep, Submitter
from app.errors import Problem
from app.estimates import estimate_reply
from app.job_schemas import Job, JobCreate, JobEstimate, JobPage
from app.openapi import created, problems
from app.replies import (
    job_replies,
    job_reply,
    json_reply,
    object_etag,
    polled_reply,
    retry_after,
)
from app.submit import submit_job, submit_retry
from app.waiting import Applied, waits_for
from workers.jobs import Kind, Record, Status
from workers.outcomes import try_write_end
from workers.store import IllegalMove

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.post(
    "",
    status_code=202,
    operation_id="create_job",
    summary="Label the images of a dataset and train a student",
    response_model=Job,
    responses={
        **created(
            Job,
            "malformed_request",
            "path_not_allowed",
            "dataset_not_found",
            "dataset_failed",
            "body_too_large",
            "unsupported_media_type",
            "disk_full",
        ),
        200: {
            "model": Job | JobEstimate,
            "description": "It was done within `Prefer: wait=N`; or the estimate of a `dry_run`.",
        },
    },
)
async def create_job(body: JobCreate, creation: CreationDep, submitter: Submitter) -> Response:
    """With `source` one call registers the folder and starts the job.

    With `dry_run` nothing is made: 200 tells what the job would take.
    """
    if body.dry_run:
        services = creation.services
        return json_reply(await run_sync(estimate_reply, services, body, limiter=services.slow))
    return await creation.of_json(
        lambda services: submit_job(services, body, submitter=submitter),
        partial(_shown, creation.services),
    )


@router.get(
    "",
    operation_id="list_jobs",
    summary="List jobs, newest first",
    response_model=JobPage,
    responses=problems(),
)
def list_jobs(
    services: ServicesDep, limit: Limit = DEFAULT_PAGE, cursor: Cursor = None
) -> Response:
    """Finished ones too."""
    records, next_cursor = services.page(Kind.JOB, limit=limit, cursor=cursor)
    data = job_replies(records, services.store)
    return json_reply({"data": data, "next_cursor": next_cursor})


@router.get(
    "/{job_id}",
    operation_id="get_job",
    summary="Get a job and its progress",
    response_model=Job,
    responses=problems("job_not_found"),
)
def get_job(
    job_id: str,
    services: ServicesDep,
    waited: Annotated[Applied, waits_for("job_id", "job")],
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """With an ETag, and with Retry-After until the job is over."""
    record = services.record(job_id, "job")
    return polled_reply(
        _shown(services, record), record, if_none_match=if_none_match, waited=waited
    )


@router.post(
    "/{job_id}/cancel",
    operation_id="cancel_job",
    summary="Cancel a job",
    response_model=Job,
    responses={
        202: {"model": Job, "description": "It was running and stops after the batch in hand."},
        **problems("job_not_found", "job_finished", "precondition_failed"),
    },
)
def cancel_job(job_id: str, services: ServicesDep, if_match: IfMatch = None) -> Response:
    """200 if the job is cancelled now, 202 if it stops soon. What is done is kept."""
    record = services.record(job_id, "job")
    if if_match is not None:
        check_if_match(if_match, object_etag(_shown(services, record)), job_id)
    try:
        status = services.store.cancel(job_id)
    except IllegalMove as error:
        raise Problem("job_finished", f"{job_id} is {error.status} already") from error
    record = services.store.get(job_id)
    # Should Redis lose it, the job does not come back to life; a full disk stops no cancel.
    outputs = services.store.outputs(job_id)
    try_write_end(services.data, record, outputs, status=Status.CANCELLED)
    return json_reply(
        job_reply(record, None),
        status=200 if status is Status.CANCELLED else 202,
        headers=retry_after(record),
    )


@router.post(
    "/{job_id}/retry",
    status_code=202,
    operation_id="retry_job",
    summary="Try a job again that failed or was cancelled",
    response_model=Job,
    responses=created(
        Job,
        "job_not_found",
        "job_not_retryable",
        "dataset_not_found",
        "dataset_failed",
        "disk_full",
    ),
)
async def retry_job(job_id: str, creation: CreationDep, submitter: Submitter) -> Response:
    """A new job of the same request, `retry_of` the old one; what that one finished is reused.

    One whose error is not `retryable` is taken too, as what its `hint` says may have been done
    meanwhile: weights put in place, say. The new job has a warning `not_retryable` then.
    """
    job = await run_sync(creation.services.record, job_id, "job")
    return await creation.of_json(
        lambda services: submit_retry(services, job, submitter=submitter),
        partial(_shown, creation.services),
    )


@router.delete(
    "/{job_id}",
    operation_id="delete_job",
    summary="Delete a job",
    response_model=Deleted,
    responses=problems("job_not_found", "job_running", "job_in_use", "precondition_failed"),
)
async def delete_job(job_id: str, services: ServicesDep, if_match: IfMatch = None) -> Response:
    """With its labels, its student, and all evaluations, predictions and exports of it.

    Its dataset stays, and results that another job has too.
    """
    show = partial(_shown, services)
    return await deleted(services, job_id, "job", show, if_match=if_match)


def _shown(services: Services, record: Record) -> dict[str, Any]:
    [reply] = job_replies([record], services.store)
    return reply
