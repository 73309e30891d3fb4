"""Bodies of the calls about students, their thresholds and their predictions."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from app.classes import ClassSpec
from app.dataset_schemas import ServerSource, check_one_source
from app.job_schemas import LabelRow
from app.schemas import Artifact, Failure, ProgressReply, Reply, Request
from app.text import Name, refused

#: The score from which on a class applies.
Threshold = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]


class Student(Reply):
    """A trained classifier."""

    id: str
    job_id: str
    name: str | None
    dataset_id: str
    classes: list[ClassSpec]
    thresholds: dict[str, float | None] = Field(
        description="Score from which on a class applies; null: never."
    )
    threshold_basis: str = Field(description="`pseudo_f1`, `tuned` or `manual`.")
    thresholds_version: int = Field(description="Grows with every change of the thresholds.")
    student: str = Field(description="The network.")
    teacher: str
    preset: str
    metrics: dict[str, Any]
    weights: Artifact | None
    created_at: str


class StudentPage(Reply):
    """Students, newest first."""

    data: list[Student]
    next_cursor: str | None


class ThresholdsUpdate(Request):
    """What the thresholds are to be: given, taken from an evaluation, or those of a version."""

    thresholds: dict[str, Threshold | None] | None = Field(
        default=None, description="For every class a number in [0, 1], or null: it never applies."
    )
    evaluation_id: str | None = Field(
        default=None,
        description="The best ones of an evaluation of the student's job; classes of which its "
        "truth shows nothing stay as they are.",
    )
    version: Annotated[int, Field(ge=1, strict=True)] | None = Field(
        default=None, description="Those of this version again, as a new one."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = (self.thresholds, self.evaluation_id, self.version)
        if sum(value is not None for value in given) != 1:
            raise refused("needs one of thresholds, evaluation_id and version, and no other")
        return self


class ThresholdsReply(Reply):
    """One version of a student's thresholds."""

    version: int = Field(description="From 1, which is what the job itself found.")
    basis: Literal["pseudo_f1", "tuned", "manual"] = Field(
        description="How they were found: on the job's own labels, on truth, or by hand."
    )
    created_at: str | None
    evaluation_id: str | None = Field(description="The evaluation that tuned them.")
    copied_from: int | None = Field(description="The version whose values these are.")
    thresholds: dict[str, float | None] = Field(
        description="Score from which on a class applies; null: never."
    )


class ThresholdsPage(Reply):
    """Versions, newest first."""

    data: list[ThresholdsReply]
    next_cursor: str | None


class PredictionCreate(Request):
    """Ask a student about images."""

    dataset_id: str | None = Field(default=None, description="A dataset; or give `source`.")
    source: ServerSource | None = Field(
        default=None, description="Images to register first; or give `dataset_id`."
    )
    name: Name | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        check_one_source(self.dataset_id, self.source)
        return self


class Prediction(Reply):
    """A student's answer on images."""

    id: str
    student_id: str
    dataset_id: str
    name: str | None
    status: Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]
    terminal: bool
    phase: str | None
    progress: ProgressReply
    error: Failure | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    data: list[LabelRow] | None = Field(description="Rows once it succeeded; null before.")
    next_cursor: str | None
