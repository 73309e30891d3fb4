"""Thousands of jobs over the real store in simulated time: where it bends first. `make load`."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import redis
import structlog

from app.children import stop_child
from app.valkey import start_valkey, valkey_url
from benchmarks.simulation import Simulation, World
from workers.jobs import Kind, Lane, Record, from_rfc3339
from workers.settings import Settings
from workers.store import connect

Rows = Sequence[tuple[str, ...]]
MAX_REDIS_BYTES = 200_000_000


def main() -> None:
    """Command line: `python -m benchmarks.simulate`."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("jobs", "submitters", "workers", "seed", "cancelled"):
        parser.add_argument(f"--{name}", type=int, default=getattr(World(), name))
    parser.add_argument("--failure-seconds", type=float, default=World().failure_seconds)
    world = World(**vars(parser.parse_args()))
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    before = os.getloadavg()[0]
    with own_valkey() as client:
        simulation = Simulation(client, world)
        started = time.perf_counter()
        simulation.submit()
        simulation.run()
        seconds = time.perf_counter() - started
        records = all_jobs(simulation)
    print(f"{world}\nload average before: {before:.1f}\n")
    for rows in (
        outcome(simulation, records, seconds),
        shares(simulation, records),
        scripts(simulation.store.times_seen),
        bends(simulation.store.times_seen),
    ):
        print_table(rows)


@contextmanager
def own_valkey() -> Iterator[redis.Redis]:
    """A client of a Valkey as `ccd serve` starts it, with a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="ccd-", dir="/tmp"))
    socket = folder / "valkey.sock"
    server = start_valkey(folder, socket, log=folder / "valkey.log")
    try:
        with connect(Settings(redis_url=valkey_url(socket))) as client:
            yield client
    finally:
        stop_child(server, seconds=10)
        shutil.rmtree(folder)


def print_table(rows: Rows) -> None:
    """Markdown; the first row is the head."""
    head, *body = rows
    for row in (head, ["---"] * len(head), *body):
        print(f"| {' | '.join(row)} |")
    print(flush=True)


def all_jobs(simulation: Simulation) -> list[Record]:
    """The records of all jobs, as they are at the end."""
    found, cursor = simulation.store.list(Kind.JOB, limit=1000)
    while cursor:
        page, cursor = simulation.store.list(Kind.JOB, limit=1000, cursor=cursor)
        found += page
    return found


def outcome(simulation: Simulation, records: Sequence[Record], seconds: float) -> Rows:
    """What became of the jobs, and what it took."""
    found, ends = simulation.found, Counter(str(record.status) for record in records)
    lost = simulation.world.jobs - sum(record.status.is_final for record in records)
    calls = sum(map(len, simulation.store.times_seen.values()))
    return [
        ("what", "seen", "aim"),
        ("jobs succeeded", f"{ends['succeeded']:,}", ""),
        ("jobs cancelled on the way", f"{ends['cancelled']:,}", ""),
        ("jobs failed: one unit lost three workers", f"{ends['failed']:,}", ""),
        ("jobs lost: in no final state", f"{lost:,}", "0"),
        (
            "workers gone, hung, drained with a unit in hand",
            ", ".join(f"{found.failures[how]:,}" for how in ("gone", "hung", "drained")),
            "",
        ),
        ("writes of workers that had lost their unit, refused", f"{found.refused:,}", ""),
        (
            "units claimed, lanes method and io",
            f"{found.claims[Lane.METHOD]:,}, {found.claims[Lane.IO]:,}",
            "",
        ),
        ("Redis with all jobs queued", megabytes(found.queued_bytes), megabytes(MAX_REDIS_BYTES)),
        ("Redis at most", megabytes(found.most_bytes), ""),
        ("simulated time", f"{found.seconds / 3600:.1f} h", ""),
        ("real time, one client", f"{seconds:.0f} s, {calls / seconds:,.0f} scripts/s", ""),
    ]


def megabytes(size: int) -> str:
    """In units of 10^6 bytes."""
    return f"{size / 1e6:.0f} MB"


def shares(simulation: Simulation, records: Sequence[Record]) -> Rows:
    """What each submitter got while all of them waited; the first has larger jobs."""
    served = {who: simulation.found.served[who] for who in simulation.submitters}
    waits: dict[str, list[float]] = defaultdict(list)
    for record in records:
        if record.started_at:
            waited = from_rfc3339(record.started_at) - from_rfc3339(record.created_at)
            waits[record.submitter].append(waited / 3.6e6)
    first, *others = simulation.submitters
    largest = simulation.largest_units()
    spread = max(served.values()) - min(served.values())
    bound = largest[first] + max(largest[who] for who in others)
    medians = {who: statistics.median(waits[who]) for who in simulation.submitters}
    return [
        ("while all submitters wait", "the first", "the others"),
        ("images served", f"{served[first]:,}", _span([served[who] for who in others])),
        ("largest unit", f"{largest[first]:,}", f"{max(largest[who] for who in others):,}"),
        ("least and most differ by, may differ by", f"{spread:,}", f"{bound:,}"),
        ("jobs started at all", f"{len(waits[first])}", f"{sum(len(waits[w]) for w in others):,}"),
        (
            "median wait of a job (h)",
            f"{medians[first]:.2f}",
            _span([medians[who] for who in others]),
        ),
    ]


def _span(values: Sequence[float]) -> str:
    text = "{:,}" if isinstance(values[0], int) else "{:.2f}"
    return f"{text.format(min(values))} to {text.format(max(values))}"


def scripts(times: Mapping[str, Sequence[int]]) -> Rows:
    """What the scripts cost inside of Redis."""
    head = ("script", "calls", "median µs", "mean µs", "p99 µs", "share")
    total = sum(map(sum, times.values()))
    rows = sorted(times.items(), key=lambda item: -sum(item[1]))
    return [head] + [
        (
            name,
            f"{len(found):,}",
            f"{statistics.median(found):.0f}",
            f"{statistics.fmean(found):.0f}",
            f"{percentile(found, 99):.0f}",
            f"{sum(found) / total:.0%}",
        )
        for name, found in rows
    ]


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many per cent do not exceed."""
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


def bends(times: Mapping[str, Sequence[int]]) -> Rows:
    """How far the one thread of Redis reaches, from the medians: others' work lifts the means."""
    cost = {name: statistics.median(found) for name, found in times.items()}
    beat = (cost["renew"] + cost["announce"]) / Settings().heartbeat_seconds
    unit = cost["claim"] + cost["complete"]
    return [
        ("what one thread of Redis can do", "most"),
        ("claims a second", f"{1e6 / cost['claim']:,.0f}"),
        ("units a second, claimed and completed", f"{1e6 / unit:,.0f}"),
        ("jobs submitted a second", f"{1e6 / cost['create']:,.0f}"),
        ("workers at a heartbeat a second, units of 60 s", f"{1e6 / (beat + unit / 60):,.0f}"),
        ("workers at a heartbeat a second, units of 1 s", f"{1e6 / (beat + unit):,.0f}"),
    ]


if __name__ == "__main__":
    main()
