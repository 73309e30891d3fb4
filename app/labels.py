"""Label rows out of the files that the phases leave: scores, labels and views per image."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from app.errors import Problem
from app.thresholds import thresholds_of
from workers.files import (
    MANIFEST,
    DataFolder,
    manifest_count,
    manifest_rows,
    read_rows,
)
from workers.jobs import Record
from workers.label_rows import label_row, rounded
from workers.stages import (
    CERTAIN,
    CERTAIN_STAGES,
    PREDICTION_FILE,
    STAGE_FILES,
    VIEWS_FILE,
    Stage,
    StageFile,
    student_id_of,
)
from workers.store import Store

#: Rows read at once when all are streamed.
BATCH_ROWS = 500
#: Runs of wanted rows closer than this are read as one: a read costs more than 64 rows.
MAX_GAP = 64

Outputs = Mapping[tuple[str, int], str]


@dataclass(frozen=True)
class Table:
    """Rows of one tensor, cut into files of equal length but for the last."""

    files: Sequence[Path]
    rows_per_file: int
    tensor: str

    def read(self, rows: Iterable[int]) -> dict[int, Sequence[float]]:
        """The wanted rows by number; neighbours are read together."""
        found: dict[int, Sequence[float]] = {}
        for start, stop in _runs(rows, self.rows_per_file):
            index, offset = divmod(start, self.rows_per_file)
            values = read_rows(self.files[index], self.tensor, offset, offset + stop - start)
            found.update(zip(range(start, stop), values, strict=True))
        return found


@dataclass(frozen=True)
class Columns:
    """The order of the classes: files keep one of their own, users another."""

    #: Class names in the user's order.
    names: Sequence[str]
    #: For each of the user's classes, its column in the files.
    columns: Sequence[int]
    #: For each column of the files, the name of its class.
    names_by_column: Sequence[str]

    def scores(self, row: Sequence[float]) -> dict[str, float]:
        """One row of a file as {class: score}, in the user's order."""
        return {
            name: rounded(row[column])
            for name, column in zip(self.names, self.columns, strict=True)
        }

    def in_files(self, values: Mapping[str, float | None]) -> list[float | None]:
        """Values by class in the order of the files' columns."""
        return [values[name] for name in self.names_by_column]


@dataclass(frozen=True)
class Views:
    """The local views of a job."""

    #: Of the shards' `offsets`; the other tensors lie beside it.
    table: Table

    def read(self, contents: Iterable[int], columns: Columns) -> dict[int, list[dict[str, Any]]]:
        """The views of the wanted images."""
        found: dict[int, list[dict[str, Any]]] = {}
        for start, stop in _runs(contents, self.table.rows_per_file):
            index, offset = divmod(start, self.table.rows_per_file)
            path = self.table.files[index]
            per_image = _read_views(path, offset, offset + stop - start, columns)
            found.update(zip(range(start, stop), per_image, strict=True))
        return found


