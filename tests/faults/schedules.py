"""Seeded schedules of calls, kills, outages and clocks over the real scripts, checked each step.

Workers are fakes that do what `workers.worker.Worker` does, one call at a time; store, reaper,
data folder and recovery are the real ones.
"""

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import redis

from tests.faults.loose_store import ATTEMPTS, LEASE, LineBroken, LooseStore
from workers.files import DataFolder
from workers.jobs import MOVES, Claim, JobError, Kind, Lane, Phase, Status
from workers.outcomes import (
    ended,
    ending_of,
    keep_end,
    read_kept,
    try_write_end,
    write_request,
    write_success,
)
from workers.reaper import Reaper
from workers.recovery import recover
from workers.settings import Settings
from workers.store import DatasetInUse, IllegalMove, RecordNotFound, Renewal, StaleClaim

HEARTBEAT = 15
#: Seconds of calm after which everything accepted must have ended: lost leases with their time of
#: grace, for each attempt, and the waits between attempts.
BOUND = ATTEMPTS * (LEASE + 15) + 30 + 300 + 120
MOST_UNFINISHED = 4
REGISTER = [Phase("register", Lane.IO)]
CHECK = [Phase("check", Lane.METHOD)]
PLAN = [
    Phase("embed", Lane.METHOD, units=2),
    Phase("train", Lane.METHOD, units=2, sequential=True),
    Phase("score", Lane.METHOD),
    Phase("export", Lane.IO),
]
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
BROKEN = JobError("broken", "p", "It broke.")


@dataclass
class Hand:
    """A worker, as far as a schedule knows it; a killed one is replaced by another."""

    name: str
    lane: Lane
    #: Asked with, and not answered yet.
    nonce: str | None = None
    claim: Claim | None = None
    #: Whether the output of the unit in hand is on disk.
    has_published: bool = False

    def forget(self) -> None:
        self.nonce = self.claim = None
        self.has_published = False


@dataclass
class Seen:
    """What was seen of a record."""

    #: Whether its request was answered 202; one that was not may have been taken all the same.
    is_accepted: bool = False
    is_there: bool = False
    status: Status = Status.QUEUED
    version: int = 0
    #: Of one that has ended: nothing is added to them.
    outputs: dict = field(default_factory=dict)


def can_reach(before: Status, after: Status) -> bool:
    return before is after or any(can_reach(step, after) for step in MOVES.get(before, ()))


def output_of(phase: str, unit: int) -> str:
    """Named by what it depends on, which here is the same for every job."""
    return f"{phase}-{unit:032x}"


def content_of(name: str) -> bytes:
    return f"the only right content of {name}\n".encode() * 3


def write_into(staging: Path, *, content: bytes) -> None:
    (staging / "a").write_bytes(content)


