"""Whether the data folder can do what the service asks of it."""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from app.doctor.findings import Finding, ok, problem, scarce, skipped
from workers.durable import sync_folder, write_durably
from workers.files import LOCK, DataFolder

#: The last two states of a ResNet-101 in training are 1 GB; a job of the presets' size takes ten.
LOW_BYTES, LOWEST_BYTES = 10 * 10**9, 10**9
#: An upload keeps one file an image, a unit of work about four.
LOW_INODES, LOWEST_INODES = 100_000, 10_000


def check_data(folder: DataFolder) -> Iterator[Finding]:
    root = folder.root
    if not root.exists():
        yield _will_be_made(root)
        return
    if not root.is_dir():
        yield problem(
            "data.folder",
            f"{root} is not a folder",
            wanted="a folder",
            remedy="set CCD_DATA to a folder",
        )
        return
    yield ok("data.folder", str(root))
    yield from _supplies(root)
    yield _one_file_system(folder)
    yield _lock(root)
    yield _publishes(folder)


def _will_be_made(root: Path) -> Finding:
    parent = next(path for path in root.parents if path.exists())
    if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK, effective_ids=_BY_EFFECTIVE):
        return skipped("data.folder", f"{root} is not there yet; the service makes it")
    return problem(
        "data.folder",
        f"{root} is not there and cannot be made in {parent}",
        wanted="a folder that can be written",
        remedy=f"mkdir -p {root} && chown {os.geteuid()} {root}, or set CCD_DATA to another",
    )


#: Asked for as who the process acts, where the system can tell that apart.
_BY_EFFECTIVE = os.access in os.supports_effective_ids


def _supplies(root: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(root).free
    yield scarce(
        "data.space",
        free,
        low=LOW_BYTES,
        lowest=LOWEST_BYTES,
        found=f"{free:,} bytes free",
        wanted=f"{LOW_BYTES:,} bytes",
        remedy="make room on the disk, or set CCD_DATA to a larger one",
    )
    status = os.statvfs(root)
    if not status.f_files:
        yield ok("data.inodes", "the file system does not count them")
        return
    yield scarce(
        "data.inodes",
        status.f_favail,
        low=LOW_INODES,
        lowest=LOWEST_INODES,
        found=f"{status.f_favail:,} files can still be made",
        wanted=f"{LOW_INODES:,} files",
        remedy="remove small files from the disk, or make its file system with more inodes",
    )


def _one_file_system(folder: DataFolder) -> Finding:
    """A folder is published by a rename, which no file system does across its border."""
    parts = (folder.staging_root, folder.phases, folder.datasets, folder.jobs)
    elsewhere = [
        part.name
        for part in parts
        if part.exists() and part.stat().st_dev != folder.root.stat().st_dev
    ]
    if not elsewhere:
        return ok("data.one_file_system", "all parts lie on one")
    return problem(
        "data.one_file_system",
        f"{', '.join(elsewhere)} of {folder.root} lie on another file system",
        wanted="one file system: work is published by renaming folders from staging",
        remedy="put the parts back as plain folders and mount one disk at CCD_DATA",
    )


def _lock(root: Path) -> Finding:
    """Who holds the folder. It is never waited for, and let go at once."""
    path = root / LOCK
    if not path.exists():
        return ok("data.lock", "free: `ccd serve` does not run on it")
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return skipped("data.lock", f"cannot be opened: {error.strerror}")
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return ok("data.lock", "free: `ccd serve` does not run on it")
    except BlockingIOError:
        holder = os.pread(handle, 32, 0).decode("ascii", "replace")
        return ok("data.lock", f"held by `ccd serve`, process {holder}")
    except OSError as error:
        return problem(
            "data.lock",
            f"the file system cannot lock: {error.strerror}",
            wanted="locks, so that two services never share a folder by accident",
            remedy="mount it with locks (NFS: without nolock)",
        )
    finally:
        os.close(handle)


def _publishes(folder: DataFolder) -> Finding:
    """Do what a worker does at the end of a unit: write, fsync, rename, fsync."""
    name = f".doctor-{secrets.token_hex(8)}"
    start = folder.staging_root if folder.staging_root.exists() else folder.root
    end = folder.phases if folder.phases.exists() else folder.root
    staged, published = start / name, end / f"{name}-done"
    try:
        staged.mkdir()
        write_durably(staged / "probe", b"probe")
        sync_folder(staged)
        staged.rename(published)
        sync_folder(end)
    except OSError as error:
        return problem(
            "data.writable",
            f"as user {os.geteuid()} a folder cannot be published: {error}",
            wanted="write, fsync and rename, for the user of the service",
            remedy=f"chown -R {os.geteuid()} {folder.root}, or mount it for writing",
        )
    finally:
        for left in (staged, published):
            with suppress(OSError):
                shutil.rmtree(left, ignore_errors=True)
    return ok("data.writable", "write, fsync and rename work")
