"""Label rows out of the files that the phases leave: scores, labels and views per image."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from workers.label_rows import label_row, rounded
from workers.rows import (
    manifest_count,
    manifest_rows,
    manifest_rows_at,
    read_block,
    read_rows,
    tensor_rows,
)

#: Rows read at once when all are streamed.
BATCH_ROWS = 500
#: Runs of wanted rows closer than this are read as one: a read costs more than 64 rows.
MAX_GAP = 64
#: What a row takes of the manifest.
IMAGE_COLUMNS = ("image_id", "path", "content")


@dataclass(frozen=True)
class Table:
    """Rows of one tensor, cut into files of equal length but for the last."""

    files: Sequence[Path]
    rows_per_file: int
    tensor: str

    def blocks(self, block_rows: int) -> Iterator[range]:
        """All rows, in runs of at most so many of which none lies in two files."""
        for index, file in enumerate(self.files):
            first = index * self.rows_per_file
            end = first + tensor_rows(file, self.tensor)
            for start in range(first, end, block_rows):
                yield range(start, min(start + block_rows, end))

    def block(self, rows: range) -> tuple[bytes, int]:
        """A run of rows of one file as the float32 that they are, and how many make a row."""
        index, offset = divmod(rows.start, self.rows_per_file)
        content, dtype, width = read_block(
            self.files[index], self.tensor, offset, offset + len(rows)
        )
        assert dtype == "F32", "scores are"
        return content, width

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
    #: Positions in the manifest of the images that are wanted, in their order; None: all of them.
    order: Sequence[int] | None = None

    def count(self) -> int:
        return manifest_count(self.manifest) if self.order is None else len(self.order)

    def read(self, start: int, stop: int) -> list[dict[str, Any]]:
        """Rows `start` to `stop` (exclusive, clipped)."""
        return self.rows(self.images(start, stop, IMAGE_COLUMNS))

    def images(self, start: int, stop: int, columns: Sequence[str]) -> list[dict[str, Any]]:
        """The images of these rows, with some columns of the manifest."""
        if self.order is None:
            return manifest_rows(self.manifest, start, stop, columns)
        return manifest_rows_at(self.manifest, self.order[start:stop], columns)

    def rows(self, images: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The rows of images given as the manifest has them."""
        contents = {int(image["content"]) for image in images}
        scores = self.scores.read(contents)
        views = self.views.read(contents, self.columns) if self.views else None
        return [self._row(image, scores, views) for image in images]

    def batches(self, start: int = 0, stop: int | None = None) -> Iterator[list[dict[str, Any]]]:
        """Rows `start` to `stop` (exclusive, clipped; None: all), some at a time."""
        count = self.count()
        stop = count if stop is None else min(stop, count)
        for first in range(start, stop, BATCH_ROWS):
            yield self.read(first, min(first + BATCH_ROWS, stop))

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
