"""Folders on the server: which may be read, what lies in them, and how a file is opened."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

#: What the name of an image ends in, in small letters; what a file is, its bytes say.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
#: A folder with this file in it belongs to a service, with all that is below: what others have
#: uploaded there is never read as a source, whatever folders are allowed.
SERVICES_OWN = ".ccd-data"
#: Largest file that is read at all, in bytes; an image of 50 million pixels is smaller.
MAX_FILE_BYTES = 1 << 29


class PathNotAllowed(Exception):
    """Outside the allowed roots, missing or unreadable: the message never says which.

    Args:
        what: `folder` or `file`, whichever was wanted.
    """

    code = "path_not_allowed"

    def __init__(self, what: str = "folder") -> None:
        super().__init__(
            f"path must name a readable {what}, in full, under one of the folders of "
            "CCD_ALLOWED_ROOTS (`ccd serve --allow FOLDER`)"
        )


class FileRefused(Exception):
    """A file that is not read, with the code that goes into the list of skipped files."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of a dataset: to be inspected, or refused already."""

    #: Its name below the dataset's root, as the bytes that the file system has.
    raw: bytes
    #: The same for people.
    name: str
    #: Where its bytes are; empty for a refused file.
    path: bytes = b""
    refusal: FileRefused | None = None


def display_path(raw: bytes) -> str:
    """A file's name as text, with an escape for each byte that is not UTF-8."""
    return raw.decode("utf-8", "backslashreplace")


def allowed_folder(path: str, roots: Sequence[Path]) -> Path:
    """The real folder behind `path`, all links resolved.

    Args:
        path: an absolute path.
        roots: resolved folders; the result is one of them or lies below one.

    Raises:
        PathNotAllowed: it does not, or cannot be listed.
    """
    try:
        folder = _resolved(path, roots)
        os.scandir(folder).close()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links; a NUL in the name
        raise PathNotAllowed from error
    return folder


def allowed_file(path: str, roots: Sequence[Path]) -> Path:
    """The real file behind `path`, all links resolved.

    Args:
        path: an absolute path.
        roots: resolved folders; the result lies below one.

    Raises:
        PathNotAllowed: it does not, or is no regular file that can be read.
    """
    try:
        file = _resolved(path, roots)
        os.close(open_regular(os.fsencode(file)))
    except (OSError, RuntimeError, ValueError, FileRefused) as error:
        raise PathNotAllowed("file") from error
    return file


def _resolved(path: str, roots: Sequence[Path]) -> Path:
    real = Path(path).resolve(strict=True)
    if not Path(path).is_absolute() or not any(real.is_relative_to(root) for root in roots):
        raise ValueError(path)
    if is_services_own(real):
        raise ValueError(path)
    return real


def is_services_own(path: Path) -> bool:
    """Whether a path is a data folder or lies in one."""
    return any((folder / SERVICES_OWN).exists() for folder in (path, *path.parents))


