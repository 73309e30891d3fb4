"""The JSON in a student's files, read and replaced without touching a weight.

Standard library only: whoever serves a file can give it other thresholds and needs no torch.
"""

from __future__ import annotations

import io
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

#: Entry of the metadata that holds the JSON, in a safetensors file and in an ONNX file alike.
HEADER = "ccd_student"

#: Where a safetensors file keeps its metadata, in its own JSON.
_METADATA = "__metadata__"
#: A safetensors file's tensors begin at a multiple of this.
_ALIGNMENT = 8
#: Number of the field `metadata_props` in ONNX's ModelProto; it is the last of our files.
_METADATA_PROPS = 14
#: Wire types of protobuf: a number as varint, 8 bytes, bytes after their length, 4 bytes.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class NoHeader(ValueError):
    """A file without the JSON of a student."""


@dataclass(frozen=True)
class Layout:
    """A student's file: its JSON, and the bytes of the file that hold the rest.

    Attributes:
        header: the JSON.
        body: positions of the bytes that no change of the JSON touches.
        own: a safetensors file's whole header; empty for ONNX.
    """

    header: dict[str, Any]
    body: range
    own: Mapping[str, Any]

    def with_header(self, header: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """What stands before the body and after it once `header` is the file's JSON."""
        text = json.dumps(header, allow_nan=False)
        if not self.own:
            return b"", onnx_metadata(text)
        metadata = {**self.own[_METADATA], HEADER: text}
        own = json.dumps({**self.own, _METADATA: metadata}, separators=(",", ":")).encode()
        own += b" " * (-len(own) % _ALIGNMENT)
        return struct.pack("<Q", len(own)) + own, b""


def layout_of(path: Path) -> Layout:
    """The layout of a student's file, safetensors or ONNX by its suffix.

    Raises:
        NoHeader: it is no file of a student.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            return _onnx(file, size) if path.suffix == ".onnx" else _safetensors(file, size)
        except (ValueError, KeyError, TypeError, struct.error) as error:
            raise NoHeader(f"not a student's file: {error}") from error


def onnx_metadata(text: str) -> bytes:
    """The bytes that, at the end of an ONNX file, are its metadata entry `HEADER`."""
    entry = _delimited(1, HEADER.encode()) + _delimited(2, text.encode())
    return _delimited(_METADATA_PROPS, entry)


def _safetensors(file: BinaryIO, size: int) -> Layout:
    (length,) = struct.unpack("<Q", file.read(8))
    if 8 + length > size:
        raise ValueError("it ends within its header")
    own = json.loads(file.read(length))
    return Layout(json.loads(own[_METADATA][HEADER]), range(8 + length, size), own)


def _onnx(file: BinaryIO, size: int) -> Layout:
    """Skips from field to field: of the weights not a byte is read."""
    while (start := file.tell()) < size:
        key = _read_varint(file)
        number, kind = key >> 3, key & 7
        if (number, kind) == (_METADATA_PROPS, _BYTES):
            entry = file.read(_read_varint(file))
            return Layout(_entry_json(entry), range(start), {})
        _skip(file, kind)
    raise ValueError("it has no metadata")


def _entry_json(entry: bytes) -> dict[str, Any]:
    prefix = _delimited(1, HEADER.encode())
    if not entry.startswith(prefix):
        raise ValueError(f"its metadata does not begin with {HEADER}")
    value = io.BytesIO(entry.removeprefix(prefix))
    _read_varint(value)  # the key of the second field
    found: dict[str, Any] = json.loads(value.read(_read_varint(value)))
    return found


def _skip(file: BinaryIO, kind: int) -> None:
    if kind == _VARINT:
        _read_varint(file)
    elif kind == _BYTES:
        file.seek(_read_varint(file), os.SEEK_CUR)
    elif kind in {_FIXED32, _FIXED64}:
        file.seek(4 if kind == _FIXED32 else 8, os.SEEK_CUR)
    else:
        raise ValueError(f"it has a field of the unknown kind {kind}")


def _delimited(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the top bit says that more come."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _read_varint(file: BinaryIO) -> int:
    number = 0
    for shift in range(0, 70, 7):
        (byte,) = file.read(1) or (None,)
        if byte is None:
            raise ValueError("it ends within a number")
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number
    raise ValueError("it has a number of more than 64 bits")
