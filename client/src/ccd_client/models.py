"""What the service answers, typed; fields that a newer service adds are kept."""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ccd_client.errors import UnexpectedAnswer
from ccd_client.html import shown_as_table


class Reply(BaseModel):
    """An answer, or a part of one."""

    model_config = ConfigDict(extra="allow", populate_by_name=True, protected_namespaces=())

    @classmethod
    def read(cls, content: object) -> Self:
        """The answer that `content` is.

        Raises:
            UnexpectedAnswer: it is none of this kind.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            wrong = error.errors()[0]
            where = ".".join(map(str, wrong["loc"]))
            raise UnexpectedAnswer(
                f"the answer is no {cls.__name__}: {where} {wrong['msg']}"
            ) from error

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        return shown_as_table(type(self).__name__, self.model_dump(mode="json", by_alias=True))


class ClassSpec(Reply):
    """A class to look for."""

    name: str
    prompts: list[str] = []


class Failure(Reply):
    """Why work failed."""

    code: str
    message: str
    phase: str | None = None
    hint: str | None = None
    retryable: bool = False

    def __str__(self) -> str:
        where = f" in {self.phase}" if self.phase else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"failed{where}, {self.code}: {self.message}{hint}"


class Progress(Reply):
    """How far the work is; `percent` is of the whole and never falls."""

    phase: str | None = None
    phase_index: int = 0
    phase_count: int = 0
    done: int = 0
    total: int = 0
    percent: float = 0.0
    rate_per_second: float | None = None
    eta_seconds: float | None = None
    updated_at: datetime | None = None


class Counts(Reply):
    """Files of a dataset."""

    found: int = 0
    accepted: int = 0
    skipped: int = 0
    distinct: int = 0
    duplicates: int = 0
    ignored: int = 0


class Warned(Reply):
    """What a user should know of work that goes on all the same."""

    code: str
    message: str
    classes: list[str] = []
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message


class QueuePlace(Reply):
    """Where waiting work stands; 1 is next, None waits for its dataset."""

    position: int | None = None
    estimated_start_at: datetime | None = None
    #: What it lacks besides its turn: a worker, where none is there.
    waiting_for: str | None = None


class Recorded(Reply):
    """What the service keeps a record of: when it was made, taken up and over."""

    id: str
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class DatasetFields(Recorded):
    """Registered images: `registering`, `ready` or `failed`."""

    name: str | None = None
    source: dict[str, Any] = {}
    status: str
    counts: Counts | None = None
    bytes: int | None = None
    formats: dict[str, int] | None = None
    images_digest: str | None = None
    progress: Progress = Progress()
    error: Failure | None = None


class Image(Reply):
    """One image of a dataset."""

    image_id: str
    path: str
    sha256: str
    bytes: int
    width: int
    height: int
    format: str
    notes: list[str] = []


class SkippedFile(Reply):
    """One file that cannot be used."""

    path: str
    code: str
    message: str


class JobFields(Recorded):
    """One run of the method.

    `status`: queued, running, cancelling, succeeded, failed or cancelled.
    """

    name: str | None = None
    dataset_id: str
    classes: list[ClassSpec]
    preset: str
    config: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    status: str
    terminal: bool
    phase: str | None = None
    progress: Progress = Progress()
    submitter: str | None = None
    priority: str = "normal"
    queue: QueuePlace | None = None
    counts: dict[str, int] = {}
    warnings: list[Warned] = []
    error: Failure | None = None
    student_id: str | None = None
    retry_of: str | None = None
    metrics: dict[str, Any] = {}


class JobEstimate(Reply):
    """What a job would take; nothing was created."""

    images: int | None = None
    teacher_passes: int | None = None
    #: `low`, `likely` and `high`.
    seconds: dict[str, float | None] | None = None
    disk_bytes: int | None = None
    #: `measured` on the workers at hand, or from a `table`.
    basis: str | None = None
    warnings: list[Warned] = []


class Event(Reply):
    """Something that happened to a job. `data` of `job.snapshot` and `job.done` is the job."""

    type: str
    job_id: str | None = None
    at: datetime | None = None
    #: Grows by one per event of a job; None where the events were seen by polling.
    seq: int | None = None
    data: dict[str, Any] = {}


class LogLine(Reply):
    """One line of a job's log."""

    at: datetime | None = None
    level: str = "info"
    event: str = ""
    phase: str | None = None
    unit: int | None = None
    attempt: int | None = None
    fields: dict[str, Any] = {}


