"""Where the files of a dataset come from: a folder on the server, an archive, or an upload."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Protocol

from workers.archives import check_archive, unpack
from workers.durable import IMAGES
from workers.files import NAMES, DiskFull, free_bytes, image_name
from workers.paths import FoundFile, allowed_folder, display_path, walk
from workers.settings import Settings


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

    def settle(self, file: FoundFile, content: int | None) -> None:
        """Keep an inspected file as the image `content`, or let go of it."""


def source_of(request: Mapping[str, str], own: Path, staging: Path, settings: Settings) -> Source:
    """The source that a request names; `own` is the folder that an upload's path starts from.

    Raises:
        PathNotAllowed: a folder that may not be read.
        ArchiveRejected: an archive whose directory shows something that is not taken.
    """
    if request["kind"] == "folder":
        return ServerFolder(request["path"], settings)
    (staging / IMAGES).mkdir()
    if request["kind"] == "archive":
        return Archive(own / request["path"], staging, settings)
    return Uploads(own / request["path"], staging)


class ServerFolder:
    """A folder under the allowed roots. Nothing in it is copied, changed or deleted."""

    ignored = 0

    def __init__(self, path: str, settings: Settings) -> None:
        self._top = allowed_folder(path, settings.allowed_roots)
        self._roots = settings.allowed_roots
        self.root: str | None = str(self._top)

    def files(self) -> Iterator[FoundFile]:
        return walk(self._top, self._roots)

    def settle(self, file: FoundFile, content: int | None) -> None:
        """It stays where it is."""


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

    def files(self) -> Iterator[FoundFile]:
        with (self._folder / NAMES).open("rb") as file:
            rows = [json.loads(line) for line in file]
        # A name as UTF-8; what no text can be, as its escape.
        named = sorted(
            (row["name"].encode("utf-8", "backslashreplace"), row["file"]) for row in rows
        )
        taken: set[bytes] = set()
        for name, stored in named:
            raw = _free_name(name, taken)
            taken.add(raw)
            yield FoundFile(raw, display_path(raw), os.fsencode(self._folder / stored))

    def settle(self, file: FoundFile, content: int | None) -> None:
        if content is not None:
            link_or_copy(Path(os.fsdecode(file.path)), self._images / image_name(content))


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
