"""Many jobs, submitters and workers over the real store, in simulated time; workers are fakes.

They do what `workers.worker.Worker` does, one call at a time, and fail as workers do: some die
with a unit in hand, some hang and come back too late, some are drained. Lost work is found by the
real reaper.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import redis

from benchmarks.simulated_store import SimulatedStore
from models.config import PRESETS
from workers.jobs import Claim, Kind, Lane, Phase, Priority
from workers.phases import plan_of
from workers.reaper import Reaper
from workers.registry import Registry, Standing
from workers.settings import Settings
from workers.stages import passes_of
from workers.stats import read_stats
from workers.store import IllegalMove, StaleClaim

CONFIG = PRESETS["balanced"]
SHARD = 1000
#: Images a second of a worker that embeds.
RATE = 100.0
CHECK = Phase("check", Lane.METHOD, weight=0.01)
LEASE, RENEW, REAP, REPLACED = 60.0, 30.0, 5.0, 30.0
#: Seconds that a unit takes at least.
LEAST = 0.5
#: How a worker that fails does so, and how often: gone, hung, asked to drain.
FAILURES = {"gone": 6, "hung": 2, "drained": 2}


@dataclass(frozen=True, kw_only=True)
class World:
    """What is simulated."""

    jobs: int = 10_000
    submitters: int = 50
    workers: int = 100
    #: Of the other lane.
    io_workers: int = 4
    #: Simulated seconds between two failures of one worker, on average.
    failure_seconds: float = 6000.0
    #: Jobs that are cancelled on the way.
    cancelled: int = 1000
    #: Images of a job; those of the first submitter are `large` times as many.
    images: tuple[int, int] = (100, 2000)
    large: int = 10
    seed: int = 1


@dataclass
class Findings:
    """What was seen."""

    claims: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    #: Claims of units by somebody who had lost them, which were refused.
    refused: int = 0
    #: Submitter -> images it was served in lane method while all had jobs to start.
    served: Counter[str] = field(default_factory=Counter)
    #: The same, whoever had any.
    served_so_far: Counter[str] = field(default_factory=Counter)
    #: Simulated seconds from the first claim to the end of the last job.
    seconds: float = 0.0
    #: Bytes that Redis used when all was queued, and at most.
    queued_bytes: int = 0
    most_bytes: int = 0


def plan(images: int) -> list[Phase]:
    """The phases after `check`, as a job of the preset has them."""
    return plan_of(CONFIG, images, SHARD)


def phase_of(claim: Claim) -> Phase:
    """The phase of a unit, as its record tells it."""
    return next(phase for phase in claim.record.phases if phase.name == claim.phase)


def seconds_of(phase: Phase, images: int) -> float:
    """How long a phase of a job of so many images takes, by its weight."""
    return phase.weight * images / RATE


class Simulation:
    """One run; the same world makes the same calls in the same order."""

    def __init__(self, client: redis.Redis, world: World) -> None:
        client.flushall()
        self.world, self.random = world, random.Random(world.seed)  # noqa: S311 - no secret
        self.store = SimulatedStore(client, lease_seconds=LEASE)
        self.registry = Registry(self.store)
        self.found = Findings()
        self.submitters = [f"user-{n:02d}" for n in range(world.submitters)]
        self.sizes: dict[str, int] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._seen: set[str] = set()
        self._idle: dict[Lane, list[str]] = {lane: [] for lane in Lane}
        self._reaper = Reaper(
            self.store,
            Settings(lease_seconds=LEASE),
            ring=self._ring,
            sweep=lambda _: None,
            keep_end=lambda *_: True,
            keep_log=lambda *_: True,
            clock=lambda: self.store.now,
        )

    # ------------------------------------------------------------------ what is asked for

    def submit(self) -> None:
        """A ready dataset of its own for each size, and then all jobs in a random order."""
        low, high = self.world.images
        for n in range(self.world.jobs):
            owner = n % self.world.submitters
            images = self.random.randint(low, high) * (self.world.large if owner == 0 else 1)
            self.sizes[f"job_{n:06d}"] = images
        for images in sorted(set(self.sizes.values())):
            self._register(images)
        ids = list(self.sizes)
        self.random.shuffle(ids)
        for id in ids:
            self.store.now += 0.01
            self._submit(id)

    def _register(self, images: int) -> None:
        id = f"ds_{images}"
        self.store.create(Kind.DATASET, id, request={}, phases=[Phase("register", Lane.IO)])
        held = self.store.claim(Lane.IO, worker="w", nonce=id)
        assert held is not None
        self.store.complete(held, output="", done=images)

    def _submit(self, id: str) -> None:
        dataset_id = f"ds_{self.sizes[id]}"
        request = {
            "dataset_id": dataset_id,
            "classes": [{"name": f"class {n}", "prompts": []} for n in range(20)],
            "preset": "balanced",
            "config": CONFIG.to_dict(),
            "name": id,
            "metadata": {},
        }
        self.store.create(
            Kind.JOB,
            id,
            request=request,
            phases=[CHECK],
            waits_for=dataset_id,
            submitter=self.submitter_of(id),
            priority=self.random.choice(list(Priority)),
            passes=passes_of(CONFIG),
        )

    def submitter_of(self, id: str) -> str:
        """Whose a job is."""
        return self.submitters[int(id.removeprefix("job_")) % self.world.submitters]

    def largest_units(self) -> dict[str, int]:
        """Images of each submitter's largest unit: an epoch looks at all of its job."""
        largest = dict.fromkeys(self.submitters, 0)
        for id, images in self.sizes.items():
            largest[self.submitter_of(id)] = max(images, largest[self.submitter_of(id)])
        return largest

    # ------------------------------------------------------------------ what happens

    def run(self) -> Findings:
        """From the first claim until every job has ended."""
        start = self.store.now
        self.found.queued_bytes = self._used_bytes()
        for n in range(self.world.workers):
            self._at(self.random.uniform(0, 5), partial(self._work, Lane.METHOD, f"method-{n}"))
        for n in range(self.world.io_workers):
            self._at(self.random.uniform(0, 5), partial(self._work, Lane.IO, f"io-{n}"))
        for id in self.random.sample(sorted(self.sizes), self.world.cancelled):
            self._at(self.random.uniform(0, self._expected() / 3), partial(self._cancel, id))
        self._at(REAP, self._reap)
        while self._events:
            time, _, happen = heapq.heappop(self._events)
            self.store.now = max(self.store.now, time)
            happen()
        self.found.seconds = self.store.now - start
        self.store.read_times()
        return self.found

    def _expected(self) -> float:
        """Roughly the seconds that all of it takes."""
        seconds = sum(self._seconds_of_job(images) for images in self.sizes.values())
        return seconds / self.world.workers

    def _seconds_of_job(self, images: int) -> float:
        return sum(seconds_of(phase, images) for phase in plan(images))

    def _at(self, after: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.store.now + after, next(self._numbers), happen))

    def _used_bytes(self) -> int:
        return int(self.store.redis.info("memory")["used_memory"])

    def _ring(self, lane: Lane, count: int) -> None:
        idle = self._idle[lane]
        for _ in range(min(count, len(idle))):
            self._at(0, partial(self._work, lane, idle.pop()))

    def _reap(self) -> None:
        self._reaper.run_once()
        self.found.most_bytes = max(self.found.most_bytes, self._used_bytes())
        if self._all_wait():
            self.found.served = Counter(self.found.served_so_far)
        if not self.is_over():
            self._at(REAP, self._reap)

    def _all_wait(self) -> bool:
        keys = [f"ccd:pending:method:{who}" for who in self.submitters]
        return int(self.store.redis.exists(*keys)) == len(keys)

    def is_over(self) -> bool:
        """Whether every job has ended, as the sums of the store tell."""
        ended = read_stats(self.store).ended
        return sum(n for (kind, _), n in ended.items() if kind == Kind.JOB) == self.world.jobs

    def _cancel(self, id: str) -> None:
        with suppress(IllegalMove):  # it has ended
            self.store.cancel(id)

    # ------------------------------------------------------------------ workers

    def _work(self, lane: Lane, name: str) -> None:
        """Claim; where nothing waits, wait for a bell."""
        claim = self.store.claim(lane, worker=name, nonce=f"n{next(self._numbers)}")
        if claim is None:
            self._idle[lane].append(name)
            return
        self._note(claim)
        seconds = self._seconds_of(claim)
        fails_after = self.random.expovariate(1 / self.world.failure_seconds)
        if fails_after < seconds:
            self._at(fails_after, partial(self._fail, claim, seconds - fails_after))
            seconds = fails_after
        else:
            self._at(seconds, partial(self._complete, claim))
        for beat in range(1, int(seconds // RENEW) + 1):
            self._at(beat * RENEW, partial(self._renew, claim, beat))

    def _note(self, claim: Claim) -> None:
        self.found.claims[claim.lane] += 1
        if claim.lane is Lane.METHOD and claim.unit_id not in self._seen:
            images = self._images_of(claim) if claim.phase != "check" else 1
            self.found.served_so_far[claim.record.submitter] += images
        self._seen.add(claim.unit_id)

    def _images_of(self, claim: Claim) -> int:
        """As the scripts count them: an even share of the phase's."""
        if claim.phase == "check":
            return self.sizes[claim.record.id]
        phase = phase_of(claim)
        return -(-(phase.items or 0) // phase.units)

    def _seconds_of(self, claim: Claim) -> float:
        phase = phase_of(claim)
        seconds = seconds_of(phase, self.sizes[claim.record.id]) / phase.units
        return max(LEAST, seconds * self.random.uniform(0.8, 1.2))

    def _renew(self, claim: Claim, beat: int) -> None:
        self.store.renew(claim, done=round(beat * RENEW * RATE))
        if beat == 1:
            self.registry.announce(replace(IDLE, name=claim.worker, unit=claim.unit_id))

    def _complete(self, claim: Claim) -> None:
        images = self._images_of(claim)
        more = plan(images) if claim.phase == "check" else None
        facts = {"counts": {"images": images}} if more else None
        try:
            rings = self.store.complete(claim, output="x" * 40, done=images, plan=more, facts=facts)
        except StaleClaim:
            self.found.refused += 1
            rings = {}
        for lane, count in rings.items():
            self._ring(lane, count - (lane is claim.lane))
        self._work(claim.lane, claim.worker)

    def _fail(self, claim: Claim, left: float) -> None:
        how = self.random.choices(list(FAILURES), list(FAILURES.values()))[0]
        self.found.failures[how] += 1
        match how:
            case "hung":  # until long after its lease, and then it goes on
                self._at(2 * LEASE + left, partial(self._complete, claim))
            case "drained":
                self._give_back(claim)
                self._at(REPLACED, partial(self._work, claim.lane, claim.worker))
            case _:
                name = f"{claim.worker.partition('/')[0]}/{next(self._numbers)}"
                self._at(REPLACED, partial(self._work, claim.lane, name))

    def _give_back(self, claim: Claim) -> None:
        try:
            self.store.give_back(claim)
        except StaleClaim:
            self.found.refused += 1


#: What a worker says of itself.
IDLE = Standing(
    name="",
    lane=Lane.METHOD,
    host="simulated",
    pid=1,
    version="0",
    method=1,
    device="none",
    gpu=None,
    memory_bytes=None,
    memory_used_bytes=None,
    gpu_utilization=None,
    draining=False,
    unit=None,
    images_per_second=RATE,
)
