"""Batches over image files: decoded by a pool of threads, in order, in bounded memory."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor

from models.images import decode, resize, to_tensor

T = TypeVar("T")

#: Told after every batch how many images of the work are done; may raise to end it there.
OnBatch = Callable[[int], None]


class ImageChanged(Exception):
    """A file no longer holds the bytes that were registered."""

    code = "input_changed"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}; register the images again")
        self.path = path
        self.reason = reason


class ImageFiles:
    """The files of a dataset, each with the SHA-256 (hex) that its bytes had when registered."""

    def __init__(self, paths: Sequence[Path | bytes], sha256: Sequence[str]) -> None:
        if len(paths) != len(sha256):
            raise ValueError(f"{len(paths)} paths need as many digests, there are {len(sha256)}")
        self._paths = paths
        self.sha256 = sha256

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, index: int) -> bytes:
        """The bytes of one file.

        Raises:
            ImageChanged: the file is gone, cannot be read, or holds other bytes than before.
        """
        path = Path(os.fsdecode(self._paths[index]))
        shown = os.fsencode(path.name).decode(errors="replace")  # no folder of the server
        try:
            content = _read_file(path)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ImageChanged(shown, f"cannot be read ({reason})") from error
        if hashlib.sha256(content).hexdigest() != self.sha256[index]:
            raise ImageChanged(shown, "its bytes are not those that were registered")
        return content


def _read_file(path: Path) -> bytes:
    """The bytes of a regular file; whatever else took its place is not waited for."""
    # Without O_NONBLOCK a pipe would be opened only when somebody writes to it.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no file any more")
        return file.read()


def ignore(_done: int) -> None:
    """An `OnBatch` for callers that neither watch nor stop."""


def view_batches(
    files: ImageFiles,
    indices: Sequence[int],
    *,
    side: int,
    batch_size: int,
    threads: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Whole images squashed to a square, in the order of `indices`.

    Two batches are decoded ahead of the one in use, however many images there are.

    Yields:
        (B,) int64 indices and (B, 3, side, side) uint8 images; the last batch may be smaller.

    Raises:
        ImageChanged: a file is not the one that was registered.
    """

    def view(index: int) -> Tensor:
        return to_tensor(resize(decode(files.read(index), target=side), side))

    views = in_order(view, indices, threads=threads, ahead=2 * batch_size)
    try:
        for start in range(0, len(indices), batch_size):
            batch = indices[start : start + batch_size]
            images = torch.stack([next(views) for _ in batch])
            yield torch.tensor(batch, dtype=torch.int64), images
    finally:
        views.close()


def originals(
    files: ImageFiles, indices: Sequence[int], *, threads: int
) -> Iterator[tuple[int, Image.Image]]:
    """Upright images at full size with their indices, in order, `threads` of them decoded ahead."""

    def original(index: int) -> tuple[int, Image.Image]:
        return index, decode(files.read(index))

    return in_order(original, indices, threads=threads, ahead=threads)


def in_order(
    work: Callable[[int], T], indices: Iterable[int], *, threads: int, ahead: int
) -> Generator[T, None, None]:
    """`work` of every index, done by a pool of threads, at most `ahead` results waiting.

    Closing the generator, or an error in it, drops what has not begun and ends the threads.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    waiting: deque[Future[T]] = deque()
    try:
        for index in indices:
            waiting.append(pool.submit(work, index))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
