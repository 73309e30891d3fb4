"""What a job tells while it runs: its events and the lines of its log, as the scripts keep them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workers.halving import FACT, halving_warnings
from workers.jobs import Claim, rfc3339

#: The channel on which the ids of jobs go that have told something.
TOLD = "ccd:told"
#: What `workers/epochs.py` tells of an epoch that is a metric.
METRICS = ("loss", "map")

#: (entry id, fields) of a Redis stream.
RawEntries = Sequence[tuple[str, Mapping[str, str]]]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An event as the store has it."""

    seq: int
    at_ms: int
    type: str
    data: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a job's log."""

    #: Counts up by one, from 1 or from where Redis lost the record; the first ones of a very long
    #: log are dropped.
    number: int
    at: str
    level: str
    event: str
    phase: str | None
    unit: int | None
    attempt: int | None
    fields: Mapping[str, Any]


def events_key(job_id: str) -> str:
    return f"ccd:events:{job_id}"


def lines_key(job_id: str) -> str:
    return f"ccd:lines:{job_id}"


def read_entries(found: RawEntries) -> list[Entry]:
    return [
        Entry(
            seq=_number(id),
            at_ms=int(fields["at"]),
            type=fields["type"],
            data=json.loads(fields["data"]),
        )
        for id, fields in found
    ]


def read_lines(found: RawEntries) -> list[Line]:
    return [
        Line(
            number=_number(id),
            at=rfc3339(int(fields["at"])),
            level=fields["level"],
            event=fields["event"],
            phase=fields["phase"] or None,
            unit=int(fields["unit"]) if fields["unit"] else None,
            attempt=int(fields["attempt"]) if fields["attempt"] else None,
            # An empty table of Lua may have become a list.
            fields=json.loads(fields["fields"]) or {},
        )
        for id, fields in found
    ]


def read_metrics(facts: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Metric -> its points by epoch, as the facts of a job tell them."""
    curve = facts.get("curve", [])
    # A job that was begun before times were kept has none for its first epochs.
    times = facts.get("curve_at", [])
    told = [None] * (len(curve) - len(times)) + [rfc3339(at_ms) for at_ms in times]
    return {
        name: [
            {
                "phase": epoch["phase"],
                "epoch": epoch["epoch"],
                "at": at,
                "value": finite(epoch[name]),
            }
            for epoch, at in zip(curve, told, strict=True)
            if name in epoch
        ]
        for name in METRICS
    }


def happenings(claim: Claim, facts: Mapping[str, Any]) -> list[str]:
    """What the facts of a unit bring to light, as the script `complete` takes it."""
    told = [
        *(("job.metric", "info", "metric", data) for data in _metrics(claim, facts)),
        *(("job.warning", "warning", "warning", data) for data in _warnings(claim, facts)),
    ]
    return [text for *words, data in told for text in (*words, json.dumps(data))]


def _metrics(claim: Claim, facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A point for each metric of each epoch that is new."""
    known = len(claim.record.facts.get("curve", []))
    for epoch in facts.get("curve", [])[known:]:
        for name in METRICS:
            if name in epoch:
                point = {"name": name, "phase": epoch["phase"], "epoch": epoch["epoch"]}
                yield point | {"value": finite(epoch[name])}


def _warnings(claim: Claim, facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Those that the record did not have before."""
    known = claim.record.facts.get("warnings", [])
    yield from (warning for warning in facts.get("warnings", []) if warning not in known)
    yield from halving_warnings({name: told for name, told in facts.items() if FACT in name})


def finite(value: float | None) -> float | None:
    """JSON has no other numbers."""
    return value if value is not None and math.isfinite(value) else None


def _number(entry_id: str) -> int:
    return int(entry_id.partition("-")[0])
