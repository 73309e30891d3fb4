"""Uploaded files go to disk as their bytes arrive; nothing is held in memory."""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from anyio import CancelScope
from anyio.to_thread import run_sync
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from app.errors import Problem, invalid
from app.middleware import declared_length, raise_body_cap
from workers.durable import sync_file
from workers.fault_points import fault
from workers.files import DataFolder, DiskFull, disk_guard

#: How long a client may send nothing before the upload is given up.
STALL_SECONDS = 60.0
#: Kept free on the disk for manifests, Redis's log and running jobs.
RESERVE_BYTES = 64 << 20
#: The free space is looked at again after this many bytes.
SPACE_CHECK_BYTES = 32 << 20
#: A text field (the name) may have this many bytes.
MAX_FIELD_BYTES = 4096
#: Parts of one upload: its files and fields.
MAX_PARTS = 200_000
#: Files made durable at once: one commit of the file system serves several.
SYNC_THREADS = 8
#: Text fields of one upload: unlike its files they are held in memory.
MAX_FIELDS = 100


@dataclass(frozen=True)
class UploadedFile:
    """One file of an upload, on disk."""

    field: str
    #: As the client named it: bytes, never used as a path.
    raw_name: bytes
    path: Path
    bytes: int
    sha256: str


@dataclass
class Upload:
    """What a multipart body held."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[UploadedFile] = field(default_factory=list)

    def content(self) -> list[object]:
        """What it held, as JSON can: the same for the same fields, names and bytes."""
        files = [[f.field, f.raw_name.decode("latin-1"), f.sha256] for f in self.files]
        return [self.fields, *files]

    def named(self, name: str) -> list[UploadedFile]:
        """The files of one form field, in the order in which they came."""
        return [file for file in self.files if file.field == name]


@asynccontextmanager
async def upload_folder(data: DataFolder) -> AsyncIterator[Path]:
    """An empty staging folder for one upload, gone afterwards."""
    staging = data.staging(f"upload-{secrets.token_hex(8)}")
    folder = await run_sync(staging.__enter__)
    try:
        yield folder
    finally:
        with CancelScope(shield=True):
            await run_sync(staging.__exit__, None, None, None)


async def receive_upload(
    request: Request, folder: Path, *, data: DataFolder, max_bytes: int
) -> Upload:
    """Stream a `multipart/form-data` body into `folder`, one numbered file per part.

    Raises:
        Problem: the body is not multipart, breaks off, stalls, or is over the limits.
        DiskFull: there is no room; the caller throws the folder away.
    """
    raise_body_cap(request.scope, max_bytes)
    _check_space(data, declared_length(request.scope))
    writer = _PartWriter(folder, _boundary(request))
    unchecked = 0
    try:
        async for chunk in _chunks(request):
            await run_sync(writer.write, chunk)
            fault("upload.chunk")
            unchecked += len(chunk)
            if unchecked >= SPACE_CHECK_BYTES:
                _check_space(data, 0)
                unchecked = 0
        await run_sync(writer.finish)
    except FormParserError as error:
        raise Problem("malformed_request", f"the multipart body is broken: {error}") from error
    except ClientDisconnect as error:
        raise Problem("malformed_request", "the client went away during the upload") from error
    finally:
        writer.close()
    return writer.upload


def is_multipart(request: Request) -> bool:
    """Whether the request says that it carries files."""
    return _media_type(request)[0] == b"multipart/form-data"


def is_json(request: Request) -> bool:
    """Whether the request says that it carries JSON."""
    media_type = _media_type(request)[0]
    return media_type == b"application/json" or (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    )


def _media_type(request: Request) -> tuple[bytes, dict[bytes, bytes]]:
    kind, options = parse_options_header(request.headers.get("content-type"))
    return kind, options


def _boundary(request: Request) -> bytes:
    boundary = _media_type(request)[1].get(b"boundary")
    if not boundary:
        raise Problem("malformed_request", "the header Content-Type names no boundary")
    return boundary


def _check_space(data: DataFolder, wanted: int) -> None:
    free = data.free_bytes()
    if free < wanted + RESERVE_BYTES:
        raise DiskFull(
            f"the upload needs {wanted + RESERVE_BYTES:,} bytes on the data folder's disk, "
            f"{free:,} are free"
        )


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes; a client that stalls is given up."""
    stream = request.stream()
    while True:
        try:
            yield await asyncio.wait_for(anext(stream), STALL_SECONDS)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise Problem(
                "upload_stalled", f"no byte of the body came for {STALL_SECONDS:g} seconds"
            ) from error


class _PartWriter:
    """Feeds a multipart parser and writes each file part to disk as it comes."""

    def __init__(self, folder: Path, boundary: bytes) -> None:
        self.upload = Upload()
        self._folder = folder
        self._header, self._value = b"", b""
        self._headers: dict[bytes, bytes] = {}
        self._field, self._raw_name = "", b""
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self._text: bytearray | None = None
        self._is_ended = False
        self._parts = 0
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._add_to_header,
                "on_header_value": self._add_to_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._open_part,
                "on_part_data": self._write_part,
                "on_part_end": self._close_part,
                "on_end": self._end,
            },
        )

    def write(self, chunk: bytes) -> None:
        with disk_guard(self._folder):
            self._parser.write(chunk)

    def finish(self) -> None:
        """Check that the body came whole."""
        self._parser.finalize()
        if not self._is_ended:
            raise Problem("malformed_request", "the multipart body breaks off")
        with disk_guard(self._folder), ThreadPoolExecutor(SYNC_THREADS) as pool:
            list(pool.map(sync_file, [file.path for file in self.upload.files]))

    def close(self) -> None:
        """Close what a broken upload left open."""
        if self._file is not None:
            self._file.close()

    def _begin_part(self) -> None:
        self._headers = {}
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise Problem("body_too_large", f"an upload may have {MAX_PARTS:,} parts")

    def _add_to_header(self, chunk: bytes, start: int, end: int) -> None:
        self._header += chunk[start:end]

    def _add_to_value(self, chunk: bytes, start: int, end: int) -> None:
        self._value += chunk[start:end]

    def _end_header(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header, self._value = b"", b""

    def _open_part(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        raw_name = options.get(b"filename")
        if raw_name is None:
            if len(self.upload.fields) >= MAX_FIELDS:
                raise Problem("body_too_large", f"an upload may have {MAX_FIELDS} text fields")
            self._text = bytearray()
            return
        self._raw_name = raw_name
        self._file = self._next_path().open("xb")
        self._digest = hashlib.sha256()

    def _next_path(self) -> Path:
        return self._folder / f"{len(self.upload.files):08d}"

    def _write_part(self, chunk: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(chunk[start:end])
            self._digest.update(chunk[start:end])
            return
        assert self._text is not None, "headers come before data"
        self._text += chunk[start:end]
        if len(self._text) > MAX_FIELD_BYTES:
            raise invalid(f"/{self._field}", f"has more than {MAX_FIELD_BYTES:,} bytes")

    def _close_part(self) -> None:
        if self._file is None:
            self._keep_text()
            return
        size = self._file.tell()
        self._file.close()
        self._file = None
        sha256 = self._digest.hexdigest()
        file = UploadedFile(self._field, self._raw_name, self._next_path(), size, sha256)
        self.upload.files.append(file)

    def _keep_text(self) -> None:
        assert self._text is not None, "a part that is no file is a text"
        if self._field in self.upload.fields:
            raise invalid(f"/{self._field}", "is given twice")
        try:
            self.upload.fields[self._field] = self._text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise invalid(f"/{self._field}", "is not UTF-8") from error

    def _end(self) -> None:
        self._is_ended = True
