"""A record on disk, what was asked for and how it ended: Redis can be rebuilt from it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from workers.durable import make_folder
from workers.files import DataFolder, read_json, write_json
from workers.jobs import (
    DEFAULT_PROJECT,
    NOBODY,
    JobError,
    Kind,
    Mark,
    Phase,
    Priority,
    Record,
    Status,
    from_rfc3339,
    made_ms,
    rfc3339,
    unit_id,
)
from workers.records import read_phases, write_phases

logger = structlog.get_logger()

REQUEST, RESULT = "request.json", "result.json"
#: Written once the store has accepted that a record is cancelled. It stands above a result: the
#: last unit may have written one while the cancel was on its way, and the cancel won.
CANCELLED = "cancelled.json"

Outputs = Mapping[tuple[str, int], str]


class Unrecoverable(Exception):
    """What is on disk does not make a record."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """The end of a record; times are milliseconds since 1970."""

    status: Status
    phases: tuple[Phase, ...]
    #: The phase it ended in.
    phase: str | None
    done: int
    total: int
    percent: float
    facts: Mapping[str, Any]
    outputs: Outputs
    error: JobError | None
    started_ms: int | None
    finished_ms: int


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A record as the disk knows it."""

    kind: Kind
    id: str
    request: Mapping[str, Any]
    #: Those it starts with.
    phases: tuple[Phase, ...]
    priority: int
    submitter: str
    project: str
    passes: int
    waits_for: str | None
    request_id: str | None
    created_ms: int
    #: None for one that has not ended.
    ending: Ending | None
    #: That of the request that made it, if it had a key.
    mark: Mark | None = None


def write_request(
    own: Path,
    *,
    kind: Kind,
    id: str,
    request: Mapping[str, Any],
    phases: tuple[Phase, ...],
    waits_for: str | None,
    request_id: str | None,
    priority: int = Priority.NORMAL,
    submitter: str = NOBODY,
    project: str = DEFAULT_PROJECT,
    passes: int = 0,
    mark: Mark | None = None,
) -> None:
    """What was accepted, into the record's own folder, before the store knows of it."""
    make_folder(own)
    kept = {
        "id": id,
        "kind": kind,
        "request": request,
        "phases": json.loads(write_phases(phases)),
        "priority": priority,
        "submitter": submitter,
        "project": project,
        "passes": passes,
        "waits_for": waits_for,
        "request_id": request_id,
        "mark": asdict(mark) if mark else None,
    }
    write_json(own / REQUEST, kept)


