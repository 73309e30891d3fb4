"""Bodies of answers about the course of a job."""

from typing import Any, Literal

from pydantic import Field

from app.schemas import Reply


class JobEvent(Reply):
    """Something that happened to a job."""

    type: Literal[
        "job.snapshot",
        "job.state",
        "job.phase",
        "job.progress",
        "job.metric",
        "job.warning",
        "job.done",
        "resync",
    ]
    job_id: str
    at: str = Field(description="RFC 3339, UTC.")
    seq: int = Field(description="Grows by one from event to event of a job.")
    data: dict[str, Any] = Field(
        description="`job.snapshot` and `job.done`: the job. `job.progress`: its `progress`. "
        "`job.state`: `status`, `previous`. `job.phase`: `phase`, `phase_index`, `phase_count`. "
        "`job.metric`: `name`, `phase`, `epoch`, `value`. `job.warning`: one of its `warnings`. "
        "`resync`: `after`, the event behind which nothing can be had any more."
    )


class MetricPoint(Reply):
    """The value after an epoch."""

    phase: str
    epoch: int = Field(description="From 0, over warm-up and main training.")
    at: str | None = Field(description="RFC 3339, UTC; null where it was not kept.")
    value: float | None = Field(description="Null where there is none, as a mean over no class.")


class Metric(Reply):
    """A metric by epoch."""

    name: Literal["loss", "map"]
    points: list[MetricPoint]


class MetricList(Reply):
    """The metrics of a job's training."""

    data: list[Metric]


class LogLine(Reply):
    """A line of a job's log."""

    at: str = Field(description="RFC 3339, UTC.")
    level: Literal["info", "warning", "error"]
    event: str = Field(
        description="`phase.started`, `phase.ended`; `unit.started`, `unit.ended`, `unit.lost`, "
        "`unit.failed`, `unit.given_back`, `unit.stopped`; `metric`, `warning`; "
        "`job.cancelling`, and `job.` with the status that it ended with."
    )
    phase: str | None
    unit: int | None = Field(description="Position in its phase, from 0.")
    attempt: int | None = Field(description="From 1.")
    fields: dict[str, Any] = Field(description="What else is known of the event.")


class LogPage(Reply):
    """A part of a job's log, oldest line first."""

    data: list[LogLine]
    next_cursor: str | None = Field(description="Null when the job is over and this is the end.")


class EventPage(Reply):
    """Events, oldest first."""

    data: list[JobEvent]
    last_seq: int = Field(description="What to give as `after` next time.")
