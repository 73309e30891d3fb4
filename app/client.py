"""The service's HTTP interface, as `ccd run` uses it."""

import json
import os
import secrets
import stat
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

#: How long a service that does not answer is asked again, in seconds: it may be starting again.
PATIENCE_SECONDS = 60.0
#: Pause between two tries, in seconds.
RETRY_SECONDS = 1.0
#: Bytes of a file that are read at once.
CHUNK_BYTES = 1 << 20


class Refused(Exception):
    """The service answered with a problem."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        fields = [f"{wrong['pointer']}: {wrong['reason']}" for wrong in problem.get("errors", ())]
        detail = problem.get("detail") or problem.get("title") or f"HTTP status {status}"
        super().__init__("; ".join(fields) or str(detail))
        self.status = status
        self.code = problem.get("code")


class Unreachable(Exception):
    """Nobody answers at the service's address."""


class Client:
    """One service."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, timeout=httpx.Timeout(30, connect=5))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def is_ready(self) -> bool:
        """Whether the service can work."""
        try:
            return self._http.get("/readyz", timeout=2).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def get(self, path: str) -> dict[str, Any]:
        """The JSON at a path; patient while the service is away."""
        gives_up_at = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return _checked(self._http.get(path))
            except (httpx.TransportError, Refused) as error:
                if isinstance(error, Refused) and error.status != httpx.codes.SERVICE_UNAVAILABLE:
                    raise
                if time.monotonic() > gives_up_at:
                    raise Unreachable(f"{self.url} does not answer: {error}") from error
            time.sleep(RETRY_SECONDS)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer to a JSON body. Never sent twice: it may have been heard."""
        try:
            return _checked(self._http.post(path, json=body))
        except httpx.TransportError as error:
            raise Unreachable(f"{self.url} does not answer: {error}") from error

    def upload(self, folder: Path, name: str, on_bytes: Callable[[int], None]) -> dict[str, Any]:
        """A dataset made of the files in `folder`, sent as a zip that is made on the way."""
        boundary = secrets.token_hex(16)
        body = _multipart(boundary, name, _zipped(folder, on_bytes))
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        try:
            answer = self._http.post(
                "/v1/datasets", content=body, headers=headers, timeout=httpx.Timeout(None)
            )
        except httpx.TransportError as error:
            raise Unreachable(f"the upload to {self.url} broke off: {error}") from error
        return _checked(answer)

    def download(self, path: str, target: Path, *, accept: str = "*/*") -> None:
        """Save an answer's body; `target` is there whole or not at all."""
        partial = target.with_name(f".{target.name}.part")
        try:
            with self._http.stream("GET", path, headers={"Accept": accept}) as answer:
                if answer.is_error:
                    answer.read()
                    _checked(answer)
                with partial.open("wb") as file:
                    for chunk in answer.iter_bytes(CHUNK_BYTES):
                        file.write(chunk)
        except httpx.TransportError as error:
            raise Unreachable(f"the download of {path} broke off: {error}") from error
        partial.replace(target)


def folder_files(folder: Path) -> list[Path]:
    """Every regular file below `folder`, in a fixed order; hidden ones are left out."""
    found: list[Path] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(parent, name) for name in sorted(files) if not name.startswith("."))
        found += [path for path in paths if path.is_file()]
    return found


def _checked(answer: httpx.Response) -> dict[str, Any]:
    try:
        content = answer.json() if answer.content else {}
    except json.JSONDecodeError:
        content = {}
    if answer.is_error:
        raise Refused(answer.status_code, content if isinstance(content, dict) else {})
    return dict(content)


def _multipart(boundary: str, name: str, archive: Iterator[bytes]) -> Iterator[bytes]:
    def part(disposition: str) -> bytes:
        return f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode()

    yield part('name="name"') + name.encode() + b"\r\n"
    yield part('name="archive"; filename="images.zip"')
    yield from archive
    yield f"\r\n--{boundary}--\r\n".encode()


class _Drain:
    """A file that cannot seek: what is written is taken out again piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def flush(self) -> None:
        """Nothing waits."""

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def _zipped(folder: Path, on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    """A zip archive of `folder`, unpacked images as they are, a megabyte in memory at a time."""
    drain = _Drain()
    with zipfile.ZipFile(drain, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
        for path in folder_files(folder):
            name = os.fsencode(path.relative_to(folder)).decode("utf-8", "backslashreplace")
            member = zipfile.ZipInfo(name)
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            with path.open("rb") as file, archive.open(member, "w", force_zip64=True) as target:
                while chunk := file.read(CHUNK_BYTES):
                    target.write(chunk)
                    on_bytes(len(chunk))
                    yield drain.take()
            yield drain.take()
    yield drain.take()
