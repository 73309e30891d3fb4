"""Bodies of answers about workers."""

from typing import Literal

from pydantic import Field

from app.schemas import Reply


class WorkerUnit(Reply):
    """A piece of work in hand."""

    record_id: str = Field(
        description="What it is part of: a dataset, job, prediction, evaluation or map."
    )
    phase: str
    unit: int = Field(description="Position in its phase, from 0.")


class WorkerReply(Reply):
    """One worker that is there."""

    name: str
    lane: Literal["io", "method"] = Field(description="io: files; method: the phases of jobs.")
    host: str
    pid: int = Field(description="Of its main process on that host; SIGTERM drains it.")
    version: str = Field(description="Of the installed service.")
    method: int = Field(
        description="Version of the method's results. Jobs for a newer one are left to others."
    )
    device: str = Field(description="What it computes on: the GPU's name, or cpu.")
    memory_bytes: int | None = Field(description="Of the GPU, or what a CPU's worker may use.")
    memory_used_bytes: int | None = Field(description="On the GPU, by all processes; else null.")
    gpu_utilization: float | None = Field(
        description="Share of the time in which the GPU computes, for whomever, 0..1; else null."
    )
    draining: bool = Field(description="It ends as soon as it has given its unit back.")
    unit: WorkerUnit | None = Field(description="What it has in hand; null while it waits.")
    images_per_second: float | None = Field(
        description="Of the unit in hand, or of the last that took long enough to tell."
    )
    started_at: str
    heartbeat_at: str


class WorkerPage(Reply):
    """All workers, by lane and name."""

    data: list[WorkerReply]
    next_cursor: str | None
