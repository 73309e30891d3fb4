"""The labels of a job: a page as JSON, or all of them as a stream."""

from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Query, Response

from app.conditional import best_type
from app.deps import DEFAULT_PAGE, AtVersion, Cursor, RowLimit, ServicesDep
from app.errors import invalid
from app.job_schemas import LabelPage
from app.label_query import QueryDep
from app.label_replies import CSV, JSON, NDJSON, answer_page, read_place, stream
from app.labels import queried_labels
from app.openapi import problems
from app.replies import json_reply
from workers.stages import Stage

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.get(
    "/{job_id}/labels",
    operation_id="list_labels",
    summary="Read the labels of a job at one stage",
    response_model=LabelPage,
    responses={
        200: {
            "description": "A page of rows; all rows where a stream is asked for without a limit.",
            "content": {NDJSON: {}, CSV: {}},
        },
        **problems("job_not_found", "not_ready", "artifact_corrupt"),
    },
)
async def list_labels(
    job_id: str,
    services: ServicesDep,
    *,
    stage: Annotated[Stage, Query(description="What kind of label.")] = Stage.STUDENT,
    query: QueryDep,
    views: Annotated[bool, Query(description="Add the local views of each image.")] = False,
    thresholds_version: AtVersion = None,
    limit: RowLimit = None,
    cursor: Cursor = None,
    accept: Annotated[str | None, Header()] = None,
) -> Response:
    """`Accept: application/x-ndjson` or `text/csv` streams all rows; a stream knows no Range.

    Each stage can be read as soon as its phase is done. Filters hold together, and for streams
    too. The pages of a query go on with the thresholds of its first page.
    """
    media_type = best_type(accept, [JSON, NDJSON, CSV])
    if views and media_type == CSV:
        raise invalid("/query/views", "has no place in CSV; ask for JSON or NDJSON")
    if thresholds_version is not None and Stage.STUDENT not in {stage, *query.disagree}:
        raise invalid(
            "/query/thresholds_version",
            f"has a meaning for stage student alone, stage is {stage}",
        )
    place = read_place(cursor)

    def reply() -> Response:
        answer = queried_labels(
            services.record(job_id, "job"),
            stage,
            query,
            outputs=services.store.outputs(job_id),
            data=services.data,
            with_views=views,
            thresholds_version=thresholds_version or place.thresholds_version,
        )
        place.check(answer)
        if media_type != JSON:
            return stream(
                *(answer.labels, media_type, services.may_go_on),
                filename=f"{job_id}-{stage}",
                start=place.position,
                limit=limit,
            )
        return json_reply(answer_page(answer, place.position, limit or DEFAULT_PAGE))

    return await run_sync(reply, limiter=None if query.is_everything else services.slow)