class Schedule:
    """One schedule; the same seed makes the same calls in the same order."""

    def __init__(self, seed: int, client: redis.Redis, folder: DataFolder) -> None:
        client.flushall()
        self.random = random.Random(seed)
        self.folder = folder
        self.store = LooseStore(client)
        self.now = 1_800_000_000.0
        self.store.set_clock(self.now)
        self.hands = [Hand(f"{lane}{n}", lane) for lane in Lane for n in range(2)]
        self.zombies: list[Claim] = []
        #: Nonce -> unit, of all claims that were answered.
        self.units: dict[str, str] = {}
        self.seen: dict[str, Seen] = {}
        self.whole: set[str] = set()
        #: How what had ended before a power cut must end again.
        self.kept_ends: dict[str, Status] = {}
        self.rung: set[Lane] = set()
        #: What was done, and what of it was seen.
        self.log: list[str] = []
        self.sights: list[tuple[str, Status, int]] = []
        self.count = 0
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

    def _pass(self, seconds: float) -> None:
        self.now += seconds
        self.store.set_clock(self.now)

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

    def _go_on(self) -> None:
        """A worker does the next thing it has to do."""
        hand = self.random.choice(self.hands)
        if hand.claim is None:
            self._claim(hand)
        elif hand.has_published:
            self._complete(hand)
        elif not self._repeat_its_end(hand):
            self._publish(hand)

    def _claim(self, hand: Hand) -> None:
        hand.nonce = hand.nonce or self._next("n")
        claim = self.store.claim(hand.lane, worker=hand.name, nonce=hand.nonce)
        if claim is None:
            hand.forget()
            return
        assert claim.attempt <= ATTEMPTS
        before = self.units.setdefault(claim.nonce, claim.unit_id)
        assert before == claim.unit_id, "the same nonce got another unit"
        hand.claim, hand.nonce, hand.has_published = claim, None, False

    def _repeat_its_end(self, hand: Hand) -> bool:
        """Whether the disk says that the record has ended already."""
        ending = ending_of(self.folder, hand.claim.record)
        if ending is None or ending.status is Status.SUCCEEDED:
            return False
        claim = hand.claim
        if ending.status is Status.FAILED:
            self._write(claim, lambda: self.store.fail(claim, ending.error))
        else:
            with suppress(IllegalMove):
                self.store.cancel(claim.record.id)
            self._write(claim, lambda: self.store.stopped(claim))
        hand.forget()
        return True

    def _publish(self, hand: Hand) -> None:
        """Into a folder of its own, then visible in one step; it may be killed before that."""
        if self.random.random() < 0.1:
            self._leave_behind(hand.claim.nonce)
            self._kill(hand)
            return
        self._produce(hand.claim)
        hand.has_published = True

    def _produce(self, claim: Claim) -> None:
        name = output_of(claim.phase, claim.unit)
        make = partial(write_into, content=content_of(name))
        self.folder.produce(name, make, nonce=claim.nonce)

    def _leave_behind(self, nonce: str) -> None:
        half = self.folder.staging_root / nonce / "half"
        half.mkdir(parents=True, exist_ok=True)
        (half / "a").write_bytes(b"half a th")

    def _complete(self, hand: Hand) -> None:
        self._try_to_complete(hand.claim)
        hand.forget()

    def _try_to_complete(self, claim: Claim) -> None:
        output = output_of(claim.phase, claim.unit)
        plan = PLAN if claim.phase == "check" else ()
        if claim.phase in {"register", "export"}:  # the last unit tells the disk first
            outputs = {**self.store.outputs(claim.record.id), (claim.phase, claim.unit): output}
            write_success(self.folder, claim.record, outputs, facts={}, done=1)
        self._write(claim, lambda: self.store.complete(claim, output=output, done=1, plan=plan))

    def _beat(self) -> None:
        hand = self.random.choice(self.hands)
        if hand.claim is None:
            return
        is_live = hand.claim.nonce in self.store.live_nonces()
        answer = self.store.renew(hand.claim, done=0)
        assert (answer is not Renewal.FENCED) == is_live
        if answer is Renewal.FENCED:
            hand.forget()  # it ends itself
        elif answer is Renewal.CANCEL:
            self._write(hand.claim, partial(self.store.stopped, hand.claim))
            hand.forget()

    def _give_up(self) -> None:
        """The unit failed: its end on disk, then in the store."""
        hand = self.random.choice(self.hands)
        if hand.claim is None:
            return
        if self.store.renew(hand.claim, done=0) is Renewal.OK:
            outputs = self.store.outputs(hand.claim.record.id)
            record = hand.claim.record
            try_write_end(self.folder, record, outputs, status=Status.FAILED, error=BROKEN)
        self._write(hand.claim, lambda: self.store.fail(hand.claim, BROKEN))
        hand.forget()

    def _give_back(self) -> None:
        hand = self.random.choice(self.hands)
        if hand.claim is not None:
            self._write(hand.claim, partial(self.store.give_back, hand.claim))
            hand.forget()

    def _kill(self, hand: Hand | None = None) -> None:
        """It stands still: perhaps it is dead, perhaps it comes back when it is too late."""
        hand = hand or self.random.choice(self.hands)
        if hand.claim is not None:
            self.zombies.append(hand.claim)
        hand.forget()
        hand.name = self._next("w")

    def _wake_a_zombie(self) -> None:
        if not self.zombies:
            return
        claim = self.random.choice(self.zombies)
        calls = {
            "complete": lambda: self._complete_late(claim),
            "fail": lambda: self._write(claim, lambda: self.store.fail(claim, BROKEN)),
            "give_back": lambda: self._write(claim, lambda: self.store.give_back(claim)),
            "renew": lambda: self._renew_late(claim),
            "requeue": lambda: self.store.requeue(claim.unit_id, claim.nonce),
        }
        name = self.random.choice(list(calls))
        self.log.append(name)
        calls[name]()

    def _complete_late(self, claim: Claim) -> None:
        if claim.nonce in self.store.live_nonces():
            self._produce(claim)
            self._try_to_complete(claim)
        else:
            self._write(claim, lambda: self.store.complete(claim, output="stale", done=1))

    def _renew_late(self, claim: Claim) -> None:
        is_live = claim.nonce in self.store.live_nonces()
        assert (self.store.renew(claim, done=0) is not Renewal.FENCED) == is_live

    def _write(self, claim: Claim, call: Callable[[], object]) -> None:
        """Taken if the nonce is in force; else refused by name, and nothing changes."""
        is_live = claim.nonce in self.store.live_nonces()
        before = self.store.redis.hgetall(f"ccd:record:{claim.record.id}")
        try:
            call()
        except StaleClaim:
            assert not is_live, "a claim in force was refused"
            assert self.store.redis.hgetall(f"ccd:record:{claim.record.id}") == before
        else:
            assert is_live, "a stale claim was accepted"

    def _break_the_line(self) -> None:
        self.store.breaks = self.random.choice(["before", "after"])

    def _wait(self) -> None:
        self._pass(self.random.choice([1, 5, LEASE / 2, LEASE, 2 * LEASE, 300]))

    def _reap(self) -> None:
        for reaper in self.random.sample(self.reapers, 2):
            with suppress(LineBroken):  # or it was killed there
                reaper.run_once()
            self._pass(self.random.choice([0, 1, 15]))

    def _reap_twice_at_once(self) -> None:
        """Both have looked before either acts."""
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

    # ------------------------------------------------------------------ after every step

    def _check(self) -> None:
        breaks, self.store.breaks = self.store.breaks, None
        for id, seen in self.seen.items():
            self._check_record(id, seen)
        live = [self.units[nonce] for nonce in self.store.live_nonces() if nonce in self.units]
        assert len(live) == len(set(live)), "two nonces of one unit are in force"
        self._check_folders()
        self.store.breaks = breaks

    def _check_record(self, id: str, seen: Seen) -> None:
        try:
            record = self.store.get(id)
        except RecordNotFound:
            assert not seen.is_accepted, f"{id} was accepted and is gone"
            assert not seen.is_there, f"{id} was there and is gone"
            return
        outputs = self.store.outputs(id)
        assert can_reach(seen.status, record.status), f"{id}: {seen.status} to {record.status}"
        if seen.status.is_final:  # nothing is published of one that was cancelled
            assert (record.version, outputs) == (seen.version, seen.outputs), f"{id} had ended"
        if record.status is Status.SUCCEEDED:
            units = {(p.name, k) for p in record.phases for k in range(p.units)}
            assert outputs == {unit: output_of(*unit) for unit in units}
            assert set(outputs.values()) <= self._published(), f"{id} has results that are not"
        seen.is_there, seen.status = True, record.status
        seen.version, seen.outputs = record.version, outputs
        self.sights.append((id, record.status, record.version))

    def _check_folders(self) -> None:
        """Whatever can be seen is whole, and as it has to be."""
        for name in self._published() - self.whole:
            path = self.folder.phase(name)
            assert DataFolder(self.folder.root).is_complete(path), f"{name} is not whole"
            assert (path / "a").read_bytes() == content_of(name)
            self.whole.add(name)

    def _published(self) -> set[str]:
        return {path.name for path in self.folder.phases.iterdir()}

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
            self._kill(hand)
        cut()
        self.store.set_clock(self.now)
        recover(self.store, self.folder, apply=True)
        self.seen = {id: Seen(is_accepted=seen.is_accepted) for id, seen in self.seen.items()}
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

    def _has_ended(self) -> bool:
        return all(seen.status.is_final for seen in self.seen.values() if seen.is_there)

    def _answer(self, hand: Hand) -> None:
        """A doorbell: unit after unit until none is left."""
        self._claim(hand)
        while hand.claim is not None:
            if self.store.renew(hand.claim, done=0) is Renewal.CANCEL:
                self._write(hand.claim, partial(self.store.stopped, hand.claim))
                hand.forget()
            elif not self._repeat_its_end(hand):
                self._produce(hand.claim)
                self._complete(hand)
            self._claim(hand)

    def _check_recovery(self) -> None:
        """An emptied Redis is filled again with the same ends."""
        before = {id: seen.status for id, seen in self.seen.items() if seen.is_there}
        self.store.redis.flushall()
        self.store.set_clock(self.now)
        recover(self.store, self.folder, apply=True)
        after = {id: self.store.get(id).status for id in before}
        assert before == after, f"{before} came back as {after}"

    # ------------------------------------------------------------------ small things

    def _next(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count:06d}"

    def _end_on_disk(self, id: str) -> Status | None:
        ending = read_kept(self._own(id)).ending
        return ending.status if ending else None

    def _own(self, id: str) -> Path:
        return self.folder.of(Kind.DATASET if id.startswith("ds_") else Kind.JOB, id)

    def _any(self, ids) -> str | None:
        found = sorted(ids)
        return self.random.choice(found) if found else None

    def _is_there(self, id: str) -> bool:
        return bool(self.store.redis.exists(f"ccd:record:{id}"))
