"""Class activation maps on demand: what a map depends on, its name, and the cache of them."""

import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from workers.digests import digest_of
from workers.files import DataFolder
from workers.jobs import Kind

#: Raised when the same inputs give another picture.
CAM_VERSION = 1

#: The cache is trimmed to this many folders and bytes, the ones not used for longest first.
MAX_FOLDERS = 5000
MAX_BYTES = 2_000_000_000
#: A map that nobody asked for again is removed after a day, so it does not outlive its images long.
UNUSED_SECONDS = 86_400.0


class CamFormat(StrEnum):
    """How a map is given out."""

    #: Laid over the image in colours.
    PNG = "png"
    #: The activations themselves: NumPy's file format, float32, (height, width).
    NPY = "npy"


@dataclass(frozen=True)
class Cam:
    """The map of one class on one image, as a student sees it."""

    student_sha256: str
    image_sha256: str
    #: Channel of the student.
    channel: int
    #: Size of the result in pixels.
    width: int
    height: int
    format: str

    @property
    def name(self) -> str:
        """Folder of the map."""
        return f"cam-{self._digest}"

    def record_id(self, project: str) -> str:
        """The same map is the same record, however often a project asks for it."""
        return f"cam_{digest_of(self._digest, project)}"

    @property
    def grid_name(self) -> str:
        """Folder of the maps of all classes on the image, as the student gives them."""
        return f"grid-{digest_of(CAM_VERSION, self.student_sha256, self.image_sha256)}"

    @property
    def file(self) -> str:
        """The one file in the folder of the map."""
        return f"cam.{self.format}"

    @property
    def _digest(self) -> str:
        return digest_of(CAM_VERSION, vars(self))


class CamCache:
    """Folders that may vanish at any time and are then made again."""

    def __init__(self, data: DataFolder) -> None:
        self._data = data

    def folder(self, name: str) -> Path:
        return self._data.of(Kind.CAM, name)

    def has(self, name: str) -> bool:
        """Whether it is there and whole; it then counts as used now."""
        folder = self.folder(name)
        if self._data.is_complete(folder):
            with suppress(FileNotFoundError):
                os.utime(folder)
                return True
        return False

    def produce(self, name: str, make: Callable[[Path], None], *, nonce: str) -> None:
        """Publish what `make` writes, unless it is there already."""
        if not self.has(name):
            self._data.produce_at(self.folder(name), make, nonce=nonce)

    def trim(self) -> int:
        """Remove what was not used for long, and what is over the limits; how many folders."""
        overdue = list(self._overdue(time.time()))
        for folder in overdue:
            self._data.discard(folder)
        return len(overdue)

    def _overdue(self, now: float) -> Iterator[Path]:
        """Folders to be removed, looked through from the one used last."""
        kept_bytes = 0
        entries = sorted(self._usage(), reverse=True)
        for position, (used_at, size, folder) in enumerate(entries):
            kept_bytes += size
            is_over = position >= MAX_FOLDERS or kept_bytes > MAX_BYTES
            if is_over or used_at + UNUSED_SECONDS < now:
                yield folder

    def _usage(self) -> Iterator[tuple[float, int, Path]]:
        """(time of last use, bytes, folder) of everything there is."""
        for folder in self._data.of(Kind.CAM, "").iterdir():
            with suppress(FileNotFoundError):  # somebody else trims too
                size = sum(file.stat().st_size for file in os.scandir(folder))
                yield folder.stat().st_mtime, size, folder


def fitted(width: int, height: int, max_side: int) -> tuple[int, int]:
    """(width, height) shrunk by one factor until the longer side has at most `max_side` pixels."""
    scale = min(1.0, max_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def sweep(data: DataFolder, live_nonces: Collection[str]) -> int:
    """Everything in the data folder that is to go by itself; how many folders went."""
    return data.sweep(live_nonces) + CamCache(data).trim()
