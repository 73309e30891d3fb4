"""A file as an answer: strong ETag, one Range, HEAD."""

import json
import mimetypes
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from app.conditional import byte_range, is_unchanged
from app.errors import Problem
from workers.durable import SEAL
from workers.files import DataFolder

CHUNK_BYTES = 1 << 20
MEDIA_TYPES = {
    ".safetensors": "application/vnd.safetensors",
    ".parquet": "application/vnd.apache.parquet",
    ".md": "text/markdown",
    ".ndjson": "application/x-ndjson",
    ".onnx": "application/octet-stream",
}


@dataclass(frozen=True)
class StoredFile:
    """A file of a published folder, as its seal lists it."""

    #: What users call it.
    name: str
    folder: Path
    #: Its name in the folder.
    file: str
    bytes: int
    sha256: str

    @property
    def media_type(self) -> str:
        suffix = Path(self.file).suffix
        return MEDIA_TYPES.get(suffix) or mimetypes.guess_type(self.file)[0] or OCTETS

    def disposition(self, kind: str) -> str:
        """The header Content-Disposition: `inline` is shown, `attachment` saved."""
        return f"{kind}; filename*=utf-8''{quote(self.name)}"

    def listed(self) -> dict[str, Any]:
        """Its entry in a list of artifacts."""
        return {
            "name": self.name,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "media_type": self.media_type,
        }


OCTETS = "application/octet-stream"


def sealed_files(folder: Path) -> dict[str, dict[str, Any]]:
    """The files that a published folder lists, by name; empty where there is no such folder."""
    try:
        seal = json.loads((folder / SEAL).read_bytes())
    except FileNotFoundError:
        return {}
    return {entry["name"]: entry for entry in seal["files"]}


def stored_file(folder: Path, file: str, *, name: str | None = None) -> StoredFile | None:
    """One file of a published folder, called `name`; None where it is not there."""
    entry = sealed_files(folder).get(file)
    if entry is None:
        return None
    return StoredFile(name or file, folder, file, entry["size"], entry["sha256"])


def send_file(
    request: Request,
    stored: StoredFile,
    *,
    data: DataFolder,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The bytes of a stored file, or the part of them that was asked for.

    `headers` are added to the answer, or replace what would stand there.

    Raises:
        Problem: the file is damaged, or the range is no good.
    """
    etag = f'"{stored.sha256}"'
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000, immutable",
        "Content-Disposition": stored.disposition("attachment"),
        **(headers or {}),
        "ETag": etag,
    }
    if is_unchanged(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    if not data.is_complete(stored.folder):
        raise Problem("artifact_corrupt", f"{stored.name} no longer has its checksum")
    part = byte_range(
        request.headers.get("range"),
        request.headers.get("if-range"),
        etag=etag,
        size=stored.bytes,
    )
    if part is not None:
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{stored.bytes}"
    wanted = range(stored.bytes) if part is None else part
    headers["Content-Length"] = str(len(wanted))
    status = 200 if part is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=stored.media_type)
    return StreamingResponse(
        _bytes_of(stored.folder / stored.file, wanted),
        status_code=status,
        headers=headers,
        media_type=stored.media_type,
    )


def _bytes_of(path: Path, wanted: range) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(wanted.start)
        left = len(wanted)
        while left and (chunk := file.read(min(left, CHUNK_BYTES))):
            left -= len(chunk)
            yield chunk
