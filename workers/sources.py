"""Where the files of a dataset come from: folders or files on the server, an archive, an upload."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from workers.archives import check_archive, unpack
from workers.durable import IMAGES
from workers.files import NAMES, DiskFull, free_bytes
from workers.paths import (
    FileRefused,
    FoundFile,
    PathNotAllowed,
    allowed_file,
    allowed_folder,
    display_path,
    open_regular,
    walk_all,
)
from workers.rows import image_name
from workers.settings import Settings

#: What the service keeps a copy of, until it is registered.
UPLOADS = frozenset({"archive", "files"})
#: Of a folder, before whoever waits hears that the counting goes on.
COUNTED_AT_ONCE = 1000


class Source(Protocol):
    """The files of one dataset."""

    @property
    def root(self) -> str | None:
        """The folder whose files stay where they are; None: the dataset keeps its own."""

    @property
    def ignored(self) -> int:
        """Entries of an archive that are no files to look at."""

    def files(self) -> Iterator[FoundFile]:
        """Every file, in the byte order of the names."""

    def count(self, look_up: Callable[[], None]) -> int:
        """How many files there are, as far as is known before; calls `look_up` now and then."""

    def settle(self, file: FoundFile, content: int | None) -> None:
        """Keep an inspected file as the image `content`, or let go of it."""


def source_of(request: Mapping[str, Any], own: Path, staging: Path, settings: Settings) -> Source:
    """The source that a request names; `own` is the folder that an upload's path starts from.

    Raises:
        PathNotAllowed: a folder that may not be read.
        ArchiveRejected: an archive whose directory shows something that is not taken.
    """
    if request["kind"] == "list":
        return ServerFiles(request, settings)
    if request["kind"] not in UPLOADS:
        return ServerFolders(folder_paths(request), settings)
    (staging / IMAGES).mkdir()
    if request["kind"] == "archive":
        return Archive(own / request["path"], staging, settings)
    return Uploads(own / request["path"], staging)


def folder_paths(request: Mapping[str, Any]) -> list[str]:
    """The folders of a source of kind `folder` or `folders`, as they were asked for."""
    return [request["path"]] if request["kind"] == "folder" else list(request["paths"])


class FoldersOverlap(Exception):
    """Of several folders one is, or lies in, another: its images would count twice."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__(f"is the folder of number {outer}, or lies in it")
        self.inner = inner


def separate_folders(paths: Sequence[str], roots: Sequence[Path]) -> list[Path]:
    """The real folders behind `paths`.

    Raises:
        PathNotAllowed: one is not under the roots, or cannot be listed.
        FoldersOverlap: one lies in another.
    """
    tops = [allowed_folder(path, roots) for path in paths]
    for inner, top in enumerate(tops):
        for outer, other in enumerate(tops):
            if inner != outer and top.is_relative_to(other):
                raise FoldersOverlap(max(inner, outer) if top == other else inner, outer)
    return tops


class ServerFolders:
    """Folders under the allowed roots. Nothing in them is copied, changed or deleted.

    Names begin below the deepest folder that holds them all.
    """

    ignored = 0

    def __init__(self, paths: Sequence[str], settings: Settings) -> None:
        self._roots = settings.allowed_roots
        self._tops = separate_folders(paths, self._roots)
        self._base = Path(os.path.commonpath(self._tops))
        self.root: str | None = str(self._base)

    def files(self) -> Iterator[FoundFile]:
        return walk_all(self._tops, self._base, self._roots)

    def count(self, look_up: Callable[[], None]) -> int:
        total = 0
        for _ in self.files():
            total += 1
            if total % COUNTED_AT_ONCE == 0:
                look_up()
        return total

    def settle(self, file: FoundFile, content: int | None) -> None:
        """It stays where it is."""


