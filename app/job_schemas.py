"""Bodies of the calls about jobs and their labels."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app.classes import Classes, ClassSpec
from app.dataset_schemas import Image, ServerSource, check_one_source
from app.schemas import Failure, ProgressReply, Reply, Request
from app.text import Name, bad_character, is_unicode, refused
from models.config import DEFAULT_PRESET

MAX_METADATA = 50
MAX_METADATA_CHARACTERS = 500


def _clean_metadata(metadata: dict[str, str]) -> dict[str, str]:
    if len(metadata) > MAX_METADATA:
        raise refused(f"has {len(metadata):,} entries, {MAX_METADATA} are allowed")
    for key, value in metadata.items():
        if len(key) + len(value) > MAX_METADATA_CHARACTERS:
            raise refused(
                f"has an entry of {len(key) + len(value):,} characters, "
                f"{MAX_METADATA_CHARACTERS} are allowed"
            )
        if reason := bad_character(key):
            raise refused(f"has a key that {reason}")
        if not is_unicode(value):
            raise refused(f"has half a character under {key!r}")
    return metadata


Metadata = Annotated[dict[str, str], AfterValidator(_clean_metadata)]


class JobCreate(Request):
    """Look for classes in the images of a dataset, and train a student on what was found."""

    dataset_id: str | None = Field(default=None, description="A dataset; or give `source`.")
    source: ServerSource | None = Field(
        default=None, description="Images to register first; or give `dataset_id`."
    )
    classes: Classes
    preset: str = DEFAULT_PRESET
    config: dict[str, Any] = Field(
        default={}, description="Settings of the method that differ from the preset's."
    )
    name: Name | None = None
    metadata: Metadata = Field(default={})
    priority: Literal["low", "normal", "high"] = Field(
        default="normal",
        description="Among the jobs of the same submitter: a job goes before those of the next "
        "higher priority that come CCD_AGEING_SECONDS (a day) after it.",
    )

    dry_run: bool = Field(
        default=False,
        strict=True,
        description="Only tell what it would take, or why it is refused.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        check_one_source(self.dataset_id, self.source)
        return self


class QueuePlace(Reply):
    """Where waiting work stands."""

    position: int | None = Field(
        description="1 is next, if nothing else comes; null while it waits for its dataset."
    )
    estimated_start_at: str | None = Field(
        description="To the minute: the images to be looked at before it under fair shares, each "
        "as often as its job does, over the images per second that the live workers of lane "
        "method report; jobs of one submitter count at their mean size. Now, where as many "
        "workers are idle as its position says. Null while no worker has measured its speed, or "
        "it waits for its dataset."
    )
    waiting_for: str | None = Field(
        description="What it lacks besides its turn: a worker, where none is there that takes it, "
        "or its dataset, and how to start one. Null where that is all."
    )


class JobWarning(BaseModel):
    """What a user should know of a job that goes on all the same."""

    code: str
    message: str
    classes: list[str] = Field(default=[], description="The classes that it is about.")
    hint: str | None = Field(default=None, description="What can be done about it.")


class Job(Reply):
    """One run of the method."""

    id: str
    name: str | None
    retry_of: str | None = Field(description="The job that this one tries again.")
    dataset_id: str
    classes: list[ClassSpec] = Field(description="In the order in which they were given.")
    preset: str
    config: dict[str, Any] = Field(description="Every number of the method, resolved.")
    metadata: dict[str, str]
    status: Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]
    terminal: bool = Field(description="Whether the status will stay as it is.")
    phase: str | None
    progress: ProgressReply
    submitter: str = Field(description="Whose share of the workers it takes.")
    priority: Literal["low", "normal", "high"]
    queue: QueuePlace | None = Field(description="Null unless the job is queued.")
    counts: dict[str, int]
    warnings: list[JobWarning]
    error: Failure | None
    student_id: str | None
    metrics: dict[str, Any]
    created_at: str
    started_at: str | None
    finished_at: str | None


class EstimatedSeconds(Reply):
    """How long a job would be in work, without the time that it waits for its turn."""

    low: float
    likely: float
    high: float


class JobEstimate(Reply):
    """What a job would take; nothing was made."""

    images: int | None = Field(
        description="Images that differ in their bytes; of those that are not registered the "
        "files there are. Null while nobody knows."
    )
    teacher_passes: int | None = Field(description="Looks of the teacher at an image or a part.")
    seconds: EstimatedSeconds | None
    disk_bytes: int | None = Field(description="About what is written to the data folder.")
    basis: Literal["measured", "table"] = Field(
        description="`measured`: from how long jobs of these settings were in work on the workers "
        "of this service. `table`: from operations and rates measured elsewhere, which may be "
        "wrong several times over."
    )
    warnings: list[JobWarning]


class JobPage(Reply):
    """Jobs, newest first."""

    data: list[Job]
    next_cursor: str | None


class View(Reply):
    """A local view: where the student looked, and what the teacher saw there."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    class_: str = Field(alias="class", description="The class whose activation gave the box.")
    box_xyxy: list[int] = Field(
        description="Pixels of the upright image, right and bottom exclusive."
    )
    probs: dict[str, float]


class LabelRow(Reply):
    """One image's scores."""

    image_id: str
    path: str
    scores: dict[str, float] = Field(description="Probability of each class, in [0, 1].")
    labels: list[str] = Field(
        description="Classes that apply: over their threshold (student), or of label 1."
    )
    thresholds_version: int | None = Field(
        description="Version of the thresholds that decided; null where none did."
    )
    views: list[View] | None = Field(default=None, description="With views=true only.")


class JobImage(Image):
    """One image of a job: the file, and what every stage that is ready says of it."""

    scores: dict[str, dict[str, float]] = Field(
        description="By stage: probability of each class, in [0, 1]. Stages that are not ready "
        "are left out."
    )
    labels: dict[str, list[str]] = Field(
        description="By stage: classes that apply, over their threshold (student), or of label 1."
    )
    thresholds_version: int | None = Field(
        description="Version of the thresholds that decided the student's; null before them."
    )
    views: list[View] | None = Field(description="Local views; null until they are chosen.")


class CamPending(Reply):
    """A class activation map that is being made."""

    image_id: str
    class_: str = Field(alias="class")
    format: Literal["png", "npy"]
    status: Literal["queued", "running"]


class LabelPage(Reply):
    """Label rows in the order of the images, or in the one asked for."""

    data: list[LabelRow]
    next_cursor: str | None
    total: int = Field(description="Images that the filters let through, on all pages together.")
