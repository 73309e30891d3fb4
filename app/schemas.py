"""Bodies of requests and answers; units and ranges stand in the descriptions."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app.classes import Classes, ClassSpec
from app.text import Name, bad_character, is_unicode, refused
from models.config import DEFAULT_PRESET

MAX_METADATA = 50
MAX_METADATA_CHARACTERS = 500
#: Bytes of the longest path that Linux knows.
MAX_PATH_CHARACTERS = 4096
#: Folders of one dataset.
MAX_FOLDERS = 100
#: Files that one request may list; a file on the server may list any number.
MAX_LISTED = 1000


class Request(BaseModel):
    """A request body: a field that is not known is refused."""

    model_config = ConfigDict(extra="forbid")


class Reply(BaseModel):
    """An answer."""


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


#: Absolute, below one of CCD_ALLOWED_ROOTS.
ServerPath = Annotated[str, Field(min_length=1, max_length=MAX_PATH_CHARACTERS)]


class FolderSource(Request):
    """A folder on the server."""

    kind: Literal["folder"] = Field(description="A folder that the service can read.")
    path: ServerPath = Field(
        description="Absolute path below one of CCD_ALLOWED_ROOTS; sub-folders are walked.",
        examples=["/data/street-scenes"],
    )


class FoldersSource(Request):
    """Several folders on the server as one dataset."""

    kind: Literal["folders"] = Field(description="Folders that the service can read.")
    paths: Annotated[list[ServerPath], Field(min_length=1, max_length=MAX_FOLDERS)] = Field(
        description="Absolute paths below CCD_ALLOWED_ROOTS, none inside another; names of images "
        "begin below the deepest folder that holds them all.",
        examples=[["/data/2025", "/data/2026"]],
    )


class ListSource(Request):
    """Files on the server, one by one."""

    kind: Literal["list"] = Field(description="Files that the service can read.")
    paths: Annotated[list[ServerPath], Field(min_length=1, max_length=MAX_LISTED)] | None = Field(
        default=None, description="Absolute paths below CCD_ALLOWED_ROOTS; or give `file`."
    )
    file: ServerPath | None = Field(
        default=None,
        description="A text file on the server with one path a line; a relative one begins where "
        "the file lies. Of these, files that may not be read are listed as skipped.",
        examples=["/data/night-scenes.txt"],
    )

    @model_validator(mode="after")
    def _one_list(self) -> Self:
        if (self.paths is None) == (self.file is None):
            raise refused("needs either paths or file, and not both")
        return self


#: Images on the server: where they are, and which.
ServerSource = Annotated[FolderSource | FoldersSource | ListSource, Field(discriminator="kind")]


MaxBadFraction = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        allow_inf_nan=False,
        strict=True,
        description="Share of unusable files above which the dataset fails; "
        "null: the service's own setting.",
    ),
]


#: The score from which on a class applies.
Threshold = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]


class DatasetCreate(Request):
    """Register images that lie on the server."""

    name: Name | None = None
    source: ServerSource
    max_bad_fraction: MaxBadFraction | None = None


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
    metadata: Metadata = {}
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
        _check_one_source(self.dataset_id, self.source)
        return self


class PredictionCreate(Request):
    """Ask a student about images."""

    dataset_id: str | None = Field(default=None, description="A dataset; or give `source`.")
    source: ServerSource | None = Field(
        default=None, description="Images to register first; or give `dataset_id`."
    )
    name: Name | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        _check_one_source(self.dataset_id, self.source)
        return self


def _check_one_source(dataset_id: str | None, source: ServerSource | None) -> None:
    if (dataset_id is None) == (source is None):
        raise refused("needs either dataset_id or source, and not both")


class Counts(Reply):
    """Files of a dataset."""

    found: int = Field(description="Files looked at.")
    accepted: int = Field(description="Images that can be used.")
    skipped: int = Field(description="Files that cannot, each with its reason in /skipped.")
    distinct: int = Field(description="Accepted images that differ in their bytes.")
    duplicates: int = Field(description="Accepted files that repeat another's bytes.")
    ignored: int = Field(description="Entries of an archive that are no files to look at.")


class Failure(Reply):
    """Why work failed."""

    code: str
    phase: str | None
    message: str
    hint: str | None
    retryable: bool


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


class Dataset(Reply):
    """Registered images."""

    id: str
    name: str | None
    source: dict[str, Any]
    status: Literal["registering", "ready", "failed"]
    counts: Counts | None = Field(description="Null until the files were looked at.")
    bytes: int | None = Field(description="Size of the accepted files.")
    formats: dict[str, int] | None = Field(description="Accepted files by format.")
    images_digest: str | None = Field(description="The same for the same images.")
    progress: ProgressReply
    error: Failure | None
    created_at: str
    started_at: str | None
    finished_at: str | None


class DatasetPage(Reply):
    """Datasets, newest first."""

    data: list[Dataset]
    next_cursor: str | None


class Image(Reply):
    """One accepted file."""

    image_id: str
    path: str = Field(description="Relative to the source; bytes that are no UTF-8 are escaped.")
    sha256: str
    bytes: int
    width: int = Field(description="Pixels, upright.")
    height: int = Field(description="Pixels, upright.")
    format: str
    notes: list[str] = Field(description="What the decoder had to do, e.g. `exif_rotated`.")


class ImagePage(Reply):
    """Images in the order of the manifest."""

    data: list[Image]
    next_cursor: str | None


class SkippedFile(Reply):
    """One file that cannot be used."""

    path: str
    code: str
    message: str


class SkippedPage(Reply):
    """Unusable files."""

    data: list[SkippedFile]
    next_cursor: str | None


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
