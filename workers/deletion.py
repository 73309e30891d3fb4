"""Deleting a record with all that hangs on it: its rows, its folders, and what only it needed.

What is to go is written down first, and stays so for a while. Whoever is killed on the way leaves
the whole record, or a rest that the next sweep removes; a Redis that forgot the end of it, or that
is filled from disk, does not bring the record back.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import structlog

from workers.cams import sweep as sweep_folders
from workers.fault_points import fault
from workers.files import DataFolder, read_json, write_json
from workers.jobs import Kind, Record
from workers.outcomes import REQUEST
from workers.sharing import KINDS, on_disk_alone, outputs_of, shared
from workers.stages import student_id_of
from workers.store import MAX_PAGE, DatasetInUse, IllegalMove, RecordNotFound, Store

logger = structlog.get_logger()

#: A deletion is remembered for this long: more than a Redis may lose of its last moments.
REMEMBER_SECONDS = 3600.0
#: One at work is left alone by the sweep.
QUIET_SECONDS = 60.0
#: From the look at who has a result to its removal, no unit is completed with it.
GOING_SECONDS = 60.0
PREFIXES = {
    "ds": Kind.DATASET,
    "job": Kind.JOB,
    "pred": Kind.PREDICTION,
    "eval": Kind.EVALUATION,
    "exp": Kind.EXPORT,
}
#: Beside an epoch's output `train-<digest>` lies its state under the same digest.
STATES = ("weights", "optimizer")


class StillUsed(Exception):
    """Something that hangs on a record has not ended."""

    def __init__(self, record: Record, users: Sequence[Record]) -> None:
        names = ", ".join(f"{user.id} ({user.status})" for user in users)
        super().__init__(f"{record.id} goes with {names}; wait for them or cancel them")
        self.kind = record.kind


@dataclass(frozen=True)
class Order:
    """What is to go."""

    #: Of the record, and of what hangs on it.
    ids: list[str]
    #: Their folders with results, which others may have too.
    outputs: list[str]
    #: Whose images they are about: work on them may be about to use such a folder.
    datasets: list[str]


@dataclass(frozen=True)
class Receipt:
    """What went."""

    id: str
    #: What hung on it, and went with it.
    records: list[str]
    bytes_freed: int
    #: Folders with results that stay, because other records of its project have them too.
    folders_shared: int
    #: Whether more is freed later: others might use it, or may have it.
    is_put_off: bool


def delete_record(store: Store, data: DataFolder, record: Record) -> Receipt:
    """Delete a record that has ended, with what hangs on it.

    Raises:
        IllegalMove: it has not ended.
        StillUsed: something that hangs on it has not.
        DatasetInUse: unfinished records need it.
    """
    if not record.status.is_final:
        raise IllegalMove(record.id, record.status, "deleted")
    gone = [record, *_hanging_on(record, store)]
    at_work = [each for each in gone if not each.status.is_final]
    if at_work:
        raise StillUsed(record, at_work)
    order = Order(
        ids=[each.id for each in gone],
        outputs=sorted({name for each in gone for name in store.outputs(each.id).values() if name}),
        datasets=sorted({each.request.get("dataset_id", each.id) for each in gone}),
    )
    mark = data.deletion(record.id)
    write_json(mark, asdict(order))
    fault("delete.marked", record.id, redis=store.redis)
    try:
        store.delete(*order.ids)
    except (DatasetInUse, IllegalMove, RecordNotFound):
        mark.unlink(missing_ok=True)
        raise
    fault("delete.forgotten", record.id, redis=store.redis)
    rest = _carry_out(order, mark, store, data, project=record.project)
    return Receipt(record.id, order.ids[1:], rest.bytes_freed, rest.shared, rest.is_put_off)


def finish_deletions(store: Store, data: DataFolder) -> int:
    """Go on with what was broken off or put off, and forget what is long done; how many marks."""
    marks = sorted(data.deletions.glob("*.json"))
    now = data.disk_clock() if marks else 0.0
    for mark in marks:
        try:
            age = now - mark.stat().st_mtime
            if age >= QUIET_SECONDS:
                _finish(mark, age, store, data)
        except FileNotFoundError:
            pass  # another process sweeps too
        except (OSError, KeyError, TypeError, ValueError) as error:  # of this one: others may go
            logger.warning("deletion.unfinished", mark=mark.name, error=repr(error))
    return len(marks)


def deleted_ids(data: DataFolder) -> set[str]:
    """Records whose deletion is remembered."""
    return {id for mark in data.deletions.glob("*.json") for id in _named(mark)}


def _named(mark: Path) -> Iterable[str]:
    try:
        return Order(**read_json(mark)).ids
    except FileNotFoundError:  # another process forgot it this moment
        return []
    except (OSError, TypeError, ValueError) as error:  # its name tells the first
        logger.warning("deletion.unread", mark=mark.name, error=repr(error))
        return [mark.stem]


def sweep(store: Store, data: DataFolder, live_nonces: Collection[str]) -> int:
    """Everything in the data folder that is to go by itself; how much went or still waits."""
    return finish_deletions(store, data) + sweep_folders(data, live_nonces)


def _finish(mark: Path, age: float, store: Store, data: DataFolder) -> None:
    order = Order(**read_json(mark))
    try:
        store.delete(*order.ids)
    except RecordNotFound:
        pass  # as it should be
    except (DatasetInUse, IllegalMove):
        if _is_begun(order, data):
            _cancel_again(order, store)  # the next sweep goes on
        else:  # needed again before it was gone: it stays
            mark.unlink(missing_ok=True)
        return
    rest = _carry_out(order, mark, store, data)
    if age >= REMEMBER_SECONDS and not rest.is_put_off:
        mark.unlink(missing_ok=True)


def _is_begun(order: Order, data: DataFolder) -> bool:
    """Whether a folder is gone. Then the deletion may have been answered, and cannot be undone."""
    return not all((own / REQUEST).exists() for own in _own_folders(order.ids, data))


def _cancel_again(order: Order, store: Store) -> None:
    """Whatever of these a Redis that forgot their end believes to be alive."""
    for id in order.ids:
        with suppress(IllegalMove, RecordNotFound):
            store.cancel(id)


@dataclass(frozen=True)
class _Rest:
    """What became of the folders."""

    bytes_freed: int
    shared: int
    is_put_off: bool


def _carry_out(
    order: Order, mark: Path, store: Store, data: DataFolder, *, project: str | None = None
) -> _Rest:
    """Remove the folders of records that are gone, as often as it is asked for.

    `project` is told how many folders it shares with itself: what others have is theirs to know.
    """
    freed = data.remove(*_own_folders(order.ids, data))
    if not order.outputs:
        return _Rest(freed, 0, is_put_off=False)
    # So much is known at once, and holds up nobody.
    kept = None if _is_needed(order, store) else _kept_on_disk(store, data)
    if kept is None:
        return _Rest(freed, 0, is_put_off=True)
    began = time.monotonic()
    store.going(order.outputs, seconds=GOING_SECONDS)
    owners = shared(order.outputs, store)
    stay = set[str]().union(kept & set(order.outputs), *owners.values())
    is_late = time.monotonic() - began > GOING_SECONDS / 2
    if is_late or _is_needed(order, store):  # begun meanwhile
        store.going(order.outputs, seconds=None)
        return _Rest(freed, 0, is_put_off=True)
    store.going(stay, seconds=None)
    gone = [name for name in order.outputs if name not in stay]
    freed += data.remove(*(folder for name in gone for folder in _folders_of(name, data)))
    store.going(gone, seconds=0)
    write_json(mark, asdict(replace(order, outputs=[])))
    return _Rest(freed, len(owners.get(project or "", ())), is_put_off=False)


def _is_needed(order: Order, store: Store) -> bool:
    """Whether work on the same images may have seen a folder, and be about to use it."""
    return any(store.users(dataset) for dataset in order.datasets)


def _kept_on_disk(store: Store, data: DataFolder) -> set[str] | None:
    """What records have that only the disk knows; None where one of them does not tell."""
    unknown = on_disk_alone(store, data)
    gone = deleted_ids(data)  # after that look: a deletion is written down before Redis forgets
    found = [outputs_of(own) for own in unknown if own.name not in gone]
    told = [names for names in found if names is not None]
    return set[str]().union(*told) if len(told) == len(found) else None


def _hanging_on(record: Record, store: Store) -> list[Record]:
    """What makes no sense without a job or prediction."""
    if record.kind not in {Kind.JOB, Kind.PREDICTION}:
        return []
    everything = list(_records(record.project, store))
    owners = {record.id, student_id_of(record.id)} if record.kind is Kind.JOB else set[str]()
    found = [each for each in everything if _owner(each) in owners]
    gone = {record.id, *(each.id for each in found)}
    datasets = {e.request["dataset_id"] for e in (record, *found) if e.kind is Kind.PREDICTION}
    needed = {each.request.get("dataset_id") for each in everything if each.id not in gone}
    return [*found, *_hidden(datasets - needed, store)]


def _owner(record: Record) -> str | None:
    """The job or student without which a record makes no sense."""
    return record.request.get("job_id") or record.request.get("student_id")


def _hidden(dataset_ids: Iterable[str], store: Store) -> Iterator[Record]:
    """Those that predictions registered for themselves."""
    for id in sorted(dataset_ids):
        with suppress(RecordNotFound):
            record = store.get(id)
            if record.request.get("hidden"):
                yield record


def _records(project: str, store: Store) -> Iterator[Record]:
    for kind in KINDS:
        cursor = None
        while True:
            page, cursor = store.list(kind, project=project, limit=MAX_PAGE, cursor=cursor)
            yield from page
            if cursor is None:
                break


def _own_folders(ids: Sequence[str], data: DataFolder) -> Iterator[Path]:
    for id in ids:
        yield data.of(PREFIXES[id.partition("_")[0]], id)


def _folders_of(name: str, data: DataFolder) -> Iterator[Path]:
    digest = name.rpartition("-")[2]
    yield data.phase(name)
    for state in STATES:
        yield data.phase(f"{state}-{digest}")