def open_regular(path: bytes) -> int:
    """File descriptor of a regular file: no link is followed, no pipe or device waited for.

    Raises:
        FileRefused: `not_a_file`, `unreadable` or `too_large`.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise FileRefused("unreadable", f"cannot be opened: {error.strerror}") from error
    try:
        _check_regular(os.fstat(handle))
    except FileRefused:
        os.close(handle)
        raise
    return handle


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise FileRefused("not_a_file", "is a pipe, socket or device")
    if status.st_size > MAX_FILE_BYTES:
        raise FileRefused(
            "too_large", f"has {status.st_size:,} bytes, at most {MAX_FILE_BYTES:,} are read"
        )


def walk(top: Path, roots: Sequence[Path]) -> Iterator[FoundFile]:
    """Every file below `top`, in the byte order of their names, one folder in memory at a time.

    A link to a file or folder under `roots` is followed, unless the folder is walked anyway.

    Args:
        top: a folder from `allowed_folder`.
        roots: as there.
    """
    yield from walk_all([top], top, roots)


def walk_all(tops: Sequence[Path], base: Path, roots: Sequence[Path]) -> Iterator[FoundFile]:
    """As `walk`, below several folders, none of them inside another; names begin at `base`."""
    yield from _Walk(
        [(os.fsencode(top), _below(top, base)) for top in tops],
        [os.fsencode(root) for root in roots],
    ).files()


def _below(top: Path, base: Path) -> bytes:
    return b"" if top == base else os.fsencode(top.relative_to(base)) + b"/"


_OWN_ENTRY = os.fsencode(SERVICES_OWN) + b"\0f"


class _Walk:
    """One walk: where it may go, and where it has been."""

    def __init__(self, tops: list[tuple[bytes, bytes]], roots: list[bytes]) -> None:
        """`tops` are folders, each with what the names of its files begin with."""
        self.roots = roots
        self.walked = [top for top, _ in tops]
        by_prefix = sorted(tops, key=lambda pair: pair[1], reverse=True)
        self.open_folders = [self.entries(top, prefix) for top, prefix in by_prefix]

    def files(self) -> Iterator[FoundFile]:
        while self.open_folders:
            found = next(self.open_folders[-1], None)
            if found is None:
                self.open_folders.pop()
            elif found.raw.endswith(b"/"):
                self.open_folders.append(self.entries(found.path, found.raw))
            else:
                yield found

    def entries(self, folder: bytes, prefix: bytes) -> Iterator[FoundFile]:
        """What one folder holds; the name of a folder to go into ends with a slash."""
        try:
            listing = _listing(folder)
        except OSError as error:
            refusal = FileRefused("unreadable", f"cannot be listed: {error.strerror}")
            yield _refused(prefix.rstrip(b"/"), refusal)
            return
        if _OWN_ENTRY in listing:
            refusal = FileRefused("services_own", "is the folder of a service's own data")
            yield _refused(prefix.rstrip(b"/"), refusal)
            return
        for entry in listing:
            name, is_link = entry[:-2], entry.endswith(b"\0l")
            raw, path = prefix + name, folder + b"/" + name.rstrip(b"/")
            yield (
                self.behind_link(raw, path) if is_link else FoundFile(raw, display_path(raw), path)
            )

    def behind_link(self, raw: bytes, link: bytes) -> FoundFile:
        try:
            return self.follow(raw, link)
        except FileRefused as refusal:
            return _refused(raw, refusal)

    def follow(self, raw: bytes, link: bytes) -> FoundFile:
        try:
            target = os.path.realpath(link, strict=True)
            is_folder = stat.S_ISDIR(os.lstat(target).st_mode)
        except OSError:
            target, is_folder = b"", False
        is_allowed = any(_is_inside(target, root) for root in self.roots)
        if not is_allowed or is_services_own(Path(os.fsdecode(target))):
            # The same words whether or not something is there.
            raise FileRefused("link_outside", "is a link that leads to nothing that may be read")
        if is_folder:
            self.enter(target)
            raw += b"/"
        return FoundFile(raw, display_path(raw), target)

    def enter(self, target: bytes) -> None:
        if any(_is_inside(target, w) or _is_inside(w, target) for w in self.walked):
            raise FileRefused("link_repeated", "is a link to a folder that is walked anyway")
        self.walked.append(target)


def _listing(folder: bytes) -> list[bytes]:
    """Sorted names, each with a NUL and its kind behind it; names of folders end with a slash.

    Bytes alone, so that a folder of a million files takes 80 MB and not 300.
    """
    with os.scandir(folder) as entries:
        return sorted(
            entry.name + (b"\0l" if entry.is_symlink() else b"/\0d" if entry.is_dir() else b"\0f")
            for entry in entries
        )


def _refused(raw: bytes, refusal: FileRefused) -> FoundFile:
    return FoundFile(raw, display_path(raw), refusal=refusal)


def _is_inside(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")
