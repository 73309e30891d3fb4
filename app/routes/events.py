"""What happens to a job, while it happens: as a stream, or by asking again and again."""

from collections.abc import Sequence
from typing import Annotated

from anyio import current_time
from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Query, Response

from app.conditional import MAX_WAIT_SECONDS, best_type
from app.deps import ServicesDep
from app.event_stream import MEDIA_TYPE, EventStream
from app.events import Event
from app.hub import Watch
from app.label_replies import JSON
from app.openapi import problems
from app.progress_schemas import EventPage
from app.replies import json_reply

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

#: JSON has no greater whole number that every client reads exactly.
MAX_SEQ = 2**53


@router.get(
    "/{job_id}/events",
    operation_id="get_job_events",
    summary="Watch a job",
    response_model=EventPage,
    responses={
        200: {
            "description": "Events without an end, or a page of them.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
        },
        204: {"description": "The job is over, and you have every event of it."},
        **problems("job_not_found"),
    },
)
async def get_job_events(
    job_id: str,
    services: ServicesDep,
    *,
    after: Annotated[
        int | None,
        Query(ge=0, le=MAX_SEQ, description="`seq` of the last event you have."),
    ] = None,
    wait: Annotated[
        int, Query(ge=0, le=MAX_WAIT_SECONDS, description="Seconds to wait for an event.")
    ] = 0,
    last_event_id: Annotated[
        int | None, Header(ge=0, le=MAX_SEQ, description="The same, as browsers send it.")
    ] = None,
    accept: Annotated[str | None, Header()] = None,
) -> Response:
    """With `Accept: text/event-stream` server-sent events, else JSON.

    Without `after` the first event is `job.snapshot`, the job as it is. Then come `job.state`,
    `job.phase`, `job.progress`, `job.metric` and `job.warning` as they happen, at last `job.done`.
    `seq` grows by one. Come back with the last one you have and you miss nothing; `resync` and a
    snapshot say that it is too long ago.
    """
    await run_sync(services.record, job_id, "job")
    watch = services.hub.watch(job_id, after if last_event_id is None else last_event_id)
    events = await watch.news()
    if best_type(accept, [JSON, MEDIA_TYPE]) != MEDIA_TYPE:
        return await _page(watch, events, wait)
    if watch.is_over and not events and not services.hub.is_ending:
        return Response(status_code=204)
    place = services.streams.one_more(services.caller.key_id)
    return EventStream(watch, events, services.may_go_on, place)


async def _page(watch: Watch, events: Sequence[Event], seconds: int) -> Response:
    """What is there, or comes in time."""
    gives_up_at = current_time() + seconds
    while not events and not watch.is_over and (left := gives_up_at - current_time()) > 0:
        await watch.wait(left)
        events = await watch.news()
    return json_reply({"data": [event.body for event in events], "last_seq": watch.seq})