class ServerFiles:
    """Files under the allowed roots, from the request or a text file with one path a line.

    What may not be read is listed as skipped. Nothing is copied, changed or deleted.
    """

    def __init__(self, request: Mapping[str, Any], settings: Settings) -> None:
        self.ignored = 0
        self._refused: list[FoundFile] = []
        self._files: list[bytes] = []
        for name, path in _listed_files(request, settings):
            self._look_up(name, path, settings.allowed_roots)
        folders = {os.path.dirname(path) for path in self._files}  # noqa: PTH120 (bytes)
        self._base = os.path.commonpath(folders) if folders else b"/"
        self.root: str | None = os.fsdecode(self._base)

    def files(self) -> Iterator[FoundFile]:
        """Those that may not be read come first."""
        yield from self._refused
        previous = b""
        for path in sorted(self._files):
            if path == previous:
                self.ignored += 1  # listed before
                continue
            previous = path
            raw = os.path.relpath(path, self._base)
            yield FoundFile(raw, display_path(raw), path)

    def count(self, look_up: Callable[[], None]) -> int:  # noqa: ARG002 - it takes no time
        return len(self._refused) + len(set(self._files))

    def settle(self, file: FoundFile, content: int | None) -> None:
        """It stays where it is."""

    def _look_up(self, name: str, path: str, roots: Sequence[Path]) -> None:
        try:
            self._files.append(os.fsencode(allowed_file(path, roots)))
        except PathNotAllowed as error:
            refusal = FileRefused(error.code, str(error))
            self._refused.append(FoundFile(os.fsencode(name), name, refusal=refusal))


def _listed_files(request: Mapping[str, Any], settings: Settings) -> Iterable[tuple[str, str]]:
    """(what to call it if it may not be read, path): of the request, or of the lines of its file.

    A line is called by its number, so that no other file's text can be read in this way. A
    relative path begins where the file lies.

    Raises:
        PathNotAllowed: of the file.
    """
    if request.get("file") is None:
        return [(path, path) for path in request["paths"]]
    file = allowed_file(request["file"], settings.allowed_roots)
    with os.fdopen(open_regular(os.fsencode(file)), "rb") as lines:
        named = [os.fsdecode(line.rstrip(b"\r\n")) for line in lines]
    return [
        (f"{file.name}, line {number}", str(file.parent / line))
        for number, line in enumerate(named, start=1)
        if line
    ]


class Archive:
    """A zip file, unpacked one member at a time under names of our own."""

    root: str | None = None

    def __init__(self, path: Path, staging: Path, settings: Settings) -> None:
        self._path, self._images = path, staging / IMAGES
        self._contents = check_archive(path, settings)
        self.ignored = self._contents.ignored

    def files(self) -> Iterator[FoundFile]:
        self._check_room()
        with self._path.open("rb") as file:
            for i, member in enumerate(self._contents.members):
                target = self._images / f".unpacked-{i}"
                with target.open("wb") as unpacked:
                    unpacked.writelines(unpack(file, member))
                yield FoundFile(member.raw, member.name, os.fsencode(target))

    def count(self, look_up: Callable[[], None]) -> int:  # noqa: ARG002 - it takes no time
        return len(self._contents.members)

    def _check_room(self) -> None:
        free = free_bytes(self._images)
        if self._contents.unpacked > free:
            raise DiskFull(
                f"the archive unpacks to {self._contents.unpacked:,} bytes, {free:,} are free"
            )

    def settle(self, file: FoundFile, content: int | None) -> None:
        unpacked = Path(os.fsdecode(file.path))
        if content is None:
            unpacked.unlink()
        else:
            unpacked.rename(self._images / image_name(content))


class Uploads:
    """A folder of uploaded files with their names in `names.ndjson`; it stays as it is."""

    root: str | None = None
    ignored = 0

    def __init__(self, folder: Path, staging: Path) -> None:
        self._folder, self._images = folder, staging / IMAGES

    def count(self, look_up: Callable[[], None]) -> int:  # noqa: ARG002 - it takes no time
        return len(self._rows())

    def files(self) -> Iterator[FoundFile]:
        # A name as UTF-8; what no text can be, as its escape.
        named = sorted(
            (row["name"].encode("utf-8", "backslashreplace"), row["file"]) for row in self._rows()
        )
        taken: set[bytes] = set()
        for name, stored in named:
            raw = _free_name(name, taken)
            taken.add(raw)
            yield FoundFile(raw, display_path(raw), os.fsencode(self._folder / stored))

    def settle(self, file: FoundFile, content: int | None) -> None:
        if content is not None:
            link_or_copy(Path(os.fsdecode(file.path)), self._images / image_name(content))

    def _rows(self) -> list[dict[str, str]]:
        with (self._folder / NAMES).open("rb") as file:
            return [json.loads(line) for line in file]


def link_or_copy(source: Path, target: Path) -> None:
    """`target` with the bytes of `source`: a hard link where the file system has them."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _free_name(name: bytes, taken: set[bytes]) -> bytes:
    """`name`, or `name (2)`, `name (3)`, ... before its suffix: paths tell images apart."""
    path, count, free = PurePosixPath(os.fsdecode(name)), 1, name
    while free in taken:
        count += 1
        free = os.fsencode(path.with_name(f"{path.stem} ({count}){path.suffix}"))
    return free
