"""The formats in which labels leave the service, and what each can hold."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class ExportFormat(StrEnum):
    """What the file of an export is."""

    #: A line for each image and class.
    CSV = "csv"
    #: A line for each image, a column for each class.
    CSV_WIDE = "csv_wide"
    PARQUET = "parquet"
    #: The rows that the labels of a job have as JSON, one a line.
    JSONL = "jsonl"
    #: COCO's instances file with labels of whole images: no boxes.
    COCO = "coco"
    #: Tasks with predictions.
    LABEL_STUDIO = "label_studio"
    #: A zip with a folder for each class below `train` and `val`, and the images in them.
    YOLO_CLS = "yolo_cls"


class Policy(StrEnum):
    """Where an image goes that has several labels, in a format that has one for each."""

    #: To the label with the highest score.
    TOP1 = "top1"
    #: To each of its labels.
    DUPLICATE = "duplicate"
    #: Nowhere: only images with exactly one label are exported.
    SKIP = "skip"


SUFFIXES = {
    ExportFormat.CSV: "csv",
    ExportFormat.CSV_WIDE: "csv",
    ExportFormat.PARQUET: "parquet",
    ExportFormat.JSONL: "jsonl",
    ExportFormat.COCO: "json",
    ExportFormat.LABEL_STUDIO: "json",
    ExportFormat.YOLO_CLS: "zip",
}
#: In the folder of an export, beside its file: what the file has and what it lost.
SUMMARY = "summary.json"
#: Formats that hold labels, and scores of these alone.
OF_LABELS = frozenset({ExportFormat.COCO, ExportFormat.LABEL_STUDIO, ExportFormat.YOLO_CLS})
#: What stands before a path in Label Studio's tasks: its own way to files of the server.
LOCAL_FILES = "/data/local-files/?d="


@dataclass
class Losses:
    """What of the labels is not in the file."""

    #: Images that it leaves out.
    images: int = 0
    #: Labels of images that it leaves out.
    labels: int = 0
    #: What else is other than in the service, in words.
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def stored_name(format: ExportFormat) -> str:
    """The file of an export in its folder."""
    return f"labels.{SUFFIXES[format]}"


def file_name(request: Mapping[str, Any]) -> str:
    """What the file of an export is called when it is downloaded."""
    version = request["thresholds_version"]
    parts = (
        request["job_id"],
        request["stage"],
        f"v{version}" if version else None,
        request["format"],
        request["policy"],
        "filtered" if request.get("selected") else None,
    )
    return f"{'-'.join(filter(None, parts))}.{SUFFIXES[ExportFormat(request['format'])]}"
