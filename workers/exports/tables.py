"""Labels as tables: CSV, long and wide, Parquet and JSON Lines."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workers.exports.formats import Losses
from workers.exports.source import Export, OnImages, Pair
from workers.label_rows import (
    FORMULA_STARTS,
    IMAGE_CELLS,
    csv_header,
    csv_lines,
    long_csv_header,
    long_csv_lines,
    ndjson_lines,
)

#: Before the name of a class in the column of its scores: no class can be taken for `path`.
SCORE_COLUMN = "score:"


def write_csv(export: Export, target: Path, on_images: OnImages) -> Losses:
    """A line for each image and class."""
    losses = Losses(notes=_escaped_note(export.names))
    with target.open("wb") as file:
        file.write(long_csv_header())
        for batch in export.batches(on_images):
            rows = [row for _, row in batch]
            losses.notes = losses.notes or _escaped_note(row["path"] for row in rows)
            file.write(long_csv_lines(rows, has_labels=export.has_labels))
    return losses


def write_wide_csv(export: Export, target: Path, on_images: OnImages) -> Losses:
    """A line for each image, a column for each class: what the labels of a job are as CSV."""
    escaped = _escaped_note(export.names)
    with target.open("wb") as file:
        file.write(csv_header(export.names))
        for batch in export.batches(on_images):
            rows = [row for _, row in batch]
            escaped = escaped or _escaped_note(row["path"] for row in rows)
            file.write(csv_lines(rows))
    return Losses(notes=escaped + [_twice(name) for name in export.names if name in IMAGE_CELLS])


def write_jsonl(export: Export, target: Path, on_images: OnImages) -> Losses:
    """A row of labels a line."""
    with target.open("wb") as file:
        for batch in export.batches(on_images):
            file.write(ndjson_lines(row for _, row in batch))
    return Losses()


def write_parquet(export: Export, target: Path, on_images: OnImages) -> Losses:
    """A row for each image; the scores are the float32 that the service has."""
    import pyarrow as pa  # it loads numpy, for which a process that starts has no use
    import pyarrow.parquet as pq

    schema = _schema(pa, export)
    with pq.ParquetWriter(target, schema) as writer:
        for batch in export.batches(on_images):
            columns = _columns(export, batch)
            writer.write_table(pa.table(columns, schema=schema), row_group_size=len(batch))
    return Losses()


def _schema(pa: Any, export: Export) -> Any:
    """Types of the columns, and beside them where the labels come from."""
    labels = export.labels
    by_column = dict(zip(labels.columns.names_by_column, labels.limits, strict=True))
    about = {
        "job_id": export.job_id,
        "stage": export.stage,
        "thresholds_version": labels.thresholds_version,
        "thresholds": {name: by_column[name] for name in export.names},
    }
    return pa.schema(
        [
            ("image_id", pa.string()),
            ("path", pa.string()),
            ("path_raw", pa.binary()),
            ("sha256", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("labels", pa.list_(pa.string())),
            ("thresholds_version", pa.int64()),
            *((f"{SCORE_COLUMN}{name}", pa.float32()) for name in export.names),
        ],
        metadata={"ccd": json.dumps(about)},
    )


def _columns(export: Export, batch: Sequence[Pair]) -> dict[str, list[Any]]:
    of_image = ("image_id", "path", "path_raw", "sha256", "width", "height")
    columns = {name: [image[name] for image, _ in batch] for name in of_image}
    for name in ("labels", "thresholds_version"):
        columns[name] = [row[name] for _, row in batch]
    contents = [image["content"] for image, _ in batch]
    scores = export.labels.scores.read(set(contents))
    order = export.labels.columns
    for name, column in zip(order.names, order.columns, strict=True):
        columns[f"{SCORE_COLUMN}{name}"] = [scores[content][column] for content in contents]
    return columns


def _twice(name: str) -> str:
    return f"Two columns are called {name}: the later one has the scores of the class."


def _escaped_note(texts: Any) -> list[str]:
    if any(text.startswith(FORMULA_STARTS) for text in texts):
        return ["Text that a spreadsheet would run as a formula has an apostrophe before it."]
    return []
