"""Fills an emptied Redis from the data folder; deletes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from workers.deletion import deleted_ids
from workers.durable import SEAL
from workers.files import DataFolder
from workers.jobs import JobError, Kind, Status
from workers.outcomes import Kept, Unrecoverable, failed_at_once, read_kept
from workers.store import IllegalMove, RecordNotFound, Store


@dataclass
class Recovery:
    """What was restored, or would be."""

    #: (kind, status it has then) -> records.
    restored: Counter[tuple[Kind, Status]] = field(default_factory=Counter)
    #: Restored record -> its status then.
    statuses: dict[str, Status] = field(default_factory=dict)
    #: Kind -> records that Redis has, which are left alone.
    there: Counter[Kind] = field(default_factory=Counter)
    #: Folder -> why it makes no record.
    lost: dict[Path, str] = field(default_factory=dict)
    #: Record -> folders with its results that are gone.
    gaps: dict[str, list[str]] = field(default_factory=dict)


def recover(store: Store, folder: DataFolder, *, apply: bool) -> Recovery:
    """Restore every record that Redis lacks, or only tell which if not `apply`.

    One that had ended comes back as it ended; one that had not is queued again, in its old place,
    and finds what it has done on disk. One whose dataset is gone had ended, or it could not have
    been deleted: it comes back as failed. The service may run meanwhile.
    """
    found = Recovery()
    cancelled: list[str] = []
    for own in _record_folders(folder):
        try:
            kept = _read(own, folder)
            status = store.restore(kept) if apply else _foretell(kept, store, found)
        except Unrecoverable as error:
            found.lost[own] = str(error)
        except OSError as error:  # of this folder: the others may be whole
            found.lost[own] = f"it cannot be read: {error}"
        except RecordNotFound as error:
            found.lost[own] = f"it has not ended and needs {error.id}, which is not there"
        else:
            _note(found, kept, status, folder)
            if status is None and kept.ending and kept.ending.status is Status.CANCELLED:
                cancelled.append(kept.id)
    if apply:
        _cancel_again(store, cancelled)
    return found


def _cancel_again(store: Store, ids: Sequence[str]) -> None:
    """Whatever of these Redis believes to be alive: it forgot the cancel, the disk did not.

    The newest first: what waits for another would fail with its end.
    """
    for id in reversed(ids):
        with suppress(IllegalMove, RecordNotFound):
            store.cancel(id)


def _read(own: Path, folder: DataFolder) -> Kept:
    kept = read_kept(own)
    dataset = kept.waits_for
    if kept.ending is not None or dataset is None or folder.of(Kind.DATASET, dataset).exists():
        return kept
    message = f"It had ended when {dataset} was deleted; how was lost with Redis."
    error = JobError("dataset_deleted", None, message, "Send it again with another dataset.")
    return replace(kept, ending=failed_at_once(kept, error))


def _note(found: Recovery, kept: Kept, status: Status | None, folder: DataFolder) -> None:
    if status is None:
        found.there[kept.kind] += 1
        return
    found.restored[kept.kind, status] += 1
    found.statuses[kept.id] = status
    missing = _missing_outputs(kept, folder)
    if missing:
        found.gaps[kept.id] = missing


def _foretell(kept: Kept, store: Store, found: Recovery) -> Status | None:
    """What `Store.restore` would answer, after those that were foretold before.

    Raises:
        RecordNotFound: as there.
    """
    try:
        store.get(kept.id)
    except RecordNotFound:
        if kept.ending is not None:
            return kept.ending.status
        return _status_of_new(kept, store, found)
    return None


def _status_of_new(kept: Kept, store: Store, found: Recovery) -> Status:
    if kept.waits_for is None:
        return Status.QUEUED
    needed = found.statuses.get(kept.waits_for) or store.get(kept.waits_for).status
    has_failed = needed.is_final and needed is not Status.SUCCEEDED
    return Status.FAILED if has_failed else Status.QUEUED


def _record_folders(folder: DataFolder) -> Iterator[Path]:
    """Those of all records, oldest first: what waits comes after what it waits for."""
    gone = deleted_ids(folder)
    kinds = [folder.records(kind) for kind in Kind if kind.is_durable]
    own = [path for kind in kinds if kind.is_dir() for path in kind.iterdir() if path.is_dir()]
    own = [path for path in own if path.name not in gone]
    return iter(sorted(own, key=lambda path: (path.name.partition("_")[2], path.name)))


def _missing_outputs(kept: Kept, folder: DataFolder) -> list[str]:
    """Folders of a finished record that are gone; whether they are whole, reading them shows."""
    names = kept.ending.outputs.values() if kept.ending else ()
    return [name for name in names if name and not (folder.phase(name) / SEAL).is_file()]
