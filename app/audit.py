"""The audit log: a line for every change and every call that was denied; nothing takes one back."""

import errno
import fcntl
import json
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import invalid, shown
from workers.durable import sync_folder
from workers.files import DataFolder
from workers.jobs import rfc3339

log = structlog.get_logger()

DENIED = frozenset({401, 403, 429})
READING = frozenset({"GET", "HEAD", "OPTIONS"})
#: Of calls refused because there were too many, one in so many seconds is written, for each caller.
FLOOD_SECONDS = 60.0
MAX_REMEMBERED = 10_000
MAX_PATH = 200
#: What looks like the secret of a key is not written, wherever it stands.
SECRET = re.compile(r"\.[A-Za-z0-9_-]{43}")
CURSOR = re.compile(r"(\d{4}-\d{2}):(\d{1,18})")
BLOCK = 1 << 16


class AuditLog:
    """One file a month, to which every process of the service adds."""

    def __init__(self, data: DataFolder) -> None:
        self._folder = data.audit
        self._queue, self._disk = threading.Lock(), threading.Lock()
        self._waiting: list[_Line] = []

    def append(self, entry: Mapping[str, Any]) -> None:
        """On disk when it returns. Lines that come at once share the wait for the disk.

        Raises:
            OSError: the disk did not take it, or another of those that were written with it.
        """
        text = json.dumps(entry, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
        line = _Line(text)
        with self._queue:
            self._waiting.append(line)
        with self._disk:
            if not line.is_tried:  # else another thread took it along
                self._write_waiting()
        if line.error is not None:
            raise OSError(*line.error.args) from line.error

    def _write_waiting(self) -> None:
        with self._queue:
            lines, self._waiting = self._waiting, []
        error = None
        try:
            self._write([line.text for line in lines])
        except OSError as refusal:
            error = refusal
        for line in lines:
            line.is_tried, line.error = True, error

    def page(self, cursor: str | None, limit: int) -> tuple[list[dict[str, Any]], str | None]:
        """Entries, newest first, and the cursor of older ones.

        Raises:
            Problem: the cursor is none.
        """
        month, end = _read_cursor(cursor)
        found: list[dict[str, Any]] = []
        for file in sorted(self._folder.glob("????-??.ndjson"), reverse=True):
            if month is not None and file.stem > month:
                continue
            for line, start in _lines_backwards(file, end if file.stem == month else None):
                if len(found) == limit:
                    return found, f"{file.stem}:{start + len(line) + 1}"
                with suppress(ValueError):  # torn by a power cut
                    found.append(json.loads(line))
        return found, None

    def _write(self, lines: list[bytes]) -> None:
        """Each line in one call. The lock makes "to the end" true on network disks too.

        Raises:
            OSError: not all are on disk.
        """
        month = time.strftime("%Y-%m", time.gmtime())
        path = self._folder / f"{month}.ndjson"
        is_new = not path.exists()
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if not _ends_whole(handle):  # a torn line must not take the next one along
                _write_whole(handle, b"\n")
            for line in lines:
                _write_whole(handle, line)
            os.fsync(handle)
        finally:
            os.close(handle)
        if is_new:
            sync_folder(self._folder)


@dataclass
class _Line:
    """One that waits for the disk, and what came of it."""

    text: bytes
    is_tried: bool = False
    error: OSError | None = None


def _ends_whole(handle: int) -> bool:
    size = os.fstat(handle).st_size
    return size == 0 or os.pread(handle, 1, size - 1) == b"\n"


def _write_whole(handle: int, line: bytes) -> None:
    if os.write(handle, line) < len(line):
        raise OSError(errno.ENOSPC, "the disk took a part of a line")


class Audit:
    """Writes the audit log, each line before the answer that it is about is sent."""

    def __init__(self, app: ASGIApp, audit: AuditLog) -> None:
        self._app, self._audit = app, audit
        self._floods: dict[str, float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        is_noted = False

        async def send_noted(message: Message) -> None:
            nonlocal is_noted
            if message["type"] == "http.response.start":
                is_noted = True
                status = message["status"]
                if scope["method"] not in READING or status in DENIED:
                    await self._note(scope, status, Headers(raw=message["headers"]))
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        except Exception:  # who makes an answer of it is outside of this
            if not is_noted and scope["method"] not in READING:
                await self._note(scope, 500, Headers())
            raise

    async def _note(self, scope: Scope, status: int, headers: Headers) -> None:
        entry = _entry(scope, status, headers)
        if status == 429 and self._is_known_flood(f"{entry['key_id']} {entry['address']}"):
            return
        try:
            await run_sync(self._audit.append, entry)
        except OSError as error:  # what is done is done: the service's own log has it
            log.error("audit.unwritten", error=str(error), **entry)  # noqa: TRY400

    def _is_known_flood(self, who: str) -> bool:
        now = time.monotonic()
        if now - self._floods.get(who, -FLOOD_SECONDS) < FLOOD_SECONDS:
            return True
        while len(self._floods) >= MAX_REMEMBERED:
            self._floods.pop(next(iter(self._floods)))
        self._floods[who] = now
        return False


def address_of(scope: Scope) -> str:
    """Who calls, as far as the network tells."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def _entry(scope: Scope, status: int, headers: Headers) -> dict[str, Any]:
    state = scope.get("state", {})
    caller = state.get("caller")
    return {
        "at": rfc3339(time.time_ns() // 1_000_000),
        "key_id": caller.key_id if caller else None,
        "claimed_key_id": None if caller else state.get("claimed_key_id"),
        "project": caller.project if caller else None,
        "operation": getattr(scope.get("route"), "operation_id", None),
        "method": scope["method"],
        "path": SECRET.sub(".***", scope["path"][:MAX_PATH]),
        "record_id": _record_id(scope, headers),
        "status": status,
        "outcome": _outcome(status),
        "request_id": state.get("request_id"),
        "address": address_of(scope),
    }


def _outcome(status: int) -> str:
    if status in DENIED:
        return "denied"
    return "done" if status < 400 else "refused" if status < 500 else "failed"


def _record_id(scope: Scope, headers: Headers) -> str | None:
    """What was made, or else what the address names."""
    if location := headers.get("location"):
        return location.rpartition("/")[2]
    given = scope.get("path_params", {})
    ids = [str(value) for name, value in given.items() if name.endswith("_id")]
    return SECRET.sub(".***", ids[0][:MAX_PATH]) if ids else None


def _read_cursor(cursor: str | None) -> tuple[str | None, int | None]:
    if cursor is None:
        return None, None
    parts = CURSOR.fullmatch(cursor)
    if parts is None:
        raise invalid("/query/cursor", f"is no next_cursor of this list, is {shown(cursor)}")
    return parts[1], int(parts[2])


def _lines_backwards(file: Path, end: int | None) -> Iterator[tuple[bytes, int]]:
    """The lines before `end`, last one first, each with its place; a torn one is left out."""
    with file.open("rb") as handle:
        size = handle.seek(0, os.SEEK_END)
        position = size if end is None else min(end, size)
        rest = b""
        while position > 0:
            step = min(BLOCK, position)
            position -= step
            handle.seek(position)
            lines = (handle.read(step) + rest).split(b"\n")
            rest = lines.pop(0)
            place = position + len(rest) + 1 + sum(len(line) + 1 for line in lines)
            for line in reversed(lines):
                place -= len(line) + 1
                if line:
                    yield line, place
        if rest:
            yield rest, 0