class Point(Reply):
    """One value of a metric."""

    value: float | None
    phase: str | None = None
    epoch: int | None = None
    at: datetime | None = None


class Metric(Reply):
    """A figure of a job over time."""

    name: str
    points: list[Point] = []


class View(Reply):
    """A local view; the box is in pixels of the upright image, right and bottom exclusive."""

    class_: str = Field(alias="class")
    box_xyxy: list[int]
    probs: dict[str, float]


class LabelRow(Reply):
    """One image's scores, and the classes that apply."""

    image_id: str
    path: str
    scores: dict[str, float]
    labels: list[str]
    thresholds_version: int | None = None
    #: With `views=True`.
    views: list[View] | None = None


class Artifact(Reply):
    """One file that can be downloaded."""

    name: str
    bytes: int
    sha256: str
    media_type: str = "application/octet-stream"


class StudentFields(Reply):
    """A trained classifier."""

    id: str
    job_id: str
    name: str | None = None
    dataset_id: str | None = None
    classes: list[ClassSpec]
    #: Score from which on a class applies; None: never.
    thresholds: dict[str, float | None] = {}
    threshold_basis: str | None = None
    thresholds_version: int | None = None
    student: str | None = None
    teacher: str | None = None
    preset: str | None = None
    metrics: dict[str, Any] = {}
    weights: Artifact | None = None
    created_at: datetime | None = None


class Thresholds(Reply):
    """One version of a student's thresholds."""

    version: int
    basis: str
    created_at: datetime | None = None
    evaluation_id: str | None = None
    copied_from: int | None = None
    thresholds: dict[str, float | None]


class PredictionFields(Recorded):
    """A student's answer on images."""

    student_id: str
    dataset_id: str | None = None
    name: str | None = None
    status: str
    terminal: bool
    phase: str | None = None
    progress: Progress = Progress()
    error: Failure | None = None


class EvaluationFields(Recorded):
    """How good a job's labels are, stage by stage, beside a truth."""

    job_id: str
    name: str | None = None
    status: str
    terminal: bool
    progress: Progress = Progress()
    error: Failure | None = None
    counts: dict[str, Any] | None = None
    map: dict[str, float | None] | None = None
    warnings: list[dict[str, Any]] = []
    result: dict[str, Any] | None = None


class ExportFields(Recorded):
    """A job's labels as a file in a format of other tools."""

    job_id: str | None = None
    name: str | None = None
    format: str
    stage: str | None = None
    policy: str | None = None
    #: The images that it has; None: all.
    filters: dict[str, Any] | None = None
    status: str
    terminal: bool
    progress: Progress = Progress()
    error: Failure | None = None
    file: Artifact | None = None
    #: What the format cannot hold: `images`, `labels` and `notes`.
    losses: dict[str, Any] | None = None


class Receipt(Reply):
    """What was deleted."""

    id: str
    deleted: bool = True
    bytes_freed: int | None = None


class Key(Reply):
    """A key to the service. `secret`, which is what one sends, is shown once."""

    id: str
    name: str | None = None
    scopes: list[str] = []
    project: str | None = None
    secret: str | None = Field(default=None, repr=False)
    created_at: datetime | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    rotated_at: datetime | None = None
    revoked_at: datetime | None = None

    def _repr_html_(self) -> str:
        """A table without the secret: notebooks are kept and shared."""
        shown = self.model_dump(mode="json", by_alias=True, exclude={"secret"})
        return shown_as_table(type(self).__name__, shown)


class AuditEntry(Reply):
    """Who did what, and when."""

    at: datetime | None = None
    key_id: str | None = None
    claimed_key_id: str | None = None
    project: str | None = None
    operation: str | None = None
    method: str | None = None
    path: str | None = None
    record_id: str | None = None
    status: int | None = None
    outcome: str | None = None
    request_id: str | None = None
    address: str | None = None


class Worker(Reply):
    """One worker that is there."""

    name: str
    lane: str
    host: str
    pid: int | None = None
    version: str | None = None
    device: str | None = None
    memory_bytes: int | None = None
    memory_used_bytes: int | None = None
    gpu_utilization: float | None = None
    draining: bool = False
    unit: dict[str, Any] | None = None
    images_per_second: float | None = None
    started_at: datetime | None = None
    heartbeat_at: datetime | None = None
