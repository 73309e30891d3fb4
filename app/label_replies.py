"""Label rows as JSON, NDJSON and CSV."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from fastapi.responses import StreamingResponse

from app.labels import Labels
from app.replies import write_position
from workers.label_rows import csv_header, csv_lines, ndjson_lines

JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
SUFFIXES = {NDJSON: "ndjson", CSV: "csv"}


def page_fields(labels: Labels, start: int, limit: int) -> dict[str, Any]:
    """`data` and `next_cursor` of the page that begins at row `start`."""
    rows = labels.read(start, start + limit)
    stop = start + len(rows)
    has_more = stop < labels.count()
    return {"data": rows, "next_cursor": write_position(stop) if has_more else None}


def stream(labels: Labels, media_type: str, *, filename: str) -> StreamingResponse:
    """All rows as NDJSON or CSV; the first are read before the answer begins."""
    batches = labels.batches()
    rows = chain([next(batches, [])], batches)
    lines = _csv(rows, labels) if media_type == CSV else map(ndjson_lines, rows)
    return StreamingResponse(
        lines,
        media_type=media_type,
        headers={"Content-Disposition": f'inline; filename="{filename}.{SUFFIXES[media_type]}"'},
    )


def _csv(batches: Iterator[list[dict[str, Any]]], labels: Labels) -> Iterator[bytes]:
    yield csv_header(labels.columns.names)
    yield from map(csv_lines, batches)
