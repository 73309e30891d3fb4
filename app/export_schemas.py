"""Bodies of the calls about exports."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from app.label_query import MAX_CLASSES, MAX_LABELS, LabelQuery
from app.schemas import Artifact, Failure, ProgressReply, Reply, Request
from app.text import Name, bad_character, refused
from workers.exports.formats import LOCAL_FILES, OF_LABELS, ExportFormat, Policy
from workers.stages import LABELLED_STAGES, Stage

MAX_PREFIX_CHARACTERS = 1000


class ExportFilters(Request):
    """Which images are exported: those that `GET /v1/jobs/{id}/labels` has with the same."""

    classes: list[str] = Field(default=[], alias="class", max_length=MAX_CLASSES)
    min_score: Annotated[float, Field(ge=0, le=1)] | None = None
    max_score: Annotated[float, Field(ge=0, le=1)] | None = None
    label_count: Annotated[int, Field(ge=0, le=MAX_LABELS, strict=True)] | None = None
    disagree: list[str] = Field(default=[], max_length=2, description="Two stages, or none.")

    def asked(self) -> dict[str, Any]:
        """Without the fields that were left open."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)

    def query(self) -> LabelQuery:
        return LabelQuery(
            tuple(self.classes),
            self.min_score,
            self.max_score,
            self.label_count,
            tuple(self.disagree),
        )


class ExportCreate(Request):
    """Write the labels of a job as one file."""

    format: ExportFormat = Field(
        description="`csv`: a line for each image and class; `csv_wide`: a line for each image, a "
        "column for each class; `parquet`; `jsonl`: rows as the labels have them; `coco`: "
        "COCO's instances with labels of whole images and scores, no boxes; `label_studio`: "
        "tasks with predictions; `yolo_cls`: a zip with a folder of images for each class, below "
        "train and val."
    )
    stage: Stage = Field(default=Stage.STUDENT, description="What kind of label.")
    thresholds_version: Annotated[int, Field(ge=1, strict=True)] | None = Field(
        default=None,
        description="Labels of stage student as this version of the thresholds has them; null: "
        "the one in force.",
    )
    policy: Policy | None = Field(
        default=None,
        description="Demanded by `yolo_cls`, which has one label an image. Where an image with "
        "several goes: `top1` to the one with the highest score, `duplicate` to each, `skip` "
        "nowhere.",
    )
    image_prefix: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_PREFIX_CHARACTERS,
        description="Of `label_studio`: what stands before the path of an image in a task; null: "
        f"`{LOCAL_FILES}`.",
    )
    filters: ExportFilters | None = Field(
        default=None, description="Of these images alone; null: of all."
    )
    name: Name | None = None

    @model_validator(mode="after")
    def _options_fit_format(self) -> Self:
        if (self.policy is not None) != (self.format is ExportFormat.YOLO_CLS):
            raise refused(
                "needs policy (top1, duplicate or skip) with format yolo_cls, and with no other"
            )
        if self.image_prefix is not None:
            self._check_prefix(self.image_prefix)
        return self

    @model_validator(mode="after")
    def _stage_fits(self) -> Self:
        if self.format in OF_LABELS and self.stage not in LABELLED_STAGES:
            raise refused(
                f"needs a stage with labels for format {self.format} "
                f"({', '.join(LABELLED_STAGES)}), stage is {self.stage}"
            )
        if self.thresholds_version is not None and self.stage is not Stage.STUDENT:
            raise refused(
                f"needs thresholds_version for stage student alone, stage is {self.stage}"
            )
        return self

    def _check_prefix(self, prefix: str) -> None:
        if self.format is not ExportFormat.LABEL_STUDIO:
            raise refused("needs image_prefix with format label_studio alone")
        if reason := bad_character(prefix):
            raise refused(f"has an image_prefix that {reason}")


class ExportLosses(Reply):
    """What of the labels is not in the file."""

    images: int = Field(description="Images that it leaves out.")
    labels: int = Field(description="Labels of images that it leaves out.")
    notes: list[str] = Field(description="What else is other than in the service.")


class ExportRead(Reply):
    """The labels of a job as a file."""

    id: str
    job_id: str
    name: str | None
    format: ExportFormat
    stage: Stage
    thresholds_version: int | None = Field(
        description="Version of the thresholds that decided the labels; null where none did."
    )
    policy: Policy | None
    image_prefix: str | None
    filters: dict[str, int | float | list[str]] | None = Field(
        description="Those that were asked for; null: all images are there."
    )
    status: Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]
    terminal: bool
    phase: str | None
    progress: ProgressReply
    error: Failure | None
    counts: dict[str, int] | None = Field(description="Null until it succeeded.")
    losses: ExportLosses | None = Field(description="Null until it succeeded.")
    file: Artifact | None = Field(description="Null until it succeeded.")
    label_config: str | None = Field(
        description="Of `label_studio`: the labelling interface that its tasks are for."
    )
    created_at: str
    started_at: str | None
    finished_at: str | None


class ExportPage(Reply):
    """Exports, newest first."""

    data: list[ExportRead]
    next_cursor: str | None
