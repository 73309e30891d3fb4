"""Where the truth of an evaluation comes from: an upload, or a file or folder on the server."""

import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from workers.archives import ArchiveRejected, check_archive, is_zip, unpack
from workers.files import DiskFull, disk_guard, free_bytes
from workers.paths import FileRefused, allowed_file, allowed_folder, open_regular, walk
from workers.settings import Settings
from workers.truth.nus_wide import is_list
from workers.truth.read import SUFFIXES
from workers.truth.truth import TruthError
from workers.truth.voc import is_voc_file

#: Names that no file system takes as they are: a file in the place of a folder, or too long.
_BAD_NAME_ERRORS = frozenset(
    {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EILSEQ}
)
_PIECE_BYTES = 1 << 20


def place_truth(source: Mapping[str, str], *, own: Path, staging: Path, settings: Settings) -> Path:
    """The file or folder to read.

    Args:
        source: {"kind": "upload", "path"} below `own`, or {"kind": "file" or "folder", "path"}
            on the server.
        own: the folder of the evaluation's record.
        staging: an empty folder; what is unpacked or copied goes into it.
        settings: limits and allowed roots.

    Raises:
        PathNotAllowed: a place that may not be read.
        ArchiveRejected: an archive that is damaged or made in bad faith.
        TruthError: a file of the folder that may not be read.
        DiskFull: there is no room to unpack.
    """
    if source["kind"] == "folder":
        copy_folder(allowed_folder(source["path"], settings.allowed_roots), staging, settings)
        return staging
    if source["kind"] == "file":
        path = allowed_file(source["path"], settings.allowed_roots)
    else:
        path = own / source["path"]
    return unpack_truth(path, staging, settings) if is_zip(path) else path


def unpack_truth(path: Path, staging: Path, settings: Settings) -> Path:
    """`staging`, with those members of an archive that may be truth.

    Raises:
        UnsupportedArchive, ArchiveRejected, DiskFull: nothing can be read.
    """
    members = [m for m in check_archive(path, settings).members if _may_be_truth(m.name)]
    size, free = sum(m.unpacked for m in members), free_bytes(staging)
    if size > free:
        raise DiskFull(f"the archive unpacks to {size:,} bytes, {free:,} are free")
    with path.open("rb") as file:
        for member in members:
            try:
                _write(staging, member.raw, unpack(file, member))
            except OSError as error:
                if error.errno not in _BAD_NAME_ERRORS:
                    raise
                raise ArchiveRejected("has a name that cannot be a file", member.name) from error
    return staging


def copy_folder(folder: Path, staging: Path, settings: Settings) -> None:
    """Copy what may be truth: what is read then lies nowhere but where it may be read.

    Raises:
        TruthError: a link leads outside the allowed roots, or a file cannot be read.
    """
    for found in walk(folder, settings.allowed_roots):
        if not _may_be_truth(found.name):
            continue
        try:
            if found.refusal is not None:
                raise found.refusal
            with os.fdopen(open_regular(found.path), "rb") as file, disk_guard(staging):
                _write(staging, found.raw, _pieces(file))
        except FileRefused as refusal:
            raise TruthError("truth_unreadable", f"{found.name} {refusal}") from refusal


def _may_be_truth(name: str) -> bool:
    """Whether a file is of one of the formats: the sets have gigabytes of other files beside."""
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES or is_voc_file(path) or is_list(path.name.lower())


def _write(staging: Path, raw_name: bytes, pieces: Iterator[bytes]) -> None:
    target = staging / os.fsdecode(raw_name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        file.writelines(pieces)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE_BYTES):
        yield piece
