"""Label rows as JSON, NDJSON and CSV."""

import csv
import io
import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

from fastapi.responses import StreamingResponse

from app.labels import Labels
from app.replies import write_cursor

JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
SUFFIXES = {NDJSON: "ndjson", CSV: "csv"}

#: A cell that begins like this runs as a formula in a spreadsheet.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def page_fields(labels: Labels, start: int, limit: int) -> dict[str, Any]:
    """`data` and `next_cursor` of the page that begins at row `start`."""
    rows = labels.read(start, start + limit)
    stop = start + len(rows)
    has_more = stop < labels.count()
    return {"data": rows, "next_cursor": write_cursor(stop) if has_more else None}


def stream(labels: Labels, media_type: str, *, filename: str) -> StreamingResponse:
    """All rows as NDJSON or CSV; the first are read before the answer begins."""
    batches = labels.batches()
    rows = chain([next(batches, [])], batches)
    lines = _csv_lines(rows, labels) if media_type == CSV else _ndjson_lines(rows)
    return StreamingResponse(
        lines,
        media_type=media_type,
        headers={"Content-Disposition": f'inline; filename="{filename}.{SUFFIXES[media_type]}"'},
    )


def _ndjson_lines(batches: Iterator[list[dict[str, Any]]]) -> Iterator[bytes]:
    for batch in batches:
        lines = (json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in batch)
        yield "".join(f"{line}\n" for line in lines).encode()


def _csv_lines(batches: Iterator[list[dict[str, Any]]], labels: Labels) -> Iterator[bytes]:
    """`image_id`, `path`, `labels`, `thresholds_version`, then a column of scores per class."""
    names = map(safe_cell, labels.columns.names)
    yield _csv([["image_id", "path", "labels", "thresholds_version", *names]])
    for batch in batches:
        yield _csv([_csv_row(row) for row in batch])


def _csv_row(row: dict[str, Any]) -> list[str | float | None]:
    joined = ";".join(map(escaped_name, row["labels"]))
    texts = [row["image_id"], safe_cell(row["path"]), safe_cell(joined)]
    return [*texts, row["thresholds_version"], *row["scores"].values()]


def _csv(rows: list[list[Any]]) -> bytes:
    """Text in quotes, numbers without."""
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def safe_cell(text: str) -> str:
    """`text` so that no spreadsheet runs it: an apostrophe before what begins like a formula."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def escaped_name(name: str) -> str:
    r"""A class name among others joined by `;`: its own `;` is `\;`, its own `\` is `\\`."""
    return name.replace("\\", r"\\").replace(";", r"\;")
