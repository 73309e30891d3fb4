"""Workers as a schedule plays them: each does what a worker does, one call at a time."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from tests.faults.ground import Ground, Hand, content_of, output_of
from tests.faults.loose_store import ATTEMPTS, LineBroken
from workers.jobs import Claim, JobError, Lane, Phase, Status
from workers.outcomes import ended, ending_of, is_called_off, try_write_end, write_success
from workers.store import IllegalMove, RecordNotFound, Renewal, StaleClaim

PLAN = [
    Phase("embed", Lane.METHOD, units=2),
    Phase("train", Lane.METHOD, units=2, sequential=True),
    Phase("score", Lane.METHOD),
    Phase("export", Lane.IO),
]
BROKEN = JobError("broken", "p", "It broke.")


def write_into(staging: Path, *, content: bytes) -> None:
    (staging / "a").write_bytes(content)


class FakeWorkers(Ground):
    """What its hands do, and the dead among them that come back."""

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
        # What has succeeded on disk is not failed: it gets another attempt, to repeat its end.
        assert claim.attempt <= ATTEMPTS or ended(self.folder, claim.record) is Status.SUCCEEDED
        before = self.units.setdefault(claim.nonce, claim.unit_id)
        assert before == claim.unit_id, "the same nonce got another unit"
        hand.claim, hand.nonce, hand.has_published = claim, None, False

    def _repeat_its_end(self, hand: Hand) -> bool:
        """Whether the disk says that the record has ended already."""
        ending = ending_of(self.folder, hand.claim.record)
        if ending is None or ending.status is Status.SUCCEEDED:
            return False
        claim = hand.claim
        self._record(claim, lambda: self.store.fail(claim, ending.error))
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
        self._record(claim, lambda: self.store.complete(claim, output=output, done=1, plan=plan))

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
        try:
            self._fail(hand.claim)
        except LineBroken:  # it insists
            self._fail(hand.claim)
        hand.forget()

    def _fail(self, claim: Claim) -> None:
        if self.store.renew(claim, done=0) is Renewal.OK:
            outputs = self.store.outputs(claim.record.id)
            try_write_end(self.folder, claim.record, outputs, status=Status.FAILED, error=BROKEN)
        self._record(claim, lambda: self.store.fail(claim, BROKEN))

    def _give_back(self) -> None:
        hand = self.random.choice(self.hands)
        if hand.claim is not None:
            self._record(hand.claim, partial(self.store.give_back, hand.claim))
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
            "fail": lambda: self._record(claim, lambda: self.store.fail(claim, BROKEN)),
            "give_back": lambda: self._record(claim, lambda: self.store.give_back(claim)),
            "renew": lambda: self._renew_late(claim),
            "requeue": lambda: self._requeue(claim),
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

    def _requeue(self, claim: Claim) -> None:
        """By a reaper that may have looked long ago."""
        is_lost = (claim.unit_id, claim.nonce) in self.store.expired()
        taken = self.store.requeue(claim.unit_id, claim.nonce) is not None
        assert taken == is_lost, f"the lease of {claim.unit_id} was {'' if is_lost else 'not '}over"

    def _renew_late(self, claim: Claim) -> None:
        is_live = claim.nonce in self.store.live_nonces()
        assert (self.store.renew(claim, done=0) is not Renewal.FENCED) == is_live

    def _record(self, claim: Claim, call: Callable[[], object]) -> None:
        """How a unit ended, unless it is called off: that goes before."""
        if is_called_off(self.folder, claim.record):
            with suppress(IllegalMove, RecordNotFound):
                self.store.cancel(claim.record.id)
            call = partial(self.store.stopped, claim)
        self._write(claim, call)

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
