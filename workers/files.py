"""The data folder: its layout, atomic publishing, verification."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from workers.durable import (
    SEAL,
    is_sealed,
    make_folder,
    seal,
    sync_folder,
    write_durably,
)
from workers.fault_points import fault
from workers.jobs import Kind
from workers.paths import SERVICES_OWN

#: The list of a dataset's images, one row per image, in blocks of this many.
MANIFEST = "manifest.parquet"
MANIFEST_BLOCK = 4096
#: The unusable files of a dataset, one JSON object per line.
SKIPPED = "skipped.ndjson"
#: Where a dataset's images lie: {"root": folder on the server, or null for its own `images/`}.
SOURCE = "source.json"
#: Beside uploaded files: one JSON object per line, {"file": name on disk, "name": as uploaded}.
NAMES = "names.ndjson"
#: What the phase `report` leaves: a page, its figures, and the policy that lets the page run its
#: own style and script.
PAGE, HEALTH, POLICY = "report.html", "health.json", "policy.txt"
#: What an evaluation leaves: its figures, and the points of its curves.
EVALUATION, CURVES = "evaluation.json", "curves.json"
#: A student, and the same as ONNX.
WEIGHTS, ONNX = "student.safetensors", "student.onnx"
#: In a data folder: held, with the process in it, by the service that runs on it.
LOCK = ".lock"
#: A staging folder whose claim is gone is swept when nothing was written to it for an hour.
QUIET_SECONDS = 3600.0
#: Folders that a process remembers to be whole: some megabytes. Beyond it forgets one for each.
MAX_REMEMBERED = 20_000

_TRASH = ".trash-"
#: A file that is there for a moment, to be asked for its time; the sweep of another leaves it.
_CLOCK = ".clock-"


class DiskFull(OSError):
    """The data folder's disk has no room left."""

    code = "disk_full"
    hint = "make room on the disk of the data folder and send the request again"


class FolderLocked(Exception):
    """Another service holds the data folder."""

    def __init__(self, root: Path, pid: int | None) -> None:
        super().__init__(
            f"the data folder {root} is in use by process {pid or 'unknown'}; "
            "stop that service, or set CCD_DATA to another folder"
        )
        self.root = root
        self.pid = pid


class DataFolder:
    """Everything the service keeps on disk, below one root.

    Args:
        root: created with its sub-folders by `create`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.datasets = self.records(Kind.DATASET)
        self.jobs = self.records(Kind.JOB)
        self.phases = self.root / "phases"
        self.weights = self.root / "weights"
        self.staging_root = self.root / "staging"
        #: What is to go, or went lately; see `workers/deletion.py`.
        self.deletions = self.root / "deletions"
        self.keys = self.root / "keys"
        self.audit = self.root / "audit"
        self._verified: set[tuple[Path, int]] = set()

    def create(self) -> None:
        """Make the root and its sub-folders where they are missing."""
        others = (self.phases, self.weights, self.staging_root, self.deletions)
        for folder in (*map(self.records, Kind), *others):
            folder.mkdir(parents=True, exist_ok=True)
        (self.root / SERVICES_OWN).touch()
        for folder in (self.keys, self.audit):
            folder.mkdir(mode=0o700, exist_ok=True)

    def records(self, kind: Kind) -> Path:
        """Where the folders of all records of a kind lie."""
        return self.root / f"{kind}s"

    def of(self, kind: Kind, record_id: str) -> Path:
        """The folder of a record: its request, its result, and what else is its own."""
        return self.records(kind) / record_id

    def dataset(self, dataset_id: str) -> Path:
        """The published half of a dataset: manifest, skipped files, uploaded images."""
        return self.datasets / dataset_id / "data"

    def skipped(self, dataset_id: str) -> Path:
        """The list of a dataset's unusable files; a failed dataset keeps it beside its result."""
        published = self.dataset(dataset_id) / SKIPPED
        return published if published.exists() else self.datasets / dataset_id / SKIPPED

    def job(self, job_id: str) -> Path:
        """The folder of a job's request, result and student."""
        return self.jobs / job_id

    def deletion(self, record_id: str) -> Path:
        """The file that says that a record is to go, and what with it."""
        return self.deletions / f"{record_id}.json"

    def phase(self, name: str) -> Path:
        """The output folder `<phase>-<digest>` of a unit."""
        return self.phases / name

    def student(self, student_id: str) -> Path:
        """The folder of a student: that of its job, which has the same id but for the prefix."""
        return self.jobs / f"job_{student_id.removeprefix('stu_')}" / "student"

    def free_bytes(self) -> int:
        """Bytes that may still be written."""
        return free_bytes(self.root)

    # Publishing

    def produce(self, name: str, make: Callable[[Path], None], *, nonce: str) -> str:
        """Name of the phase folder `name`, filled by `make` unless it is there already."""
        self.produce_at(self.phase(name), make, nonce=nonce)
        return name

    def produce_at(self, final: Path, make: Callable[[Path], None], *, nonce: str) -> None:
        """Publish what `make` writes into an empty folder as `final`, unless it is there already.

        Raises:
            DiskFull: nothing is published.
        """
        if self.is_complete(final):
            return
        with self.staging(nonce) as staging:
            fault("publish.before_data", _about(final))
            make(staging)
            self.publish(staging, final)

    @contextmanager
    def staging(self, nonce: str) -> Iterator[Path]:
        """An empty folder under `staging/<nonce>/`, gone afterwards unless it was published."""
        parent = self.staging_root / nonce
        with disk_guard(self.root):
            parent.mkdir(parents=True, exist_ok=True)
            folder = parent / secrets.token_hex(4)
            folder.mkdir()
            try:
                yield folder
            finally:
                self.discard(folder)
                _remove_if_empty(parent)

    def publish(self, staging: Path, final: Path) -> bool:
        """Make `staging` visible as `final`: whole, or not at all.

        Returns:
            Whether it is `staging` that is there now. Where a complete `final` was there already,
            it stays and `staging` is thrown away.

        Raises:
            DiskFull: nothing is published.
        """
        about = _about(final)
        with disk_guard(self.root):
            fault("publish.after_data", about, files=staging)
            seal(staging, final.name, about)
            make_folder(final.parent)
            fault("publish.before_rename", about, files=staging)
            while not (is_ours := self._renamed(staging, final)) and staging.exists():
                pass  # a damaged folder has made way
            fault("publish.after_rename", about, files=final)
            sync_folder(final.parent)
        return is_ours

    def _renamed(self, staging: Path, final: Path) -> bool:
        try:
            staging.rename(final)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            # Somebody was first. A whole folder stays; a damaged one makes way for ours.
            self.discard(staging if self.is_complete(final) else final)
            return False
        return True

    def is_complete(self, folder: Path) -> bool:
        """Whether `folder` was published and its files have the bytes they were published with.

        A folder that passed is not hashed again by this process until its seal changes.
        """
        try:
            key = (folder, (folder / SEAL).stat().st_mtime_ns)
            if key in self._verified:
                return True
            if not is_sealed(folder):
                return False
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if len(self._verified) >= MAX_REMEMBERED:
            self._verified.pop()  # any one: another thread may do the same, and take ours
        self._verified.add(key)
        return True

    def discard(self, path: Path) -> None:
        """Delete a file or folder: it vanishes in one step and is removed afterwards."""
        trash = self._to_trash(path)
        if trash:
            _remove(trash)

    def remove(self, *folders: Path) -> int:
        """As `discard`, all vanish first; the bytes of those that were there."""
        trash = [trash for folder in folders if (trash := self._to_trash(folder))]
        size = sum(map(_size, trash))
        for each in trash:
            _remove(each)
        return size

    def _to_trash(self, path: Path) -> Path | None:
        trash = self.staging_root / f"{_TRASH}{secrets.token_hex(8)}"
        try:
            return path.rename(trash)
        except FileNotFoundError:
            return None

    def sweep(self, live_nonces: Collection[str], *, quiet_seconds: float = QUIET_SECONDS) -> int:
        """Remove abandoned staging folders and half-deleted ones; how many there were.

        A folder is abandoned when no claim in `live_nonces` owns it and nothing was written to it
        for `quiet_seconds`: uploads have no claim.
        """
        now, swept = self.disk_clock(), 0
        for path in sorted(self.staging_root.iterdir()):
            if path.name.startswith(_TRASH):
                _remove(path)
                swept += 1
            elif path.name not in live_nonces and _last_write(path) + quiet_seconds <= now:
                self.discard(path)
                swept += 1
        return swept

    def disk_clock(self) -> float:
        """The time as the disk has it, by which the times of its files have to be judged.

        This machine's own clock may be wrong by hours, and the disk may be another's.
        """
        probe = self.staging_root / f"{_CLOCK}{secrets.token_hex(8)}"
        try:
            probe.touch()
        except OSError:  # a disk that takes no file: as well as we know
            return time.time()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the data folder; a process that dies lets go.

        Raises:
            FolderLocked: another process holds it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _flock(handle, self.root)
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(handle)


