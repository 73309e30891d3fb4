"""A small world in which workers break: a data folder, the real store, and workers as processes.

The workers run the real loop on real units, without Celery and HTTP around it. They are forked
from one process that has torch loaded, so that each costs milliseconds: a job may lose dozens.
"""

import hashlib
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from contextlib import suppress
from ctypes import CDLL
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from app.children import PR_SET_PDEATHSIG
from demo.world import CLASSES
from models.config import PRESETS
from tests.serving import ROOT
from workers import fault_points, log
from workers.files import DataFolder
from workers.jobs import Kind, Lane, Phase, Status
from workers.outcomes import ended, keep_end, write_request
from workers.reaper import Reaper
from workers.settings import Settings
from workers.stats import read_stats
from workers.store import open_store
from workers.worker import Worker

IMAGES, SHARD = 16, 8
DATASET, JOB = "ds_1", "job_1"
#: Small, but every phase has more than one batch, and those with shards two of them.
CONFIG = {
    "warm_up_epochs": 1,
    "train_epochs": 2,
    "batch_size": 4,
    "teacher_batch": 2,
    "student_size": 64,
    "cam_size": 96,
}
REGISTER = [Phase("register", Lane.IO)]
CHECK = [Phase("check", Lane.METHOD, weight=0.01)]
#: The phases of a job in their order, before them the one of its dataset.
PHASES = (
    *("register", "check", "embed", "debias", "warm_up", "localize", "update"),
    *("train", "score", "export", "report"),
)
#: Longest wait for anything that is to happen, in seconds.
LONGEST_WAIT = 120
#: What a worker imports with its first unit.
HEAVY = ("torch", "models.distill", "workers.phases", "workers.units", "tests.faults.worlds")


def forks():
    """Where workers come from: a process that has loaded what they need, and nothing more."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*HEAVY])
    return context


def work(settings, name, log_file, memory_bytes):
    """The life of one worker process: units of both lanes, until it is drained."""
    CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with open(log_file, "ab", buffering=0) as output:  # noqa: PTH123 - its descriptor is wanted
        os.dup2(output.fileno(), 2)
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115 - as above
    drained = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: drained.set())
    log.configure("json")
    fault_points.arm(settings.faults, settings.fault_marks)
    if memory_bytes:
        limit_memory(memory_bytes)
    workers = [
        Worker(
            lane,
            settings=settings,
            store=open_store(settings),
            name=f"{lane}@{name}",
            is_draining=drained.is_set,
            ring=lambda *_: None,
        )
        for lane in Lane
    ]
    for worker in workers:
        worker.bury_predecessor()
    while not drained.wait(0.02):
        for worker in workers:
            worker.run_until_empty()


def limit_memory(more_bytes):
    """Let this process take so many bytes more than it has."""
    used = int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more_bytes,) * 2)


class Hand:
    """One worker of a world; started again under its name when it has died, as Celery does."""

    def __init__(self, world, name, settings, memory_bytes=0):
        self.world, self.name, self.settings = world, name, settings
        self.memory_bytes = memory_bytes
        self.log = world.folder.root.parent / f"{name}.log"
        self.starts = 0
        #: How each that died ended: its exit status, the signal that killed it below 0.
        self.ends = []
        self.start()

    def start(self):
        arguments = (self.settings, self.name, self.log, self.memory_bytes)
        self.process = forks().Process(target=work, args=arguments, daemon=True)
        self.process.start()
        self.starts += 1

    @property
    def said(self):
        return self.log.read_text() if self.log.exists() else ""

    def is_dead(self):
        return self.process.exitcode is not None

    def start_again_if_dead(self):
        if self.is_dead():
            self.ends.append(self.process.exitcode)
            self.start()

    def signal(self, number):
        os.kill(self.process.pid, number)

    def is_stopped(self):
        """Whether a SIGSTOP holds it."""
        with suppress(FileNotFoundError):
            return f"{_stat(self.process.pid)[0]}" in "Tt"
        return False

    def resident_bytes(self):
        """Its memory; 0 once it is gone."""
        with suppress(FileNotFoundError, ProcessLookupError):
            pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
            return int(pages) * resource.getpagesize()
        return 0

    def drain(self):
        """End it as a deployment does; its exit status."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        self.process.join(LONGEST_WAIT)
        return self.process.exitcode

    def kill(self):
        self.process.kill()
        self.process.join()


