"""One job's `embed` by one worker process and by two, and what a unit costs beside its images."""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from unittest.mock import patch

import torch

from app.children import start_child, stop_child
from benchmarks.service import SMALL_SIDE, Service, draw_photos, service, small_images
from models import distill
from models.config import PRESETS
from workers.jobs import Lane

P = ParamSpec("P")
T = TypeVar("T")

PHOTOS, PHOTO_SHARD = 240, 20
ROUNDS = 3
UNITS, UNIT_IMAGES = 5, 1000
#: How long a phase may take to begin or to end.
LONGEST_WAIT = 600.0


def bench_workers(folder: Path, _threads: int) -> tuple[str, str, str]:
    """`embed` by two worker processes against one, a thread each, the two taking turns."""
    images = folder / "photos"
    draw_photos(images, PHOTOS)
    with service(folder, images, shard_images=PHOTO_SHARD, threads=1) as running:
        dataset_id = running.register(images)
        rounds = [
            (_embed_seconds(running, dataset_id, 2), _embed_seconds(running, dataset_id, 1))
            for _ in range(ROUNDS)
        ]
    ratios = [two / one for two, one in rounds]
    two, one = (statistics.median(times) for times in zip(*rounds, strict=True))
    what = (
        f"`embed` of {PHOTOS} JPEGs of 640 x 480 in {PHOTOS // PHOTO_SHARD} units, offline "
        "teacher, by two worker processes over one, a thread each"
    )
    told = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    seen = f"{statistics.median(ratios):.2f} of the time ({two:.1f} against {one:.1f} s; {told})"
    return what, seen, "0.6"


def _embed_seconds(running: Service, dataset_id: str, workers: int) -> float:
    """The second of two runs of the phase: in the first, each process loads torch and teacher."""
    with ExitStack() as stack:
        for _ in range(workers):
            stack.enter_context(_worker_process(running))
        _run_embed(running, dataset_id)
        return _run_embed(running, dataset_id)


@contextmanager
def _worker_process(running: Service) -> Iterator[None]:
    environment = {
        "CCD_DATA": str(running.settings.data),
        "CCD_REDIS_URL": str(running.settings.redis_url),
        "CCD_ALLOWED_ROOTS": os.pathsep.join(map(str, running.settings.allowed_roots)),
        "CCD_SHARD_IMAGES": str(running.settings.shard_images),
        "CCD_THREADS": str(running.settings.threads),
    }
    command = [sys.executable, "-m", "app.cli", "worker", "--lane", Lane.METHOD]
    log = running.settings.data / "worker.log"
    process = start_child(command, log=log, env=os.environ | environment)
    try:
        yield
    finally:
        stop_child(process, seconds=60)


def _run_embed(running: Service, dataset_id: str) -> float:
    """Seconds from the first unit of `embed` that can be had to the end of the last."""
    running.forget_results()
    job_id = running.submit(dataset_id, PRESETS["offline"])
    running.ring()
    began = _when(lambda: running.store.get(job_id).phase == "embed")
    ended = _when(lambda: running.store.get(job_id).phase != "embed")
    running.store.cancel(job_id)
    _when(lambda: running.store.get(job_id).status.is_final)
    return ended - began


def _when(fact: Callable[[], bool]) -> float:
    """The moment at which something has become true."""
    gives_up_at = time.monotonic() + LONGEST_WAIT
    while not fact():
        if time.monotonic() > gives_up_at:
            sys.exit("the workers do not get on with it")
        time.sleep(0.05)  # more often would take a fifth of a core from the workers
    return time.monotonic()


def bench_overhead(folder: Path, threads: int) -> tuple[str, str, str]:
    """All that a worker does for a unit of `embed` but embedding, as a share of the unit.

    Images are small and the teacher is the smallest there is: no unit has less to do.
    """
    images = folder / "images"
    images.mkdir()
    small_images(images, UNITS * UNIT_IMAGES)
    torch.set_num_threads(threads)
    embedding, renewing = Stopwatch(), Stopwatch()
    with (
        service(folder, images, shard_images=UNIT_IMAGES, threads=threads) as running,
        patch.object(distill, "embed", embedding.timing(distill.embed)),
    ):
        running.submit(running.register(images), PRESETS["tiny"])
        worker = running.worker()
        store: Any = running.store
        store.renew = renewing.timing(running.store.renew)
        units = [_unit_seconds(worker, embedding, renewing) for _ in range(1 + UNITS)][2:]
    shares = [100 * (whole - inner + renewals) / whole for whole, inner, renewals in units]
    beside = statistics.median(whole - inner + renewals for whole, inner, renewals in units)
    what = (
        f"claim, renew, publish and record a unit of `embed` with {UNIT_IMAGES:,} images of "
        f"{SMALL_SIDE} x {SMALL_SIDE}, tiny teacher, over the whole unit"
    )
    seen = (
        f"{statistics.median(shares):.2f} % ({1000 * beside:.0f} ms of "
        f"{statistics.median(whole for whole, _, _ in units):.2f} s; at most {max(shares):.2f} %)"
    )
    return what, seen, "2 %"


def _unit_seconds(
    worker: Any, embedding: Stopwatch, renewing: Stopwatch
) -> tuple[float, float, float]:
    """Seconds of the next unit: from the claim to the record, of embedding, and of renewals."""
    embedding.seconds = renewing.seconds = 0.0
    started = time.perf_counter()
    claim = worker.store.claim(worker.lane, worker=worker.name, nonce=os.urandom(16).hex())
    worker.run(claim)
    return time.perf_counter() - started, embedding.seconds, renewing.seconds


class Stopwatch:
    """Adds up the time that a function takes, whatever thread calls it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._lock = threading.Lock()

    def timing(self, function: Callable[P, T]) -> Callable[P, T]:
        def timed(*args: P.args, **options: P.kwargs) -> T:
            started = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                with self._lock:
                    self.seconds += time.perf_counter() - started

        return timed
