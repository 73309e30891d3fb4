"""The labels of a job: a page as JSON, or all of them as a stream."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from app.conditional import best_type
from app.deps import DEFAULT_PAGE, AtVersion, Cursor, Limit, ServicesDep
from app.errors import invalid
from app.label_replies import CSV, JSON, NDJSON, page_fields, stream
from app.labels import stage_labels
from app.openapi import problems
from app.replies import json_reply, read_position
from app.schemas import LabelPage
from workers.stages import Stage

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.get(
    "/{job_id}/labels",
    operation_id="list_labels",
    summary="Read the labels of a job at one stage",
    response_model=LabelPage,
    responses={
        200: {
            "description": "A page of rows; all rows where a stream is asked for.",
            "content": {NDJSON: {}, CSV: {}},
        },
        **problems("job_not_found", "not_ready", "artifact_corrupt"),
    },
)
def list_labels(
    job_id: str,
    services: ServicesDep,
    *,
    stage: Annotated[Stage, Query(description="What kind of label.")] = Stage.STUDENT,
    views: Annotated[bool, Query(description="Add the local views of each image.")] = False,
    thresholds_version: AtVersion = None,
    limit: Limit = DEFAULT_PAGE,
    cursor: Cursor = None,
    accept: Annotated[str | None, Header()] = None,
) -> Response:
    """`Accept: application/x-ndjson` or `text/csv` streams all rows.

    Each stage can be read as soon as its phase is done.
    """
    media_type = best_type(accept, [JSON, NDJSON, CSV])
    if views and media_type == CSV:
        raise invalid("/query/views", "has no place in CSV; ask for JSON or NDJSON")
    if thresholds_version is not None and stage is not Stage.STUDENT:
        raise invalid(
            "/query/thresholds_version",
            f"has a meaning for stage student alone, stage is {stage}",
        )
    record = services.record(job_id, "job")
    labels = stage_labels(
        record,
        stage,
        outputs=services.store.outputs(job_id),
        data=services.data,
        with_views=views,
        thresholds_version=thresholds_version,
    )
    if media_type != JSON:
        return stream(labels, media_type, filename=f"{job_id}-{stage}")
    return json_reply(page_fields(labels, read_position(cursor), limit))
