"""Bodies of requests and answers: what all have in common; units stand in the descriptions."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Request(BaseModel):
    """A request body: a field that is not known is refused."""

    model_config = ConfigDict(extra="forbid")


class Reply(BaseModel):
    """An answer."""


class Failure(Reply):
    """Why work failed."""

    code: str
    phase: str | None
    message: str
    hint: str | None
    retryable: bool = Field(
        description="Whether the same again may end well though nothing was changed."
    )


class ProgressReply(Reply):
    """How far the work is."""

    phase: str | None = Field(description="The step at work; null before the first.")
    phase_index: int = Field(description="Position of the phase, from 0.")
    phase_count: int = Field(description="Phases known so far.")
    done: int = Field(description="Images that the phase is done with.")
    total: int = Field(description="Images that the phase looks at; 0 while unknown.")
    percent: float = Field(ge=0, le=100, description="Of the whole work; never falls.")
    rate_per_second: float | None = Field(description="Images per second.")
    eta_seconds: float | None = Field(description="Seconds to the end, by present speed.")
    updated_at: str


class Artifact(Reply):
    """One file that a job made."""

    name: str
    bytes: int
    sha256: str
    media_type: str


class ArtifactPage(Reply):
    """Everything a job made so far."""

    data: list[Artifact]
    next_cursor: str | None


class Health(Reply):
    """Whether the service can work."""

    status: Literal["ok"]


class ProblemExplained(Reply):
    """What one code of an error means."""

    code: str
    status: int
    title: str
    explanation: str


class ProblemList(Reply):
    """All codes."""

    data: list[ProblemExplained]
    next_cursor: str | None
