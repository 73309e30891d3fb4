"""Zip archives: what their directory shows before anything is unpacked, and safe unpacking."""

import os
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import BinaryIO

from workers.paths import display_path
from workers.settings import Settings

#: Members of at most this many bytes may be packed tighter than the limit on the ratio: a small
#: picture in one colour is, and the limits on size and count hold all the same.
RATIO_FREE_BYTES = 1 << 16
#: The directory of 200,000 members with names of 200 characters has 50 MB.
MAX_DIRECTORY_BYTES = 1 << 26

_STORED, _DEFLATED = 0, 8
_ENCRYPTED_FLAGS = 0x1 | 0x40 | 0x2000
_UTF8_FLAG = 0x800
_CHUNK = 1 << 18

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")


class UnsupportedArchive(Exception):
    """The upload is no zip archive."""

    code = "unsupported_archive"


class ArchiveRejected(Exception):
    """The archive is damaged, over a limit, or not made in good faith.

    Args:
        reason: what is wrong.
        member: name of the member at fault, if it is one.
    """

    code = "archive_rejected"

    def __init__(self, reason: str, member: str | None = None) -> None:
        super().__init__(reason if member is None else f"member {member!r} {reason}")
        self.reason = reason
        self.member = member


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive, as the directory describes it."""

    raw: bytes
    name: str
    flags: int
    method: int
    crc: int
    packed: int
    unpacked: int
    mode: int
    offset: int


@dataclass(frozen=True, slots=True)
class ArchiveContents:
    """The files of an archive that passed, in the byte order of their names."""

    members: list[Member]
    #: Folders, and the notes that macOS leaves in `__MACOSX/`.
    ignored: int
    #: Declared size of all members together.
    unpacked: int


def check_archive(path: Path, settings: Settings) -> ArchiveContents:
    """The files of a zip archive, none of which has been unpacked.

    Raises:
        UnsupportedArchive: it does not begin like a zip archive.
        ArchiveRejected: its directory shows something that is not taken.
    """
    if not is_zip(path):
        raise UnsupportedArchive("the archive must be a zip file, and this is not one")
    with path.open("rb") as file:
        found, directory_start = _read_directory(file, settings)
    for member in found:
        _check_member(member, settings)
    _check_total(found, settings)
    _check_places(found, directory_start)
    members = sorted((m for m in found if not _is_ignored(m)), key=lambda m: m.raw)
    _check_unique(members)
    return ArchiveContents(members, len(found) - len(members), sum(m.unpacked for m in members))


def is_zip(path: Path) -> bool:
    """Whether a file begins like a zip archive."""
    with path.open("rb") as file:
        return file.read(4) in {b"PK\x03\x04", b"PK\x05\x06"}


def unpack(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """The bytes of a member, in pieces, counted and checked on the way.

    Raises:
        ArchiveRejected: they are not what the directory says.
    """
    inflate = zlib.decompressobj(-zlib.MAX_WBITS) if member.method == _DEFLATED else None
    size, crc = 0, 0
    for piece in _inflated(_packed(file, member), inflate, member):
        size += len(piece)
        crc = zlib.crc32(piece, crc)
        if size > member.unpacked:
            break
        yield piece
    if size != member.unpacked:
        raise ArchiveRejected(f"does not have the {member.unpacked:,} bytes it says", member.name)
    if crc != member.crc:
        raise ArchiveRejected("has a wrong checksum", member.name)


def _packed(file: BinaryIO, member: Member) -> Iterator[bytes]:
    file.seek(member.offset)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size:
        raise ArchiveRejected("is cut off", member.name)
    magic, _, flags, method, _, _, _, _, _, name_size, extra_size = _LOCAL.unpack(header)
    same = (magic, method, file.read(name_size)) == (b"PK\x03\x04", member.method, member.raw)
    if not same or flags & _ENCRYPTED_FLAGS:
        raise ArchiveRejected("differs from what the directory says of it", member.name)
    file.seek(extra_size, os.SEEK_CUR)
    left = member.packed
    while left:
        chunk = file.read(min(left, _CHUNK))
        if not chunk:
            raise ArchiveRejected("is cut off", member.name)
        left -= len(chunk)
        yield chunk


def _inflated(
    chunks: Iterator[bytes], inflate: "zlib._Decompress | None", member: Member
) -> Iterator[bytes]:
    if inflate is None:
        yield from chunks
        return
    try:
        for chunk in chunks:
            yield from _pieces(inflate, chunk)
    except zlib.error as error:
        raise ArchiveRejected("cannot be unpacked", member.name) from error


def _pieces(inflate: "zlib._Decompress", packed: bytes) -> Iterator[bytes]:
    """What `packed` unpacks to, never more than a piece at a time."""
    piece = inflate.decompress(packed, _CHUNK)
    yield piece
    while inflate.unconsumed_tail or len(piece) == _CHUNK:  # else nothing is pending inside zlib
        piece = inflate.decompress(inflate.unconsumed_tail, _CHUNK)
        yield piece


# The directory


def _read_directory(file: BinaryIO, settings: Settings) -> tuple[list[Member], int]:
    """All members, and where the directory begins."""
    count, size, start = _find_directory(file)
    if count > settings.max_archive_members:
        raise ArchiveRejected(
            f"has {count:,} members, at most {settings.max_archive_members:,} are allowed"
        )
    if size > MAX_DIRECTORY_BYTES:
        raise ArchiveRejected(
            f"has a directory of {size:,} bytes, at most {MAX_DIRECTORY_BYTES:,} are read"
        )
    file.seek(start)
    directory = file.read(size)
    members = list(islice(_members(directory), count + 1))
    if len(directory) != size or len(members) != count:
        raise ArchiveRejected("has a damaged directory")
    return members, start


def _find_directory(file: BinaryIO) -> tuple[int, int, int]:
    """Number of members, and size and place of the directory."""
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - _END.size - 0xFFFF))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0 and not _ends_exactly(tail, at):
        at = tail.rfind(b"PK\x05\x06", 0, at)
    if at < 0:
        raise ArchiveRejected("has no directory: it is damaged or incomplete")
    _, disk, first_disk, _, count, size, start, _ = _END.unpack_from(tail, at)
    if count == 0xFFFF or size == 0xFFFFFFFF or start == 0xFFFFFFFF:
        disk, first_disk, count, size, start = _find_large_directory(file, length - len(tail) + at)
    if disk or first_disk:
        raise ArchiveRejected("is one part of several")
    if start > length:  # in the large form it may be further than any file system goes
        raise ArchiveRejected("has a damaged directory")
    return count, size, start


def _ends_exactly(tail: bytes, at: int) -> bool:
    if at + _END.size > len(tail):
        return False
    comment_size: int = _END.unpack_from(tail, at)[-1]
    return at + _END.size + comment_size == len(tail)


def _find_large_directory(file: BinaryIO, end: int) -> tuple[int, int, int, int, int]:
    """Disks, count, size and place of the directory of a zip64 archive."""
    try:
        file.seek(end - _END64_LOCATOR.size)
        magic, _, place, _ = _END64_LOCATOR.unpack(file.read(_END64_LOCATOR.size))
        file.seek(place)
        magic64, _, _, _, disk, first_disk, _, count, size, start = _END64.unpack(
            file.read(_END64.size)
        )
    except (OSError, OverflowError, ValueError, struct.error) as error:
        raise ArchiveRejected("has a damaged directory") from error
    if (magic, magic64) != (b"PK\x06\x07", b"PK\x06\x06"):
        raise ArchiveRejected("has a damaged directory")
    return disk, first_disk, count, size, start


def _members(directory: bytes) -> Iterator[Member]:
    at = 0
    while at + _ENTRY.size <= len(directory):
        entry = _ENTRY.unpack_from(directory, at)
        magic, _, _, flags, method, _, _, crc, packed, unpacked = entry[:10]
        name_size, extra_size, comment_size, _, _, attributes, offset = entry[10:]
        if magic != b"PK\x01\x02":
            return
        at += _ENTRY.size
        raw = directory[at : at + name_size]
        extra = directory[at + name_size : at + name_size + extra_size]
        at += name_size + extra_size + comment_size
        unpacked, packed, offset = _large_numbers(extra, [unpacked, packed, offset])
        name = _member_name(raw, flags)
        yield Member(raw, name, flags, method, crc, packed, unpacked, attributes >> 16, offset)


def _large_numbers(extra: bytes, numbers: list[int]) -> list[int]:
    """Sizes and place of a member, from the zip64 field where the entry has no room for them."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == 1:
            wide = iter(struct.unpack_from(f"<{min(size, len(extra) - 4) // 8}Q", extra, 4))
            return [next(wide, n) if n == 0xFFFFFFFF else n for n in numbers]
        extra = extra[4 + size :]
    return numbers