def write_end(
    folder: DataFolder,
    record: Record,
    outputs: Outputs,
    *,
    status: Status,
    error: JobError | None = None,
) -> None:
    """How `record` ended, into its own folder; for a passing record nothing."""
    if not record.kind.is_durable:
        return
    own = folder.of(record.kind, record.id)
    make_folder(own)
    progress = record.progress
    end = {
        "status": status,
        "phases": json.loads(write_phases(record.phases)),
        "phase": record.phase,
        "progress": {
            "done": progress.done,
            "total": progress.total,
            "percent": 100.0 if status is Status.SUCCEEDED else progress.percent,
        },
        "facts": record.facts,
        "outputs": [[phase, k, name] for (phase, k), name in sorted(outputs.items())],
        "error": asdict(error) if error else None,
        "started_at": record.started_at,
        "finished_at": rfc3339(time.time_ns() // 1_000_000),
    }
    write_json(own / (CANCELLED if status is Status.CANCELLED else RESULT), end)


def try_write_end(
    folder: DataFolder,
    record: Record,
    outputs: Outputs,
    *,
    status: Status,
    error: JobError | None = None,
) -> None:
    """As `write_end`; a disk that takes nothing is logged and holds nobody up."""
    try:
        write_end(folder, record, outputs, status=status, error=error)
    except OSError as reason:
        logger.warning("result.unwritten", record=record.id, error=str(reason))


def write_success(
    folder: DataFolder,
    record: Record,
    outputs: Outputs,
    *,
    facts: Mapping[str, Any],
    done: int,
) -> None:
    """The end of `record` with the facts of its last unit, before it is final in the store."""
    progress = replace(record.progress, done=done, total=done)
    ended = replace(record, facts={**record.facts, **facts}, progress=progress)
    write_end(folder, ended, outputs, status=Status.SUCCEEDED)


def keep_end(folder: DataFolder, record: Record, outputs: Outputs) -> bool:
    """Whether the disk has the end that `record` came to in the store; written where it had not.

    Nothing is missing of a record whose request is gone: it was deleted meanwhile.
    """
    try:
        if not (folder.of(record.kind, record.id) / REQUEST).exists():
            return True
        ending = ending_of(folder, record)
        if ending is None or ending.status is not record.status:
            write_end(folder, record, outputs, status=record.status, error=record.error)
    except OSError as reason:
        logger.warning("result.unwritten", record=record.id, error=str(reason))
        return False
    return True


def ending_of(folder: DataFolder, record: Record) -> Ending | None:
    """How the disk says that `record` ended; None where it has not, or not readably."""
    try:
        return _read_ending(folder.of(record.kind, record.id))
    except (KeyError, TypeError, ValueError):
        return None


def ended(folder: DataFolder, record: Record) -> Status | None:
    """The final status that `record` has on disk, if it has one there."""
    ending = ending_of(folder, record)
    return ending.status if ending else None


def is_called_off(folder: DataFolder, record: Record) -> bool:
    """Whether the disk knows that `record` was cancelled or deleted; Redis may have forgotten."""
    own = folder.of(record.kind, record.id)
    with suppress(OSError):
        return (own / CANCELLED).exists() or (
            folder.deletion(record.id).exists() and not (own / REQUEST).exists()
        )
    return False


def end_file(own: Path) -> Path:
    """The file that tells how the record of a folder ended; without it, it has not."""
    cancelled = own / CANCELLED
    return cancelled if cancelled.exists() else own / RESULT


def read_kept(own: Path) -> Kept:
    """The record of a folder.

    Raises:
        Unrecoverable: its files do not make one, with the reason.
    """
    try:
        asked = read_json(own / REQUEST)
    except FileNotFoundError:
        raise Unrecoverable(f"it has no {REQUEST}") from None
    except ValueError as error:
        raise Unrecoverable(f"{REQUEST} cannot be read: {error}") from error
    try:
        return Kept(
            kind=Kind(asked["kind"]),
            id=_checked_id(asked["id"], own),
            request=asked["request"],
            phases=read_phases(json.dumps(asked["phases"])),
            priority=asked["priority"],
            submitter=asked.get("submitter", NOBODY),
            project=asked.get("project", DEFAULT_PROJECT),
            passes=asked.get("passes", 0),
            waits_for=asked["waits_for"],
            request_id=asked["request_id"],
            created_ms=_created(asked["id"], own),
            ending=_read_ending(own),
            mark=Mark(**asked["mark"]) if asked.get("mark") else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{REQUEST} or {RESULT} has not what a record needs: {error!r}"
        raise Unrecoverable(reason) from error


def _checked_id(id: str, own: Path) -> str:
    if id != own.name:
        raise ValueError(f"{REQUEST} is that of {id}")
    return id


def _created(id: str, own: Path) -> int:
    """The millisecond in its id; where it has none, that of its request's file."""
    made = made_ms(id)
    return made if made is not None else (own / REQUEST).stat().st_mtime_ns // 1_000_000


def _read_ending(own: Path) -> Ending | None:
    try:
        end = read_json(end_file(own))
    except FileNotFoundError:
        return None
    error = end["error"]
    return Ending(
        status=Status(end["status"]),
        phases=read_phases(json.dumps(end["phases"])),
        phase=end["phase"],
        done=end["progress"]["done"],
        total=end["progress"]["total"],
        percent=end["progress"]["percent"],
        facts=end["facts"],
        outputs={(phase, unit): name for phase, unit, name in end["outputs"]},
        error=JobError(**error) if error else None,
        started_ms=from_rfc3339(end["started_at"]) if end["started_at"] else None,
        finished_ms=from_rfc3339(end["finished_at"]),
    )


def failed_at_once(kept: Kept, error: JobError) -> Ending:
    """The end of a record of which nothing was done, or nothing is known, that fails now."""
    return Ending(
        status=Status.FAILED,
        phases=kept.phases,
        phase=None,
        done=0,
        total=0,
        percent=0.0,
        facts={},
        outputs={},
        error=error,
        started_ms=None,
        finished_ms=time.time_ns() // 1_000_000,
    )


def write_ending(ending: Ending) -> str:
    """The fields and outputs of a record that has ended, as the script `restore` takes them."""
    names = [phase.name for phase in ending.phases]
    fields: dict[str, object] = {
        "status": ending.status,
        "phases": write_phases(ending.phases),
        "phase": names.index(ending.phase) if ending.phase else 0,
        "done": ending.done,
        "total": ending.total,
        "percent": ending.percent,
        "finished_ms": ending.finished_ms,
        "updated_ms": ending.finished_ms,
        **{f"fact:{name}": json.dumps(value) for name, value in ending.facts.items()},
    }
    if ending.started_ms is not None:
        fields["started_ms"] = ending.started_ms
    if ending.error is not None:
        fields["error"] = json.dumps(asdict(ending.error))
    outputs = {unit_id("", *key)[1:]: name for key, name in ending.outputs.items()}
    return json.dumps({"fields": _flat(fields), "outputs": _flat(outputs)})


def _flat(pairs: Mapping[str, object]) -> list[str]:
    return [str(text) for pair in pairs.items() for text in pair]
