"""Bodies of the calls about exports."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.schemas import Artifact, Failure, ProgressReply, Reply, Request
from app.text import Name, bad_character, refused
from workers.exports.formats import LOCAL_FILES, OF_LABELS, Format, Policy
from workers.stages import LABELLED_STAGES, Stage

MAX_PREFIX_CHARACTERS = 1000


class ExportCreate(Request):
    """Write the labels of a job as one file."""

    format: Format = Field(
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
    name: Name | None = None

    @model_validator(mode="after")
    def _options_fit_format(self) -> Self:
        if (self.policy is not None) != (self.format is Format.YOLO_CLS):
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
        if self.format is not Format.LABEL_STUDIO:
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
    format: Format
    stage: Stage
    thresholds_version: int | None = Field(
        description="Version of the thresholds that decided the labels; null where none did."
    )
    policy: Policy | None
    image_prefix: str | None
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
