"""Paths and digests of a dataset's distinct images, for a million of them at a time."""

import os
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class ContentPaths(Sequence[Path]):
    """Paths of a dataset's distinct images; a million of them take as much memory as their text."""

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._names = bytearray()
        self._ends = array("Q", [0])

    def append(self, name: bytes) -> None:
        """Add the image `name`, relative to the root."""
        self._names += name
        self._ends.append(len(self._names))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        name = bytes(self._names[self._ends[position] : self._ends[position + 1]])
        return Path(os.fsdecode(os.path.join(self._root, name)))  # noqa: PTH118 (bytes)


class ContentDigests(Sequence[str]):
    """SHA-256 of a dataset's distinct images as hex, kept in 32 bytes each."""

    def __init__(self) -> None:
        self._digests = bytearray()

    def append(self, digest: str) -> None:
        """Add a digest given as hex."""
        self._digests += bytes.fromhex(digest)

    def __len__(self) -> int:
        return len(self._digests) // 32

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        return self._digests[32 * position : 32 * position + 32].hex()