@contextmanager
def disk_guard(folder: Path) -> Iterator[None]:
    """Turn "no space left" into `DiskFull`."""
    try:
        yield
    except Exception as error:
        if not is_disk_full(error):
            raise
        free = free_bytes(folder)
        raise DiskFull(f"no room left on the data folder's disk ({free:,} bytes free)") from error


def is_disk_full(error: BaseException) -> bool:
    """Whether it says "no space left" or "quota exceeded"; safetensors puts that into words."""
    codes = {errno.ENOSPC, errno.EDQUOT}
    if isinstance(error, OSError):
        return error.errno in codes
    in_words = any(f"os error {code})" in str(error) for code in codes)
    return type(error).__name__ == "SafetensorError" and in_words


def free_bytes(folder: Path) -> int:
    """Bytes that may still be written to the disk that holds `folder`."""
    return shutil.disk_usage(folder).free


def write_json(path: Path, content: object, *, mode: int = 0o666) -> None:
    """Write `content` as JSON: readers see the old file or the new one, never a part.

    `mode` as in `write_durably`.

    Raises:
        DiskFull: the old file stays.
        ValueError: a number is NaN or infinite.
    """
    text = json.dumps(content, allow_nan=False, sort_keys=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with disk_guard(path.parent):
        try:
            write_durably(partial, text.encode("ascii"), mode=mode)
            fault("json.before_replace", path.name, files=partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(path.parent)


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_bytes())


# Rows of safetensors files


def _about(final: Path) -> str:
    """What a fault point is told of a folder that is published."""
    return f"{final.parent.name}/{final.name}"


def _remove(path: Path) -> None:
    """Remove what nobody can see any more; what resists is left to the next sweep."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _size(folder: Path) -> int:
    """The bytes of its files, as far as they are still there: the sweep removes them too."""
    size = 0
    for inner, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += (Path(inner) / name).lstat().st_size
    return size


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT}:
            raise


def _last_write(folder: Path) -> float:
    """Time of the newest change below `folder`; no end, where it is changing under our eyes."""
    try:
        return max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
    except FileNotFoundError:
        return math.inf  # not the time of this machine: the disk's may be another


def _flock(handle: int, root: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(handle, 32, 0)
        raise FolderLocked(root, int(holder) if holder.isdigit() else None) from error
