"""A worker process: claim a unit, run it, record it, and again until nothing is left.

Light until a unit is in hand: what needs torch is imported with the first one.
"""

from __future__ import annotations

import contextvars
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

import structlog
from redis.exceptions import RedisError

from workers.fault_points import fault
from workers.files import DataFolder, DiskFull, is_disk_full
from workers.halving import StillOutOfMemory, batch_of, ran_out_of_memory
from workers.jobs import Claim, JobError, Lane, Record, Status
from workers.log import recent_lines
from workers.outcomes import Ending, ending_of, is_called_off, try_write_end, write_success
from workers.outputs import StoredOutputs
from workers.records import MEASURABLE_SECONDS
from workers.registry import Registry
from workers.settings import Settings
from workers.signs import signs_now
from workers.stalls import stall_seconds
from workers.store import (
    IllegalMove,
    OutputGoing,
    RecordNotFound,
    Renewal,
    StaleClaim,
    Store,
)

if TYPE_CHECKING:
    from workers.units import Finished, Workbench

T = TypeVar("T")

logger = structlog.get_logger()

#: After this long one doorbell rings for the next and ends, so that no Celery task is endless.
RING_AGAIN_SECONDS = 3600
#: How long a worker waits for a Redis that does not answer.
REDIS_SECONDS = 600
#: How long it leaves it alone between two calls.
RETRY_SECONDS = 1.0
#: After this long a unit is tried again whose output is being removed: whoever removes it may have
#: died, and then it stays so for a minute.
GOING_AGAIN_SECONDS = 5.0
#: Exit status of a process that lost its claim, stopped making progress, or was not done in time
#: with a unit that had to stop.
EXIT_FENCED, EXIT_STALLED, EXIT_LATE = 70, 71, 72


class Halted(Exception):
    """The unit in hand has to stop: its job is cancelled, the worker drains, or Redis is gone."""


class Heartbeat:
    """Renews one claim from a thread and carries progress; ends the process when it must.

    The process ends when the nonce is refused (the unit is somebody else's now), when `done` has
    not moved for the stall limit (a hung kernel keeps a mere alive-signal going), or when the unit
    should stop and does not: what fetches weights, or is one long step, comes by no batch.
    """

    def __init__(
        self,
        store: Store,
        claim: Claim,
        settings: Settings,
        is_draining: Callable[[], bool],
        end_process: Callable[[int], Any] = os._exit,
    ) -> None:
        self._store, self._claim, self._settings = store, claim, settings
        self._is_draining, self._end_process = is_draining, end_process
        self._done = self._total = 0
        self._started_at = self._moved_at = time.monotonic()
        self._over = threading.Event()
        # In the context of the unit, so that what the thread logs bears its names too.
        run = contextvars.copy_context().run
        self._thread = threading.Thread(
            target=run, args=(self._beat,), name="heartbeat", daemon=True
        )
        self.is_cancelled = False
        self._told_to_stop_at: float | None = None
        #: Held while the outcome is written: a unit that is about to end is not given back.
        self.recording = threading.Lock()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def on_batch(self, done: int, total: int = 0) -> None:
        """Note how many images of the unit are done, of `total`; raise `Halted` if it should stop.

        A total of 0 is one that the unit does not know.
        """
        self._done, self._total = done, total
        self._moved_at = time.monotonic()
        fault("unit.batch", self._claim.unit_id, redis=self._store.redis)
        if self.is_cancelled or self._is_draining():
            raise Halted

    def images_per_second(self) -> float | None:
        """Over the time of this unit; None until that tells anything."""
        seconds = time.monotonic() - self._started_at
        return self._done / seconds if self._done and seconds >= MEASURABLE_SECONDS else None

    def _beat(self) -> None:
        limit = stall_seconds(self._claim.phase, self._settings)
        while not self._over.wait(self._settings.heartbeat_seconds):
            is_stalled = time.monotonic() - self._moved_at > limit
            if is_stalled:
                logger.error("unit.stalled", seconds=limit)
            answer = self._renew()
            if is_stalled:
                self._end_process(EXIT_STALLED)
            if answer is Renewal.FENCED and not self._over.is_set():
                logger.error("claim.lost")
                self._end_process(EXIT_FENCED)
            if answer is not None:
                # Once heard it stands: a Redis that says otherwise later has forgotten it.
                self.is_cancelled |= answer is Renewal.CANCEL
            if self._is_late() and self._give_back():
                logger.error("unit.late", cancelled=self.is_cancelled)
                self._end_process(EXIT_LATE)

    def _is_late(self) -> bool:
        """Whether the unit should have stopped long ago."""
        now = time.monotonic()
        if not self.is_cancelled and not self._is_draining():
            self._told_to_stop_at = None
        elif self._told_to_stop_at is None:
            self._told_to_stop_at = now
        told_at = self._told_to_stop_at
        return told_at is not None and now - told_at >= self._settings.stop_seconds

    def _give_back(self) -> bool:
        """Whether the unit is no longer this process's; nothing that it still does counts."""
        if self._over.is_set() or not self.recording.acquire(blocking=False):
            return False  # it ends by itself
        try:
            if self.is_cancelled:
                with suppress(IllegalMove, RecordNotFound):  # as it should be
                    self._store.cancel(self._claim.record.id)
            self._store.give_back(self._claim)
        except StaleClaim:
            return True
        except RedisError as error:
            logger.warning("heartbeat.unheard", error=str(error))
            return False
        else:
            return True
        finally:
            self.recording.release()

    def _renew(self) -> Renewal | None:
        """The answer of the store, None where it does not answer."""
        signs = signs_now(recent_lines())
        try:
            return self._store.renew(self._claim, done=self._done, total=self._total, signs=signs)
        except RedisError as error:
            logger.warning("heartbeat.unheard", error=str(error))
            return None


