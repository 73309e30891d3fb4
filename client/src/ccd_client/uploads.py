"""Files on their way to the service: a folder as a zip made on the way, or the files themselves."""

import os
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

#: Bytes of a file that are read at once.
CHUNK_BYTES = 1 << 20

#: Called with the bytes of files sent so far, and of all there are to send.
OnBytes = Callable[[int, int], None]
#: What can be sent: a folder, a zip, one image, or several images.
Files = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


class Upload:
    """The body of a `multipart/form-data` request, made anew for each try.

    The same files give the same bytes, so that the service knows a repeated upload.
    """

    def __init__(
        self,
        files: Files,
        *,
        fields: Mapping[str, str],
        files_field: str,
        boundary: str,
        on_bytes: OnBytes | None = None,
    ) -> None:
        self._fields, self._files_field, self._boundary = fields, files_field, boundary
        self._on_bytes = on_bytes or (lambda _sent, _total: None)
        self._archive, self._folder, self._paths = _sorted_out(files)
        sent = self._paths if self._folder is None else folder_files(self._folder)
        self._total = sum(path.stat().st_size for path in sent)
        self._sent = 0

    @property
    def media_type(self) -> str:
        """The header Content-Type."""
        return f"multipart/form-data; boundary={self._boundary}"

    def body(self) -> Iterator[bytes]:
        """The bytes, about a megabyte in memory at a time."""
        self._sent = 0
        for name, value in self._fields.items():
            yield from (self._part(name), value.encode(), b"\r\n")
        yield from self._file_parts()
        yield f"--{self._boundary}--\r\n".encode()

    def _file_parts(self) -> Iterator[bytes]:
        if self._folder is not None:
            yield self._part("archive", "images.zip")
            yield from zipped(self._folder, self._count)
            yield b"\r\n"
        for path in self._paths:
            yield self._part("archive" if self._archive else self._files_field, path.name)
            yield from _chunks(path, self._count)
            yield b"\r\n"

    def _part(self, field: str, file_name: str | None = None) -> bytes:
        named = "" if file_name is None else f'; filename="{_quoted(file_name)}"'
        line = (
            f'--{self._boundary}\r\nContent-Disposition: form-data; name="{field}"{named}\r\n\r\n'
        )
        return line.encode()

    def _count(self, count: int) -> None:
        self._sent += count
        self._on_bytes(self._sent, self._total)


def folder_files(folder: Path) -> list[Path]:
    """Every regular file below `folder`, in a fixed order; hidden ones are left out."""
    found: list[Path] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(parent, name) for name in sorted(files) if not name.startswith("."))
        found += [path for path in paths if path.is_file()]
    return found


def zipped(folder: Path, on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    """A zip archive of `folder`, unpacked images as they are, a megabyte in memory at a time."""
    drain = _Drain()
    with zipfile.ZipFile(drain, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
        for path in folder_files(folder):
            member = zipfile.ZipInfo(_utf8(str(path.relative_to(folder))))
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            with archive.open(member, "w", force_zip64=True) as target:
                for chunk in _chunks(path, on_bytes):
                    target.write(chunk)
                    yield drain.take()
            yield drain.take()
    yield drain.take()


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


def _sorted_out(files: Files) -> tuple[bool, Path | None, Sequence[Path]]:
    """Whether it is a ready zip; the folder; the files that are sent as they are."""
    if not isinstance(files, str | os.PathLike):
        return False, None, [Path(file) for file in files]
    path = Path(files)
    if path.is_dir():
        return False, path, []
    return path.suffix.lower() == ".zip", None, [path]


def _chunks(path: Path, on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
            on_bytes(len(chunk))


def _utf8(name: str) -> str:
    """`name` as valid text: a byte of it that is no UTF-8 is spelled out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _quoted(name: str) -> str:
    """`name` inside the quotes of a header, as browsers write it."""
    for character, escape in (('"', "%22"), ("\r", "%0D"), ("\n", "%0A")):
        name = name.replace(character, escape)
    return _utf8(name)
