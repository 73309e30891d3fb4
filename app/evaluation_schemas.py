"""Bodies of the calls about evaluations."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from app.dataset_schemas import MAX_PATH_CHARACTERS
from app.schemas import Failure, ProgressReply, Reply, Request
from app.text import Name, refused
from workers.stages import Stage
from workers.truth.truth import WITH_SPLITS, TruthFormat


class TruthSource(Request):
    """A truth on the server."""

    kind: Literal["file", "folder"] = Field(description="folder: a VOC or a NUS-WIDE.")
    path: str = Field(
        min_length=1,
        max_length=MAX_PATH_CHARACTERS,
        description="Absolute path below one of CCD_ALLOWED_ROOTS.",
        examples=["/data/instances_val2014.json"],
    )


class EvaluationOptions(Request):
    """How a truth is to be read."""

    format: TruthFormat | None = Field(default=None, description="Null: told by the content.")
    split: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="Of a VOC or NUS-WIDE, e.g. `train`; null: all there is.",
    )
    class_map: dict[str, str | None] = Field(
        default={},
        description="Class of the truth -> class of the job, or null to leave it out, where the "
        "names alone do not tell.",
        examples=[{"tvmonitor": "television", "kitten": "cat"}],
    )
    name: Name | None = None

    @model_validator(mode="after")
    def _split_fits_format(self) -> Self:
        if self.split is not None and self.format is not None and self.format not in WITH_SPLITS:
            raise refused(f"needs no split: the format {self.format} has none")
        return self


class EvaluationCreate(EvaluationOptions):
    """Compare a job's labels with a truth on the server; a truth of one's own is uploaded."""

    source: TruthSource


class EvaluationWarning(Reply):
    """Something odd that did not stand in the way."""

    code: str
    message: str = Field(description="The first case.")
    count: int = Field(description="How many cases there are.")


class Evaluation(Reply):
    """How good a job's labels are."""

    id: str
    job_id: str
    name: str | None
    source: dict[str, Any]
    format: TruthFormat | None
    split: str | None
    class_map: dict[str, str | None]
    status: Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]
    terminal: bool
    phase: str | None
    progress: ProgressReply
    error: Failure | None
    counts: dict[str, Any] | None = Field(description="Images and classes; null until succeeded.")
    map: dict[Stage, float | None] | None = Field(
        description="mAP in [0, 1] of every stage, over the classes that have positives."
    )
    warnings: list[EvaluationWarning]
    created_at: str
    started_at: str | None
    finished_at: str | None


class EvaluationRead(Evaluation):
    """An evaluation with all its figures."""

    result: dict[str, Any] | None = Field(
        description="Every figure of every stage and class, as docs/evaluation.md describes them; "
        "null until succeeded."
    )


class EvaluationPage(Reply):
    """Evaluations of a job, newest first."""

    data: list[Evaluation]
    next_cursor: str | None