class Worker:
    """One worker process: claims units of its lane and runs them; `ring` wakes the others."""

    def __init__(
        self,
        lane: Lane,
        *,
        settings: Settings,
        store: Store,
        name: str,
        is_draining: Callable[[], bool],
        ring: Callable[[Lane, int], object],
        device: str = "",
    ) -> None:
        """`device` is the kind that it computes on, for units that have to know."""
        self.lane, self.settings, self.store, self.name = lane, settings, store, name
        self.device = device
        self.is_draining, self.ring = is_draining, ring
        self.folder = DataFolder(settings.data)
        self._bench: Workbench | None = None
        self._in_hand: tuple[Claim, Heartbeat] | None = None
        self._last_rate: float | None = None

    def bury_predecessor(self) -> None:
        """End the leases of the process that this one replaces; it had the same name."""
        try:
            self.store.release(self.name)
        except RedisError as error:
            logger.warning("leases.unreleased", error=str(error))

    def at_work(self) -> tuple[str | None, float | None]:
        """Id of the unit in hand, and images a second: its own, or of the last that told them."""
        held = self._in_hand
        if held is None:
            return None, self._last_rate
        claim, beat = held
        return claim.unit_id, beat.images_per_second() or self._last_rate

    def run_until_empty(self) -> None:
        """Claim and run units until the lane is empty, the worker drains, or an hour is over."""
        ends_at = time.monotonic() + RING_AGAIN_SECONDS
        while not self.is_draining():
            if time.monotonic() > ends_at:
                self.ring(self.lane, 1)
                return
            claim = self._claim()
            if claim is None:
                return
            self.run(claim)

    def _claim(self) -> Claim | None:
        """Asks with one nonce until it is answered: a claim whose answer was lost is ours."""
        nonce = secrets.token_hex(16)
        claim = partial(self.store.claim, self.lane, device=self.device)
        return self._insist(partial(claim, worker=self.name, nonce=nonce))

    def run(self, claim: Claim) -> None:
        """Run one unit to one outcome, and record it."""
        record = claim.record
        started = time.monotonic()
        with structlog.contextvars.bound_contextvars(
            request_id=record.request_id,
            record=record.id,
            phase=claim.phase,
            unit=claim.unit,
            attempt=claim.attempt,
        ):
            recent_lines(forget=True)  # those of the unit before
            logger.info("unit.started")
            outcome = self._attempt(claim)
            logger.info("unit.ended", outcome=outcome, seconds=time.monotonic() - started)

    def _attempt(self, claim: Claim) -> str:
        if is_called_off(self.folder, claim.record):
            return self._record(self._cancelled, claim)
        try:
            ending = ending_of(self.folder, claim.record)
        except OSError as error:
            return self._record(self._failed, claim, error=error)
        if ending is not None and ending.status is Status.FAILED:
            return self._record(self._failed_before, claim, ending=ending)
        try:
            with (
                Heartbeat(self.store, claim, self.settings, self.is_draining) as beat,
                self._holding(claim, beat),
            ):
                fault("unit.started", claim.unit_id, redis=self.store.redis)
                finished = self._work(claim, beat.on_batch)
                with beat.recording:
                    self._ask(partial(self._write_success, claim, finished))
        except Halted:
            return self._record(self._halted, claim, cancelled=beat.is_cancelled)
        except Exception as error:  # noqa: BLE001 - every failure of a unit ends its record
            return self._record(self._failed, claim, error=error)
        return self._record(self._completed, claim, finished=finished)

    @contextmanager
    def _holding(self, claim: Claim, beat: Heartbeat) -> Iterator[None]:
        self._in_hand = (claim, beat)
        try:
            yield
        finally:
            self._in_hand = None
            self._last_rate = beat.images_per_second() or self._last_rate

    def _work(self, claim: Claim, on_batch: Callable[..., None]) -> Finished:
        from workers import phases, units  # the heavy half, only with a unit in hand

        if self._bench is None:
            self._bench = units.Workbench(self.settings, self.folder)
        outputs = StoredOutputs(self.store, claim.record.id, self._ask)
        run = partial(phases.run_unit, claim, outputs, self._bench, on_batch)
        try:
            return run()
        except Exception as error:
            if batch_of(claim) is None or not ran_out_of_memory(error):
                raise
            logger.warning("batch.halved", error=str(error))
        # Here the error is gone, and with it all that its frames held.
        self._bench.free_memory()
        on_batch(0)
        return _run_halved(run, claim)

    def _write_success(self, claim: Claim, finished: Finished) -> None:
        """The outcome on disk before it is final in Redis, which can be rebuilt from it."""
        is_last = claim.phase == claim.record.phases[-1].name and not finished.plan
        if not is_last or self.store.renew(claim, done=finished.done) is Renewal.FENCED:
            return
        outputs = {
            **self.store.outputs(claim.record.id),
            (claim.phase, claim.unit): finished.output,
        }
        write_success(self.folder, claim.record, outputs, facts=finished.facts, done=finished.done)

    def _completed(self, claim: Claim, *, finished: Finished) -> str:
        fault("unit.published", claim.unit_id, redis=self.store.redis)
        try:
            rings = self.store.complete(
                claim,
                output=finished.output,
                done=finished.done,
                plan=finished.plan,
                facts=finished.facts,
                reused=finished.reused,
            )
        except OutputGoing as error:  # removed with a record that had it too: made again
            logger.warning("output.going", error=str(error))
            self.store.give_back(claim, after_seconds=GOING_AGAIN_SECONDS)
            return "given back"
        fault("unit.recorded", claim.unit_id, redis=self.store.redis)
        for lane, count in rings.items():
            # This process takes one unit of its own lane itself.
            others = count - 1 if lane == self.lane else count
            self.ring(lane, self._useful_bells(lane, others))
        return "completed"

    def _useful_bells(self, lane: Lane, units: int) -> int:
        """One a worker, since each that hears one takes unit after unit.

        For one that comes later the reapers ring.
        """
        if units <= 1:
            return units
        try:
            there = sum(entry.standing.lane is lane for entry in Registry(self.store).list())
        except RedisError:
            there = 1
        return min(units, max(1, there))

    def _failed_before(self, claim: Claim, *, ending: Ending) -> str:
        """Redis lost its last second, and in it this end, which somebody may have seen."""
        logger.warning("end.repeated", status=ending.status)
        assert ending.error is not None, "a failure has one"
        self.store.fail(claim, ending.error)
        return str(ending.status)

    def _cancelled(self, claim: Claim) -> str:
        """Also where Redis forgot that it is to be cancelled."""
        with suppress(IllegalMove, RecordNotFound):  # cancelled meanwhile, and perhaps deleted
            self.store.cancel(claim.record.id)
        self.store.stopped(claim)
        return str(Status.CANCELLED)

    def _halted(self, claim: Claim, *, cancelled: bool) -> str:
        if cancelled:
            return self._cancelled(claim)
        self.store.give_back(claim)
        return "given back"

    def _failed(self, claim: Claim, *, error: Exception) -> str:
        failure = describe(error, claim.phase)
        # What has a code of its own is told in the record, where it may name the user's files.
        is_expected = isinstance(getattr(error, "code", None), str)
        logger.error("unit.failed", code=failure.code, exc_info=None if is_expected else error)
        if self.store.renew(claim, done=0) is Renewal.OK:  # still ours, and not to be cancelled
            self._write_failure(claim.record, failure)
        self.store.fail(claim, failure)
        return failure.code

    def _write_failure(self, record: Record, failure: JobError) -> None:
        """The outcome on disk before it is final in Redis; a full disk does not hide it."""
        outputs = self.store.outputs(record.id)
        try_write_end(self.folder, record, outputs, status=Status.FAILED, error=failure)

    def _record(self, end: Callable[..., str], claim: Claim, **outcome: Any) -> str:
        """Tell the record how the unit ended, unless it is called off: that goes before."""

        def tell() -> str:
            if is_called_off(self.folder, claim.record):
                return self._cancelled(claim)
            return end(claim, **outcome)

        try:
            return self._insist(tell)
        except StaleClaim:
            return "lost to another worker"

    def _insist(self, call: Callable[[], T]) -> T:
        """The answer of Redis, asked for as long as it may need to come back."""
        gives_up_at = time.monotonic() + REDIS_SECONDS
        wait = threading.Event().wait
        while True:
            try:
                return call()
            except RedisError:
                if time.monotonic() > gives_up_at or self.is_draining():
                    raise
                wait(RETRY_SECONDS)

    def _ask(self, call: Callable[[], T]) -> T:
        """The same for a unit at work: a Redis that stays away ends it, and is no failure of it."""
        try:
            return self._insist(call)
        except RedisError as error:
            raise Halted from error


