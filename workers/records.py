"""The fields of a record's hash in Redis -> Record."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from workers.jobs import (
    DEFAULT_PROJECT,
    NOBODY,
    JobError,
    Kind,
    Lane,
    Phase,
    Progress,
    Record,
    Status,
    rfc3339,
)

Fields = Mapping[str, str]

#: Work on a phase shorter than this tells nothing about its rate, in seconds.
MEASURABLE_SECONDS = 3.0


def read_record(fields: Fields) -> Record:
    phases = read_phases(fields["phases"])
    started_ms = fields.get("started_ms")
    error = fields.get("error")
    progress = read_progress(fields, phases)
    return Record(
        kind=Kind(fields["kind"]),
        id=fields["id"],
        status=Status(fields["status"]),
        phase=progress.phase,
        phases=phases,
        progress=progress,
        request=json.loads(fields["request"]),
        facts=_read_facts(fields),
        error=JobError(**json.loads(error)) if error else None,
        priority=int(fields["priority"]),
        waits_for=fields.get("waits_for"),
        created_at=rfc3339(int(fields["created_ms"])),
        started_at=rfc3339(int(started_ms)) if started_ms else None,
        finished_at=rfc3339(int(fields["finished_ms"])) if "finished_ms" in fields else None,
        updated_at=progress.updated_at,
        version=int(fields["version"]),
        request_id=fields.get("request_id"),
        submitter=fields.get("submitter", NOBODY),
        project=fields.get("project", DEFAULT_PROJECT),
    )


def write_phases(phases: Sequence[Phase]) -> str:
    return json.dumps([vars(phase) for phase in phases])


@lru_cache(maxsize=256)  # the plans of a preset are alike
def read_phases(text: str) -> tuple[Phase, ...]:
    rows: list[dict[str, Any]] = json.loads(text)
    return tuple(Phase(**{**row, "lane": Lane(row["lane"])}) for row in rows)


def _read_facts(fields: Fields) -> dict[str, Any]:
    return {
        name.removeprefix("fact:"): json.loads(value)
        for name, value in fields.items()
        if name.startswith("fact:")
    }


def read_progress(fields: Fields, phases: tuple[Phase, ...]) -> Progress:
    """How far a record is, from its fields."""
    index = int(fields.get("phase", 0))
    return Progress(
        phase=phases[index].name if "started_ms" in fields else None,
        phase_index=index,
        phase_count=len(phases),
        done=int(fields.get("done", 0)),
        total=int(fields.get("total", phases[index].items or 0)),
        percent=float(fields.get("percent", 0)),
        rate_per_second=_rate(fields),
        eta_seconds=_eta(fields, phases),
        updated_at=rfc3339(int(fields["updated_ms"])),
        note=json.loads(fields.get("note", "{}")),
    )


def _worked_seconds(fields: Fields) -> float | None:
    """Time spent on the present phase, or None where it is too short to tell anything.

    What is being cancelled does not go on to its end either.
    """
    seconds = int(fields.get("busy_ms", 0)) / 1000
    goes_on = Status(fields["status"]) is Status.RUNNING
    return seconds if goes_on and seconds >= MEASURABLE_SECONDS else None


def _rate(fields: Fields) -> float | None:
    """Items a second. Units found finished on disk took no work and are left out."""
    seconds = _worked_seconds(fields)
    items = int(fields.get("done", 0)) - int(fields.get("items_reused", 0))
    return items / seconds if seconds and items > 0 else None


def _eta(fields: Fields, phases: tuple[Phase, ...]) -> float | None:
    """Remaining weight divided by the weight done a second in the present phase."""
    seconds = _worked_seconds(fields)
    if seconds is None or _rate(fields) is None:
        return None
    index, fraction = int(fields["phase"]), float(fields["fraction"])
    phase = phases[index]
    reused = int(fields["units_reused"]) / phase.units
    remaining = phase.weight * (1 - fraction) + sum(p.weight for p in phases[index + 1 :])
    worked = phase.weight * (fraction - reused)
    return remaining * seconds / worked if worked > 0 else None
