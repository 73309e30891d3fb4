"""Rows of what the data folder holds, read without torch: manifests and tensors."""

from __future__ import annotations

import json
import os
import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from workers.contents import ContentDigests, ContentPaths
from workers.durable import IMAGES
from workers.files import MANIFEST, SOURCE, read_json

#: Element type of a safetensors tensor -> type code of `array`.
_TYPE_CODES = {"F32": "f", "I32": "i", "I64": "q"}


def tensor_rows(path: Path, tensor: str) -> int:
    """Number of rows (the first axis) of a tensor in a safetensors file."""
    with path.open("rb") as file:
        entry, _ = _tensor_entry(file.fileno(), tensor)
    return int(entry["shape"][0])


def read_rows(path: Path, tensor: str, start: int, stop: int) -> list[array[Any]]:
    """Rows `start` to `stop` (exclusive, clipped) of a tensor in a safetensors file.

    Args:
        path: the file.
        tensor: name of a tensor of F32, I64 or I32 with one or two axes; a row of a tensor with
            one axis has one element.
        start: first row.
        stop: row after the last.
    """
    block, dtype, width = read_block(path, tensor, start, stop)
    values = array(_TYPE_CODES[dtype])
    values.frombytes(block)
    if sys.byteorder == "big":
        values.byteswap()
    return [values[i : i + width] for i in range(0, len(values), width)]


def read_block(path: Path, tensor: str, start: int, stop: int) -> tuple[bytes, str, int]:
    """The same rows as the bytes that they are, little-endian; their type; elements of a row."""
    with path.open("rb") as file:
        entry, base = _tensor_entry(file.fileno(), tensor)
        rows, width = (*entry["shape"], 1)[:2]
        start, stop = max(0, start), min(stop, rows)
        row_bytes = width * array(_TYPE_CODES[entry["dtype"]]).itemsize
        offset = base + entry["data_offsets"][0] + start * row_bytes
        block = os.pread(file.fileno(), max(0, stop - start) * row_bytes, offset)
    return block, entry["dtype"], width


def _tensor_entry(handle: int, tensor: str) -> tuple[dict[str, Any], int]:
    """Header entry of a tensor, and where the file's data begins."""
    (length,) = struct.unpack("<Q", os.pread(handle, 8, 0))
    header = json.loads(os.pread(handle, length, 8))
    return header[tensor], 8 + length


# The list of images


def manifest_count(path: Path) -> int:
    """Number of rows of a `manifest.parquet`."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        return int(file.metadata.num_rows)


def manifest_rows(
    path: Path, start: int, stop: int, columns: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Rows `start` to `stop` (exclusive, clipped) of a `manifest.parquet`."""
    stop = min(stop, manifest_count(path))
    return manifest_rows_at(path, range(max(start, 0), stop), columns)


def manifest_rows_at(
    path: Path, wanted: Sequence[int], columns: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """The wanted rows of a `manifest.parquet`, which has them all, in the order asked for."""
    from pyarrow.parquet import ParquetFile

    found: dict[int, dict[str, Any]] = {}
    left = sorted(set(wanted))
    with ParquetFile(path) as file:
        first = at = 0
        for group in range(file.num_row_groups):
            end = bisect_left(left, first + file.metadata.row_group(group).num_rows)
            if at < end:
                table = file.read_row_group(group, columns, use_threads=False)
                rows = table.take([row - first for row in left[at:end]]).to_pylist()
                found.update(zip(left[at:end], rows, strict=True))
            first, at = first + file.metadata.row_group(group).num_rows, end
    return [found[row] for row in wanted]


def manifest_column(path: Path, name: str) -> Any:
    """One column of a `manifest.parquet` as Arrow has it."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        return file.read([name], use_threads=False)[name].combine_chunks()


def iter_manifest(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Every row of a `manifest.parquet`, a block in memory at a time."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield from file.read_row_group(group, columns, use_threads=False).to_pylist()


def content_files(dataset: Path) -> tuple[ContentPaths, ContentDigests]:
    """Paths and SHA-256 of the distinct images of a published dataset, in order of `content`."""
    root = read_json(dataset / SOURCE)["root"]
    paths = ContentPaths(os.fsencode(root or dataset / IMAGES))
    digests = ContentDigests()
    for row in iter_manifest(dataset / MANIFEST, ["path_raw", "sha256", "content"]):
        if row["content"] == len(digests):  # its first appearance
            paths.append(row["path_raw"] if root else image_name(row["content"]).encode())
            digests.append(row["sha256"])
    return paths, digests


def image_name(content: int) -> str:
    """Name below `images/` of the uploaded image with the index `content`."""
    return f"{content:08d}"