def _run_halved(run: Callable[..., Finished], claim: Claim) -> Finished:
    """The second and last try."""
    found = batch_of(claim)
    assert found is not None, "the caller has seen to it"
    try:
        return run(is_halved=True)
    except Exception as error:
        if ran_out_of_memory(error):
            raise StillOutOfMemory(*found, error) from error
        raise


def describe(error: Exception, phase: str) -> JobError:
    """What a user is told of a unit's failure: errors with a code speak for themselves."""
    code = getattr(error, "code", None)
    if is_disk_full(error) and code != DiskFull.code:
        error, code = DiskFull("no space is left on the disk of the data folder"), DiskFull.code
    message = str(error) or type(error).__name__
    if ran_out_of_memory(error):
        message = f"{message}; the process of the worker has taken up to {signs_now(()).peak}"
    if isinstance(code, str):
        return JobError(
            code=code,
            phase=phase,
            message=message,
            hint=getattr(error, "hint", None),
            retryable=bool(getattr(error, "retryable", False)),
        )
    if ran_out_of_memory(error):
        return JobError(
            code="out_of_memory",
            phase=phase,
            message=f"memory ran out: {message}",
            hint="start the job again with a smaller batch_size or teacher_batch in config",
            retryable=False,
        )
    return JobError(
        code="internal_error",
        phase=phase,
        message=f"an unexpected {type(error).__name__} ended the work",
        hint="the worker's log has the details; look there for this id",
        retryable=True,
    )
