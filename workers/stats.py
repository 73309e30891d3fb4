"""What the service has done and what waits: sums that the scripts keep, read in one call."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from workers.jobs import Lane
from workers.lua import PHASE_SECONDS
from workers.store import Store

LANES = tuple(Lane)


@dataclass(frozen=True)
class LaneQueue:
    """What waits in one lane."""

    #: Units that a worker could claim now.
    waiting: int
    #: Units that wait before another attempt.
    delayed: int
    #: How long the longest of `waiting` has been there.
    oldest_seconds: float


@dataclass(frozen=True)
class Durations:
    """A histogram: how many lasted at most so long, by upper bound in seconds, and their sum."""

    counts: Mapping[float, int]
    seconds: float


@dataclass
class Stats:
    """One look at the store. Sums begin when Redis was last empty, and only grow."""

    queues: dict[Lane, LaneQueue]
    #: Claims in force.
    leases: int
    #: Since the claim that was longest without a renewal had one.
    lease_age_seconds: float
    #: (phase, outcome) -> attempts at units: done, reused, failed, lost, stopped, given_back.
    attempts: dict[tuple[str, str], int] = field(default_factory=dict)
    #: Phase -> images of units that were done, those found done left out.
    images: dict[str, int] = field(default_factory=dict)
    #: (kind, final status) -> records.
    ended: dict[tuple[str, str], int] = field(default_factory=dict)
    #: Phase -> time that it was in work, over the records that have left it behind.
    phases: dict[str, Durations] = field(default_factory=dict)


def read_stats(store: Store) -> Stats:
    """Its cost does not grow with the number of records."""
    rows, leases, age_ms, flat = store.call("observe", *LANES)
    stats = Stats(
        queues={
            lane: LaneQueue(int(waiting), int(delayed), int(oldest_ms) / 1000)
            for lane, (waiting, delayed, oldest_ms) in zip(LANES, rows, strict=True)
        },
        leases=int(leases),
        lease_age_seconds=int(age_ms) / 1000,
    )
    buckets: dict[str, dict[float, int]] = {}
    milliseconds: dict[str, int] = {}
    for name, text in zip(flat[::2], flat[1::2], strict=True):
        value = int(text)
        match name.split("|"):
            case ["attempts", phase, outcome]:
                stats.attempts[phase, outcome] = value
            case ["images", phase]:
                stats.images[phase] = value
            case ["ended", kind, status]:
                stats.ended[kind, status] = value
            case ["phase", phase, bound]:
                buckets.setdefault(phase, {})[float(bound)] = value
            case ["phase_ms", phase]:
                milliseconds[phase] = value
    for phase, found in buckets.items():
        stats.phases[phase] = Durations(cumulated(found), milliseconds.get(phase, 0) / 1000)
    return stats


def cumulated(found: Mapping[float, int]) -> dict[float, int]:
    """How many lie at or under each bound, of how many lie between it and the bound before.

    Bounds of an earlier version, whose counts are still there, stay in.
    """
    bounds = sorted({*map(float, PHASE_SECONDS), float("inf"), *found})
    return dict(zip(bounds, accumulate(found.get(bound, 0) for bound in bounds), strict=True))
