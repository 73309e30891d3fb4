"""A small world in which workers break: a data folder, the real store, a reaper, and hands."""

import hashlib
import time
from dataclasses import dataclass, replace
from functools import partial

from demo.world import CLASSES
from models.config import PRESETS
from tests.faults.hands import LONGEST_WAIT, Hand
from workers.files import DataFolder
from workers.jobs import Kind, Lane, Phase, Status
from workers.outcomes import ended, keep_end, write_request
from workers.reaper import Reaper
from workers.settings import Settings
from workers.stats import read_stats
from workers.store import open_store

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


class World:
    """A dataset that waits to be registered, and everything that makes labels of it."""

    def __init__(self, redis_url, data, scenes, **settings):
        quick = {
            "lease_seconds": 60,  # however busy the machine is, only tests end a lease
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
        log = self.folder.root.parent / f"{name}.log"
        hand = Hand(name, changed, log, memory_bytes)
        self.hands.append(hand)
        return hand

    def end_lease(self, hand):
        """As if the time of all that it has claimed had run out."""
        for lane in Lane:
            self.store.release(f"{lane}@{hand.name}")

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
