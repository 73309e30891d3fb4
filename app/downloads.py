"""A file as an answer: strong ETag, one Range, HEAD."""

import json
import mimetypes
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from app.conditional import byte_range, check_if_match, is_unchanged
from app.errors import Problem
from workers.durable import SEAL
from workers.files import DataFolder
from workers.thresholds import chunks_of

#: For names whose bytes never change.
IMMUTABLE = "max-age=31536000, immutable"
MEDIA_TYPES = {
    ".safetensors": "application/vnd.safetensors",
    ".parquet": "application/vnd.apache.parquet",
    ".csv": "text/csv",
    ".jsonl": "application/x-ndjson",
    ".md": "text/markdown",
    ".ndjson": "application/x-ndjson",
}
#: What a file name for old clients does not have.
_NO_PLAIN = re.compile(r"[^A-Za-z0-9 ()._-]")


@dataclass(frozen=True)
class Part:
    """Some bytes of a file of a published folder."""

    folder: Path
    file: str
    positions: range


@dataclass(frozen=True)
class StoredFile:
    """What can be downloaded: a file of a published folder, or parts of several put together."""

    #: What users call it.
    name: str
    bytes: int
    sha256: str
    parts: tuple[Part, ...]
    #: Whether the name has these bytes for ever.
    is_fixed: bool = True

    @property
    def media_type(self) -> str:
        suffix = Path(self.name).suffix
        return MEDIA_TYPES.get(suffix) or mimetypes.guess_type(self.name)[0] or OCTETS

    def disposition(self, kind: str) -> str:
        """The header Content-Disposition: `inline` is shown, `attachment` saved."""
        plain = _NO_PLAIN.sub("_", self.name)
        return f"{kind}; filename=\"{plain}\"; filename*=utf-8''{quote(self.name, safe='')}"

    @property
    def digest(self) -> str:
        """The header Repr-Digest (RFC 9530): of the whole file, also where a part is sent."""
        return f"sha-256=:{b64encode(bytes.fromhex(self.sha256)).decode()}:"

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


def stored_file(
    folder: Path, file: str, *, name: str | None = None, is_fixed: bool = True
) -> StoredFile | None:
    """One file of a published folder, called `name`; None where it is not there."""
    entry = sealed_files(folder).get(file)
    if entry is None:
        return None
    part = Part(folder, file, range(entry["size"]))
    return StoredFile(name or file, entry["size"], entry["sha256"], (part,), is_fixed)


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
        Problem: the file is damaged or another version, or the range is no good.
    """
    etag = f'"{stored.sha256}"'
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": f"private, {IMMUTABLE if stored.is_fixed else 'no-cache'}",
        "Content-Disposition": stored.disposition("attachment"),
        "Repr-Digest": stored.digest,
        **(headers or {}),
        "ETag": etag,
    }
    check_if_match(request.headers.get("if-match"), etag, stored.name)
    if is_unchanged(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    if not all(data.is_complete(part.folder) for part in stored.parts):
        raise Problem("artifact_corrupt", f"{stored.name} no longer has its checksum")
    part = byte_range(
        request.headers.get("range") if request.method == "GET" else None,
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
        _bytes_of(stored.parts, wanted),
        status_code=status,
        headers=headers,
        media_type=stored.media_type,
    )


def _bytes_of(parts: Sequence[Part], wanted: range) -> Iterator[bytes]:
    """The wanted bytes of all parts together."""
    start = 0
    for part in parts:
        first = max(0, wanted.start - start)
        positions = part.positions[first : max(first, wanted.stop - start)]
        yield from chunks_of(part.folder / part.file, positions)
        start += len(part.positions)
