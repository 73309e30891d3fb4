"""Label rows as JSON, NDJSON and CSV."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import structlog
from fastapi.concurrency import iterate_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.types import Send

from app.errors import invalid
from app.labels import Answer
from app.replies import bad_cursor, read_marked, write_marked, write_position
from workers.label_rows import csv_header, csv_lines, ndjson_lines
from workers.label_tables import Labels

log = structlog.get_logger()

#: Whether the reader of an answer that lasts still has a right to it.
MayGoOn = Callable[[], Awaitable[bool]]

JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
SUFFIXES = {NDJSON: "ndjson", CSV: "csv"}


def page_fields(
    labels: Labels, start: int, limit: int, *, cursor: Callable[[int], str] = write_position
) -> dict[str, Any]:
    """`data` and `next_cursor` of the page that begins at row `start`.

    `cursor` writes the one of the page that begins at a row.
    """
    rows = labels.read(start, start + limit)
    stop = start + len(rows)
    has_more = stop < labels.count()
    return {"data": rows, "next_cursor": cursor(stop) if has_more else None}


def answer_page(answer: Answer, start: int, limit: int) -> dict[str, Any]:
    """A page of what a query wants, and how many rows that are in all."""
    fields = page_fields(answer.labels, start, limit, cursor=partial(_write_place, answer))
    return {**fields, "total": answer.labels.count()}


@dataclass(frozen=True)
class Place:
    """Where the pages of a query go on."""

    position: int = 0
    #: The thresholds of the pages before: the pages of a query have the same.
    thresholds_version: int | None = None
    #: Of the query; None for the first page.
    digest: str | None = None

    def check(self, answer: Answer) -> None:
        """Refuse to go on with another query than the one it comes from."""
        same = (answer.digest, answer.thresholds_version)
        if self.digest is not None and (self.digest, self.thresholds_version) != same:
            raise invalid(
                "/query/cursor",
                "is of another query; send it with the stage, filters, sort and "
                "thresholds_version of the page before, or begin without a cursor",
            )


def _write_place(answer: Answer, position: int) -> str:
    return write_marked("in", position, answer.thresholds_version or 0, answer.digest)


def read_place(cursor: str | None) -> Place:
    """What `answer_page` wrote; the beginning without one."""
    if cursor is None:
        return Place()
    position, version, digest = read_marked("in", cursor, 3)
    if not (position.isdecimal() and version.isdecimal() and len(position + version) <= 36):
        raise bad_cursor(cursor)
    return Place(int(position), int(version) or None, digest)


class RowStream(StreamingResponse):
    """Rows as text, as long as their reader `may_go_on`; else it breaks off and has no end."""

    def __init__(
        self,
        lines: Iterator[bytes],
        media_type: str,
        headers: Mapping[str, str],
        may_go_on: MayGoOn,
    ) -> None:
        super().__init__(_guarded(lines, may_go_on), media_type=media_type, headers=headers)

    async def stream_response(self, send: Send) -> None:
        # Without its end the server closes the connection.
        with suppress(_MustEnd):
            await super().stream_response(send)


class _MustEnd(Exception):
    """Who reads has no right to any more."""


async def _guarded(lines: Iterator[bytes], may_go_on: MayGoOn) -> AsyncIterator[bytes]:
    async for piece in iterate_in_threadpool(lines):
        if not await may_go_on():
            log.info("stream.ended")
            raise _MustEnd
        yield piece


def stream(
    labels: Labels,
    media_type: str,
    may_go_on: MayGoOn,
    *,
    filename: str,
    start: int,
    limit: int | None,
) -> RowStream:
    """Rows from `start` on as NDJSON or CSV; the first are read before the answer begins."""
    batches = labels.batches(start, None if limit is None else start + limit)
    rows = chain([next(batches, [])], batches)
    lines = _csv(rows, labels) if media_type == CSV else map(ndjson_lines, rows)
    headers = {
        "Content-Disposition": f'inline; filename="{filename}.{SUFFIXES[media_type]}"',
        "Accept-Ranges": "none",  # an export can be fetched in parts
    }
    return RowStream(lines, media_type, headers, may_go_on)


def _csv(batches: Iterator[list[dict[str, Any]]], labels: Labels) -> Iterator[bytes]:
    yield csv_header(labels.columns.names)
    yield from map(csv_lines, batches)