@dataclass(frozen=True)
class Labels:
    """The rows of one stage, or of a prediction; ready to be read."""

    manifest: Path
    columns: Columns
    scores: Table
    #: Per column, the score from which on the class is one of the labels.
    limits: Sequence[float | None]
    #: The version of the student's thresholds that `limits` are; None where they are none.
    thresholds_version: int | None = None
    views: Views | None = None

    def count(self) -> int:
        return manifest_count(self.manifest)

    def read(self, start: int, stop: int) -> list[dict[str, Any]]:
        """Rows `start` to `stop` (exclusive, clipped)."""
        return self.rows(manifest_rows(self.manifest, start, stop))

    def rows(self, images: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The rows of images given as the manifest has them."""
        contents = {int(image["content"]) for image in images}
        scores = self.scores.read(contents)
        views = self.views.read(contents, self.columns) if self.views else None
        return [self._row(image, scores, views) for image in images]

    def batches(self) -> Iterator[list[dict[str, Any]]]:
        """All rows, some at a time."""
        for start in range(0, self.count(), BATCH_ROWS):
            yield self.read(start, start + BATCH_ROWS)

    def _row(
        self,
        image: Mapping[str, Any],
        scores: Mapping[int, Sequence[float]],
        views: Mapping[int, list[dict[str, Any]]] | None,
    ) -> dict[str, Any]:
        row, columns = scores[image["content"]], self.columns
        cells = [
            (name, row[column], self.limits[column])
            for name, column in zip(columns.names, columns.columns, strict=True)
        ]
        labelled = label_row(image["image_id"], image["path"], cells, self.thresholds_version)
        return labelled if views is None else {**labelled, "views": views[image["content"]]}


def stage_labels(
    record: Record,
    stage: Stage,
    *,
    outputs: Outputs,
    data: DataFolder,
    with_views: bool,
    thresholds_version: int | None = None,
) -> Labels:
    """One stage of a job; of the student's at a version of its thresholds, else those in force.

    `outputs` are those of the job's units that are done.

    Raises:
        Problem: `not_ready`, with the phase to wait for; there is no such version.
    """
    scores = _table(STAGE_FILES[stage], record, outputs, data)
    views = Views(_table(VIEWS_FILE, record, outputs, data)) if with_views else None
    columns = columns_of(record)
    of_stage = partial(
        Labels,
        manifest=data.job(record.id) / MANIFEST,
        columns=columns,
        scores=scores,
        views=views,
    )
    if stage is not Stage.STUDENT:
        limit = CERTAIN if stage in CERTAIN_STAGES else None
        return of_stage(limits=[limit] * len(columns.names))
    thresholds = thresholds_of(student_id_of(record.id), data, thresholds_version)
    limits = columns.in_files(thresholds.values)
    return of_stage(limits=limits, thresholds_version=thresholds.version)


def predicted_labels(
    record: Record,
    job: Record,
    *,
    store: Store,
    data: DataFolder,
    thresholds_version: int | None = None,
) -> Labels:
    """The rows of a prediction.

    Args:
        record: the prediction, succeeded.
        job: the job that trained its student.
        store: of records.
        data: the data folder.
        thresholds_version: None: those in force.

    Raises:
        Problem: its dataset was deleted; there is no such version.
    """
    manifest = data.dataset(record.request["dataset_id"]) / MANIFEST
    if not manifest.exists():
        dataset_id = record.request["dataset_id"]
        raise Problem("dataset_deleted", f"{record.id} was made on {dataset_id}, deleted since")
    columns = columns_of(job)
    thresholds = thresholds_of(student_id_of(job.id), data, thresholds_version)
    return Labels(
        manifest=manifest,
        columns=columns,
        scores=_table(PREDICTION_FILE, record, store.outputs(record.id), data),
        limits=columns.in_files(thresholds.values),
        thresholds_version=thresholds.version,
    )


def columns_of(job: Record) -> Columns:
    """The order of the job's classes, as its `check` phase found it."""
    names = [spec["name"] for spec in job.request["classes"]]
    order: list[int] = job.facts["class_order"]
    column_of_class = {position: column for column, position in enumerate(order)}
    return Columns(
        names=names,
        columns=[column_of_class[position] for position in range(len(names))],
        names_by_column=[names[position] for position in order],
    )


def _table(where: StageFile, record: Record, outputs: Outputs, data: DataFolder) -> Table:
    """The files of a phase, one per unit."""
    units = next((phase.units for phase in record.phases if phase.name == where.phase), 0)
    names = [outputs.get((where.phase, unit)) for unit in range(units)]
    if not names or None in names:
        raise Problem(
            "not_ready",
            f"this is made by phase {where.phase}, which is not done; "
            f"{record.id} is {record.status}, in phase {record.phase or 'none'}",
        )
    folders = [data.phase(name) for name in names if name is not None]
    for folder in folders:
        if not data.is_complete(folder):
            raise Problem("artifact_corrupt", f"{folder.name} no longer has its checksums")
    # One file holds all rows, unless each of several holds a shard of the images.
    rows_per_file = record.facts["shard_images"] if where.is_sharded else sys.maxsize
    return Table([folder / where.file for folder in folders], rows_per_file, where.tensor)


def _runs(rows: Iterable[int], rows_per_file: int) -> Iterator[tuple[int, int]]:
    """The wanted rows as (start, stop), near ones together, none across two files."""
    start = stop = -1
    for row in sorted(rows):
        same_file = row // rows_per_file == start // rows_per_file
        if start < 0 or not same_file or row - stop > MAX_GAP:
            if start >= 0:
                yield start, stop
            start = row
        stop = row + 1
    if start >= 0:
        yield start, stop


def _read_views(path: Path, start: int, stop: int, columns: Columns) -> list[list[dict[str, Any]]]:
    """The views of images `start` to `stop` (exclusive) of one shard."""
    offsets = [row[0] for row in read_rows(path, "offsets", start, stop + 1)]
    first, last = offsets[0], offsets[-1]
    boxes, classes, probs = (
        read_rows(path, tensor, first, last) for tensor in ("boxes", "classes", "view_probs")
    )
    views = [
        {
            "class": columns.names_by_column[class_[0]],
            "box_xyxy": list(box),
            "probs": columns.scores(prob),
        }
        for box, class_, prob in zip(boxes, classes, probs, strict=True)
    ]
    return [views[low - first : high - first] for low, high in pairwise(offsets)]
