"""How a job went, or goes: its metrics by epoch, and its log."""

from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Query, Response

from app.deps import DEFAULT_PAGE, Cursor, Limit, ServicesDep
from app.openapi import problems
from app.progress_schemas import LogPage, MetricList
from app.replies import json_reply, read_position, write_position
from workers.events import Line, read_metrics
from workers.job_log import read_log

Level = Literal["info", "warning", "error"]
#: From the least on.
LEVELS = get_args(Level)

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.get(
    "/{job_id}/metrics",
    operation_id="get_job_metrics",
    summary="Get how the training of a job goes",
    response_model=MetricList,
    responses=problems("job_not_found"),
)
def get_job_metrics(
    job_id: str,
    services: ServicesDep,
    name: Annotated[Literal["loss", "map"] | None, Query(description="One alone.")] = None,
) -> Response:
    """A point for each epoch that is done, over warm-up and main training.

    `map` is the mean average precision of the student against the pseudo-labels that it learns
    from: no truth is known here.
    """
    points = read_metrics(services.record(job_id, "job").facts)
    wanted = [name] if name else list(points)
    return json_reply({"data": [{"name": each, "points": points[each]} for each in wanted]})


@router.get(
    "/{job_id}/logs",
    operation_id="get_job_logs",
    summary="Read the log of a job",
    response_model=LogPage,
    responses=problems("job_not_found"),
)
def get_job_logs(
    job_id: str,
    services: ServicesDep,
    limit: Limit = DEFAULT_PAGE,
    cursor: Cursor = None,
    level: Annotated[Level, Query(description="Lines of this level and above.")] = "info",
) -> Response:
    """Oldest first. To follow it, ask again with `next_cursor`: it is null when the job is over.

    The first lines of a very long log are dropped.
    """
    is_over = services.record(job_id, "job").status.is_final
    start, wanted = read_position(cursor), LEVELS[LEVELS.index(level) :]
    lines = read_log(services.store, services.data, job_id, after=start)
    found = [line for line in lines if line.level in wanted]
    page, is_rest = found[:limit], len(found) <= limit
    last = page[-1].number if not is_rest else max((line.number for line in lines), default=start)
    return json_reply(
        {
            "data": [_line_reply(line) for line in page],
            "next_cursor": None if is_over and is_rest else write_position(last),
        }
    )


def _line_reply(line: Line) -> dict[str, Any]:
    return {name: value for name, value in vars(line).items() if name != "number"}