def _member_name(raw: bytes, flags: int) -> str:
    """UTF-8 where a flag says so or the bytes are, else the code page of the format."""
    if flags & _UTF8_FLAG:
        return display_path(raw)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp437")


# What is not taken


def _check_member(member: Member, settings: Settings) -> None:
    reason = _bad_name(member.raw) or _bad_kind(member) or _bad_size(member, settings)
    if reason:
        raise ArchiveRejected(reason, member.name)


def _bad_name(raw: bytes) -> str | None:
    if not raw:
        return "has no name"
    if b"\0" in raw:
        return "has a NUL in its name"
    if b"\\" in raw:
        return "has a backslash in its name"
    if raw.startswith(b"/") or re.match(rb"[A-Za-z]:", raw):
        return "has an absolute name"
    if b".." in raw.split(b"/"):
        return "has a name that leads outside the archive"
    return None


def _bad_kind(member: Member) -> str | None:
    if stat.S_IFMT(member.mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        return "is a link, pipe or device"
    if member.flags & _ENCRYPTED_FLAGS:
        return "is encrypted"
    if member.method not in {_STORED, _DEFLATED}:
        return f"is packed with method {member.method}, only stored and deflate are read"
    return None


def _bad_size(member: Member, settings: Settings) -> str | None:
    if member.method == _STORED and member.packed != member.unpacked:
        return "is stored but has two sizes"
    too_tight = member.unpacked > settings.max_archive_ratio * member.packed
    if too_tight and member.unpacked > RATIO_FREE_BYTES:
        return (
            f"unpacks from {member.packed:,} to {member.unpacked:,} bytes, "
            f"at most {settings.max_archive_ratio:g} times are allowed"
        )
    return None


def _check_total(members: list[Member], settings: Settings) -> None:
    total = sum(member.unpacked for member in members)
    if total > settings.max_archive_bytes:
        raise ArchiveRejected(
            f"unpacks to {total:,} bytes, at most {settings.max_archive_bytes:,} are allowed"
        )


def _check_places(members: list[Member], directory_start: int) -> None:
    """No two members share bytes: overlapping ones make a bomb of a small archive."""
    in_order = sorted(members, key=lambda m: m.offset)
    ends = [*(member.offset for member in in_order[1:]), directory_start]
    for member, end in zip(in_order, ends, strict=False):  # without members there is one end
        if member.offset + _LOCAL.size + len(member.raw) + member.packed > end:
            raise ArchiveRejected("overlaps with another or is cut off", member.name)


def _check_unique(members: list[Member]) -> None:
    for before, member in pairwise(members):
        if before.raw == member.raw:
            raise ArchiveRejected("is there twice", member.name)


def _is_ignored(member: Member) -> bool:
    return member.raw.endswith(b"/") or member.raw.startswith(b"__MACOSX/")
