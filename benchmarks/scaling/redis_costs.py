"""What records and units take in Redis, and how long the scripts that open and record them run."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.service import Service, service
from models.config import PRESETS
from workers.events import events_key, lines_key
from workers.jobs import Claim, Lane, Phase

#: Jobs whose mean size counts, and units that are recorded one by one.
JOBS, RECORDED = 1000, 200
#: Length of a folder's name in the record: a phase and a digest.
OUTPUT = "localize-" + 64 * "0"


def measure_redis(folder: Path, units: Sequence[int]) -> dict[str, Any]:
    """Bytes of a queued job, and by number of units bytes and milliseconds of one at work."""
    images = folder / "images"
    images.mkdir()
    with service(folder, images) as running:
        before = _used(running)
        for _ in range(JOBS):
            _submit(running)
        job = (_used(running) - before) / JOBS
    return {"job": job, "by_units": [_measure_units(folder, images, n) for n in units]}


def _measure_units(folder: Path, images: Path, units: int) -> dict[str, float]:
    with service(folder, images) as running:
        job_id = _submit(running)
        check = _claim(running)
        empty = _used(running)
        started = time.perf_counter()
        plan = [Phase("localize", Lane.METHOD, units=units, items=1000 * units)]
        running.store.complete(check, output="", done=0, plan=plan)
        opening = time.perf_counter() - started
        opened = _used(running)
        times = [_record(running) for _ in range(RECORDED)]
        _record_rest(running, units - RECORDED - 1)
        last = _claim(running)
        done, told = _used(running), _told(running, job_id)
        started = time.perf_counter()
        running.store.outputs(job_id)
        reading = time.perf_counter() - started
        running.store.complete(last, output=OUTPUT, done=1000)
        return {
            "units": units,
            "open_unit": (opened - empty) / units,
            "output": (done - empty - told) / units,
            "told": told,
            "opening_ms": 1000 * opening,
            "unit_ms": 1000 * median(times),
            "outputs_ms": 1000 * reading,
        }


def _submit(running: Service) -> str:
    return running.submit("", PRESETS["balanced"])


def _claim(running: Service) -> Claim:
    claim = running.store.claim(Lane.METHOD, worker="w", nonce=secrets.token_hex(16))
    assert claim is not None
    return claim


def _record(running: Service) -> float:
    """Seconds of the two scripts that each unit needs at least."""
    started = time.perf_counter()
    running.store.complete(_claim(running), output=OUTPUT, done=1000)
    return time.perf_counter() - started


def _record_rest(running: Service, count: int) -> None:
    for _ in range(count):
        running.store.complete(_claim(running), output=OUTPUT, done=1000)


def _told(running: Service, job_id: str) -> int:
    """Bytes of the events and of the log of a job."""
    keys = events_key(job_id), lines_key(job_id)
    return sum(int(running.store.redis.memory_usage(key, samples=0) or 0) for key in keys)


def _used(running: Service) -> int:
    return int(running.store.redis.info("memory")["used_memory"])