def _stat(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


class World:
    """A dataset that waits to be registered, and everything that makes labels of it."""

    def __init__(self, redis_url, data, scenes, **settings):
        quick = {
            "lease_seconds": 4,
            "heartbeat_seconds": 0.1,
            "backoff_seconds": (0,),
            "shard_images": SHARD,
            "threads": 1,
            "log_format": "json",
        }
        self.settings = Settings(
            **{**quick, "data": data, "redis_url": redis_url, "allowed_roots": [scenes], **settings}
        )
        self.store = open_store(self.settings)
        self.folder = DataFolder(data)
        self.folder.create()
        self.reaper = Reaper(
            self.store,
            self.settings,
            ring=lambda *_: None,
            sweep=self.folder.sweep,
            keep_end=partial(keep_end, self.folder),
            ended=partial(ended, self.folder),
        )
        self.reaper.grace_seconds = 0.05
        self.hands = []
        self.source = {"kind": "folder", "path": str(scenes)}
        self._submit(Kind.DATASET, DATASET, {"name": "scenes", "source": self.source}, REGISTER)

    def submit(self, id=JOB, classes=CLASSES[:4], **config):
        small = replace(PRESETS["tiny"], **{**CONFIG, **config})
        request = {
            "dataset_id": DATASET,
            "name": None,
            "preset": "tiny",
            "metadata": {},
            "classes": [{"name": name, "prompts": []} for name in classes],
            "config": small.to_dict(),
        }
        self._submit(Kind.JOB, id, request, CHECK, waits_for=DATASET)
        return id

    def _submit(self, kind, id, request, phases, waits_for=None):
        own = self.folder.of(kind, id)
        asked = {"kind": kind, "id": id, "request": request, "waits_for": waits_for}
        write_request(own, **asked, phases=tuple(phases), request_id=None)
        self.store.create(kind, id, request=request, phases=phases, waits_for=waits_for)

    def hand(self, faults="", *, name="first", memory_bytes=0, **settings):
        """A worker, for which some faults lie in wait."""
        changed = Settings(**{**self.settings.model_dump(), "faults": faults, **settings})
        hand = Hand(self, name, changed, memory_bytes)
        self.hands.append(hand)
        return hand

    def watch_until(self, fact, live=lambda: None):
        """What is so at last; nothing is done about what happens meanwhile."""
        deadline = time.monotonic() + LONGEST_WAIT
        while not (found := fact()):
            assert time.monotonic() < deadline, "\n".join(["waited in vain", *self.stories()])
            live()
            time.sleep(0.02)
        return found

    def live_until(self, fact):
        """What is so at last; what is lost is reaped, and what has died is started again."""

        def live():
            self.reaper.run_once()
            for hand in self.hands:
                hand.start_again_if_dead()

        return self.watch_until(fact, live)

    def stories(self):
        """What the workers said at last, for whoever reads of a failure."""
        return [f"{hand.name} {hand.ends}: {hand.said[-3000:]}" for hand in self.hands]

    def job(self, id=JOB):
        return self.store.get(id)

    def finish(self, id=JOB):
        """The job, once it has ended."""
        return self.live_until(lambda: (job := self.job(id)).status.is_final and job)

    def succeed(self, id=JOB):
        job = self.finish(id)
        assert job.status is Status.SUCCEEDED, (job.error, *self.stories())
        return job

    def attempts(self, outcome):
        """How many attempts at units ended so, by phase."""
        found = read_stats(self.store).attempts
        return {phase: n for (phase, ended), n in found.items() if ended == outcome}

    def published(self):
        """When each file that can be seen was written."""
        below = [self.folder.phases, self.folder.jobs, self.folder.datasets]
        return {
            path.relative_to(self.folder.root): path.stat().st_mtime_ns
            for top in below
            for path in top.rglob("*")
            if path.is_file()
        }

    def end(self):
        for hand in self.hands:
            hand.kill()


@dataclass(frozen=True)
class Result:
    """What a job leaves behind: the digest of every file of its outputs, and of its student."""

    files: dict[str, str]

    def differences(self, other, *, of_this_job=True):
        """Names of files that differ; without those that name their job, if so asked."""
        return sorted(
            name
            for name in self.files.keys() | other.files.keys()
            if self.files.get(name) != other.files.get(name)
            and (of_this_job or not name.startswith(("report/", "student/")))
        )


def result_of(world, id=JOB):
    outputs = {
        f"{phase}/{unit}": world.folder.phase(name)
        for (phase, unit), name in world.store.outputs(id).items()
        if name
    }
    student = world.folder.student(f"stu_{id.removeprefix('job_')}")
    assert all(map(DataFolder(world.folder.root).is_complete, [*outputs.values(), student]))
    return Result(
        {
            f"{key}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
            for key, folder in {**outputs, "student": student}.items()
            for path in sorted(folder.iterdir())
        }
    )


def start_forks():
    """Start the process that workers are forked from; it looks for modules where we do."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        forks().Process(target=time.time).start()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
