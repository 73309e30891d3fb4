"""What an export is made of: the labels of one stage of a job, as its request has them."""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from workers.digests import digest_of
from workers.exports.formats import LOCAL_FILES, ExportFormat, Policy
from workers.files import MANIFEST, DataFolder
from workers.label_tables import Columns, Labels, Table
from workers.stages import LABELLED_STAGES, Stage

#: Raised when the same labels give another file.
EXPORT_VERSION = 2
#: In the export's own folder, where filters leave out some images: those that are wanted.
SELECTED = "selected.u32"
#: What a format may say of an image.
IMAGE_COLUMNS = (
    *("image_id", "path", "path_raw", "sha256", "width", "height", "format", "content"),
)
#: Scores that are in memory at once, and images.
MAX_CELLS, MAX_ROWS = 200_000, 4096

#: An image as the manifest has it, and its row of labels.
Pair = tuple[Mapping[str, Any], dict[str, Any]]
#: Told how many images are done; may raise.
OnImages = Callable[[int], None]


class ExportFailed(Exception):
    """The labels are no longer there, or not as they were."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.code, self.hint = code, hint


@dataclass(frozen=True)
class Export:
    """The labels, and how they are to be written."""

    job_id: str
    stage: Stage
    format: ExportFormat
    labels: Labels
    policy: Policy | None = None
    #: Before each path in Label Studio's tasks.
    image_prefix: str = LOCAL_FILES

    @property
    def names(self) -> list[str]:
        """The classes in the user's order."""
        return list(self.labels.columns.names)

    @property
    def has_labels(self) -> bool:
        """Whether the stage says which classes are labels."""
        return self.stage in LABELLED_STAGES

    def batches(self, on_images: OnImages) -> Iterator[list[Pair]]:
        """All images that are wanted in their order, some at a time."""
        size = max(1, min(MAX_ROWS, MAX_CELLS // len(self.names)))
        for start in range(0, self.labels.count(), size):
            on_images(start)
            images = self.labels.images(start, start + size, IMAGE_COLUMNS)
            yield list(zip(images, self.labels.rows(images), strict=True))

    def pairs(self, on_images: OnImages) -> Iterator[Pair]:
        """The same one by one."""
        for batch in self.batches(on_images):
            yield from batch


def source_of(labels: Labels) -> dict[str, Any]:
    """Where labels come from, in a form that JSON can hold; the job's own list is left out."""
    scores, columns = labels.scores, labels.columns
    return {
        "classes": list(columns.names),
        "columns": list(columns.columns),
        "limits": list(labels.limits),
        "folders": [path.parent.name for path in scores.files],
        "file": scores.files[0].name,
        "tensor": scores.tensor,
        "rows_per_file": scores.rows_per_file,
    }


def digest_of_export(request: Mapping[str, Any]) -> str:
    """Stands for the bytes of the file that a request asks for."""
    parts = (
        *("job_id", "stage", "format", "policy", "image_prefix", "thresholds_version"),
        *("source", "selected"),
    )
    return digest_of(EXPORT_VERSION, *(request[part] for part in parts))


def selection_of(order: Sequence[int]) -> bytes:
    """Positions in the manifest, as the export's own folder keeps them."""
    return array("I", order).tobytes()


def export_of(request: Mapping[str, Any], data: DataFolder, own: Path) -> Export:
    """What a request asks for whose record has the folder `own`.

    Raises:
        ExportFailed: the job was deleted meanwhile, or its files are damaged.
    """
    job_id, source = request["job_id"], request["source"]
    manifest = data.job(job_id) / MANIFEST
    folders = [data.phase(name) for name in source["folders"]]
    if not manifest.exists():
        raise ExportFailed("job_deleted", f"{job_id} was deleted", "Export the labels of another.")
    for folder in folders:
        if not data.is_complete(folder):
            message = f"{folder.name} no longer has its checksums"
            raise ExportFailed("artifact_corrupt", message, "Run the job again.")
    by_column = dict(zip(source["columns"], source["classes"], strict=True))
    labels = Labels(
        manifest=manifest,
        columns=Columns(
            source["classes"], source["columns"], [by_column[c] for c in sorted(by_column)]
        ),
        scores=Table(
            [folder / source["file"] for folder in folders],
            source["rows_per_file"],
            source["tensor"],
        ),
        limits=source["limits"],
        thresholds_version=request["thresholds_version"],
        order=_selected(own / SELECTED, request["selected"]) if request.get("selected") else None,
    )
    return Export(
        job_id=job_id,
        stage=Stage(request["stage"]),
        format=ExportFormat(request["format"]),
        labels=labels,
        policy=Policy(request["policy"]) if request["policy"] else None,
        image_prefix=request["image_prefix"] or LOCAL_FILES,
    )


def _selected(file: Path, digest: str) -> "array[int]":
    content = file.read_bytes() if file.exists() else b""
    if sha256(content).hexdigest() != digest:
        message = f"{file.name} is not the list of images that was asked for"
        raise ExportFailed("artifact_corrupt", message, "Export them again.")
    order = array("I")
    order.frombytes(content)
    return order
