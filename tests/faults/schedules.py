"""Seeded schedules of calls, kills, outages and clocks over the real scripts, checked each step.

Workers are fakes that do what `workers.worker.Worker` does, one call at a time; store, reaper,
data folder and recovery are the real ones.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import redis

from tests.faults.fake_workers import FakeWorkers
from tests.faults.ground import Seen
from tests.faults.invariants import Invariants
from tests.faults.loose_store import ATTEMPTS, LEASE, LineBroken
from workers.files import DataFolder
from workers.jobs import Kind, Lane, Phase, Status
from workers.outcomes import ended, keep_end, try_write_end, write_request
from workers.reaper import Reaper
from workers.recovery import recover
from workers.settings import Settings
from workers.store import DatasetInUse, IllegalMove, RecordNotFound

HEARTBEAT = 15
#: Seconds of calm after which everything accepted must have ended: lost leases with their time of
#: grace, for each attempt, and the waits between attempts.
BOUND = ATTEMPTS * (LEASE + 15) + 30 + 300 + 120
MOST_UNFINISHED = 4
REGISTER = [Phase("register", Lane.IO)]
CHECK = [Phase("check", Lane.METHOD)]
#: How often each is drawn.
WEIGHTS = {
    "submit_dataset": 2,
    "submit_job": 5,
    "cancel": 2,
    "delete": 1,
    "go_on": 40,
    "beat": 5,
    "give_up": 1,
    "give_back": 1,
    "kill": 4,
    "wake_a_zombie": 5,
    "break_the_line": 6,
    "wait": 5,
    "reap": 6,
    "reap_twice_at_once": 2,
    "forget_the_scripts": 1,
}


class Schedule(FakeWorkers, Invariants):
    """One schedule; the same seed makes the same calls in the same order."""

    def __init__(self, seed: int, client: redis.Redis, folder: DataFolder) -> None:
        super().__init__(seed, client, folder)
        settings = Settings(lease_seconds=LEASE, heartbeat_seconds=HEARTBEAT)
        disk = {"keep_end": partial(keep_end, folder), "ended": partial(ended, folder)}
        hands = {"ring": self._hear, "sweep": self._sweep, **disk}
        self.reapers = [
            Reaper(self.store, settings, **hands, clock=lambda: self.now) for _ in range(2)
        ]

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self._step()

    def end(self) -> None:
        """No more faults: everything accepted ends within the bound, woken by bells alone."""
        self.store.breaks = None
        for hand in self.hands:
            self._kill(hand)
        calm_from = self.now
        while not self._has_ended() or self.now == calm_from:
            assert self.now - calm_from < BOUND, "it should be over"
            self._live()
        self.reapers[0].run_once()
        now = {id: self.seen[id].status for id in self.kept_ends}
        assert now == self.kept_ends, f"{self.kept_ends} ended as {now} after the power cut"
        self._check_recovery()

    # ------------------------------------------------------------------ steps

    def _step(self) -> None:
        name = self.random.choices([*WEIGHTS], [*WEIGHTS.values()])[0]
        self.log.append(name)
        self._pass(self.random.choice([0, 0, 0.001, 1]))
        with suppress(LineBroken):
            getattr(self, f"_{name}")()
        self._check()

    def _submit_dataset(self) -> None:
        self._submit(Kind.DATASET, REGISTER, None)

    def _submit_job(self) -> None:
        datasets = [id for id in sorted(self.seen) if id.startswith("ds_") and self._is_there(id)]
        self._submit(Kind.JOB, CHECK, self.random.choice(datasets) if datasets else None)

    def _submit(self, kind: Kind, phases: list[Phase], waits_for: str | None) -> None:
        """As the API does it: on disk, then in the store, then the 202."""
        unfinished = [id for id, seen in self.seen.items() if not seen.status.is_final]
        if len(unfinished) >= MOST_UNFINISHED:
            return
        id = self._next("ds_" if kind is Kind.DATASET else "job_")
        self.seen[id] = Seen()
        asked = {"kind": kind, "id": id, "request": {}, "waits_for": waits_for}
        own = self._own(id)
        write_request(own, **asked, phases=tuple(phases), request_id=None)
        try:
            self.store.create(kind, id, request={}, phases=phases, waits_for=waits_for)
        except RecordNotFound:
            self.folder.discard(own)
            del self.seen[id]
        else:
            self.seen[id].is_accepted = True

    def _cancel(self) -> None:
        id = self._any(id for id in self.seen if self._is_there(id))
        if id is None:
            return
        with suppress(IllegalMove):
            self.store.cancel(id)
            if self.random.random() < 0.9:  # else the API is killed here
                record, outputs = self.store.get(id), self.store.outputs(id)
                try_write_end(self.folder, record, outputs, status=Status.CANCELLED)

    def _delete(self) -> None:
        id = self._any(id for id in self.seen if self._is_there(id))
        if id is None:
            return
        with suppress(IllegalMove, DatasetInUse, LineBroken):
            self.store.delete(id)
        if not self._is_there(id):
            assert self.seen[id].status.is_final, f"{id} was deleted while it was unfinished"
            del self.seen[id]
            self.folder.discard(self._own(id))

    def _break_the_line(self) -> None:
        self.store.breaks = self.random.choice(["before", "after"])
        self.store.answered = self.random.choice([0, 0, 1, 2])

    def _wait(self) -> None:
        self._pass(self.random.choice([1, 5, LEASE / 2, LEASE, 2 * LEASE, 300]))

    def _reap(self) -> None:
        for reaper in self.random.sample(self.reapers, 2):
            with suppress(LineBroken):  # or it was killed there
                reaper.run_once()
            self._pass(self.random.choice([0, 1, 15]))

    def _reap_twice_at_once(self) -> None:
        """Both have looked before either acts, and a third one looked long ago."""
        held = [hand.claim for hand in self.hands if hand.claim]
        if held:
            self._requeue(self.random.choice(held))
        lost = self.store.expired() * 2
        self.random.shuffle(lost)
        taken = [claim for claim in lost if self.store.requeue(*claim) is not None]
        assert len(taken) == len(set(taken)), "a lost unit was taken twice"

    def _forget_the_scripts(self) -> None:
        """As a Redis that was started again does."""
        self.store.redis.script_flush()

    # ------------------------------------------------------------------ the hands of a reaper

    def _hear(self, lane: Lane, _count: int) -> None:
        self.rung.add(lane)

    def _sweep(self, live: set[str]) -> None:
        held = {path.name for path in self.folder.staging_root.iterdir()} & live
        self.folder.sweep(live, quiet_seconds=0)
        assert held <= {path.name for path in self.folder.staging_root.iterdir()}

    # ------------------------------------------------------------------ a power cut

    def roll_back(self, cut: Callable[[], None]) -> None:
        """Redis forgets the last of what it was told; then it is filled from the disk."""
        self.store.breaks = None
        self.kept_ends = {
            id: seen.status
            for id, seen in self.seen.items()
            if seen.status.is_final and self._end_on_disk(id) is seen.status
        }
        for hand in self.hands:
            if self.random.random() < 0.5:  # else it is on another host, and lives on
                self._kill(hand)
        cut()
        self.store.set_clock(self.now)
        recover(self.store, self.folder, apply=True)
        self.seen = {id: Seen(is_accepted=seen.is_accepted) for id, seen in self.seen.items()}
        self._check()
        for _ in range(2 * len(self.hands)):
            self._go_on()
            self._check()

    # ------------------------------------------------------------------ the end

    def _live(self) -> None:
        self._pass(5)
        for reaper in self.reapers:
            reaper.run_once()
        for lane in sorted(self.rung):
            self._answer(next(hand for hand in self.hands if hand.lane is lane))
        self.rung.clear()
        self._check()
