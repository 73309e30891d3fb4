"""Finds lost work by its lease, rings for work that waits, sweeps staging."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog
from redis import RedisError

from workers.events import Line
from workers.fault_points import fault
from workers.jobs import Lane, Record, Status, split_unit_id
from workers.outcomes import Outputs
from workers.settings import Settings
from workers.store import IllegalMove, RecordNotFound, Store

logger = structlog.get_logger()

#: Most doorbells that one pass rings for a lane.
MAX_RINGS = 8
#: A lane is not rung for again before this, in seconds.
RING_PAUSE_SECONDS = 5.0
#: How often abandoned staging folders are looked for, in seconds.
SWEEP_SECONDS = 60.0


class Reaper:
    """One a process; any number of them may run, because each of their acts is atomic.

    Args:
        ring: rings a lane's doorbell so many times.
        sweep: removes staging folders that belong to none of the given nonces.
        keep_end: whether the disk has the end of a record, with its outputs; writes it if not.
        keep_log: whether the disk has the log of a job that is over; writes it if not. Without it
            logs stay in Redis.
        ended: how a record has ended as the disk tells it. That stands: Redis may have lost its
            last second.
        clock: seconds that never go back. Leases are judged by the clock of Redis, but acted
            on only when they stayed expired for a while by this one: after an outage of Redis,
            or a leap of its clock, the workers come first.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        ring: Callable[[Lane, int], None],
        sweep: Callable[[set[str]], object],
        keep_end: Callable[[Record, Outputs], bool],
        keep_log: Callable[[str, Sequence[Line]], bool] | None = None,
        ended: Callable[[Record], Status | None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._ring, self._sweep, self._clock = store, ring, sweep, clock
        self._keep_end, self._keep_log, self._ended = keep_end, keep_log, ended
        self._reap_seconds = settings.reap_seconds
        self.grace_seconds = min(15.0, settings.lease_seconds / 4)
        self._expired_since: dict[tuple[str, str], float] = {}
        self._rung_at: dict[Lane, float] = {}
        self._swept_at: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def run_once(self) -> None:
        self._requeue_lost()
        self._keep_ends()
        self._keep_logs()
        for lane in Lane:
            self._ring_if_waiting(lane)
        self._sweep_sometimes()

    def _run(self) -> None:
        while not self._stop.wait(self._reap_seconds):
            try:
                self.run_once()
            except RedisError as error:
                logger.warning("reaper.unheard", error=str(error))
            except Exception:
                logger.exception("reaper.failed")

    def _requeue_lost(self) -> None:
        now = self._clock()
        try:
            expired = self._store.expired()
        except RedisError:
            self._expired_since.clear()  # after the outage the workers come first
            raise
        self._expired_since = {claim: self._expired_since.get(claim, now) for claim in expired}
        for (unit, nonce), since in self._expired_since.items():
            if since < now and now - since >= self.grace_seconds:
                try:
                    self._requeue(unit, nonce)
                except OSError as error:  # of its end on disk; the next pass looks again
                    logger.warning("end.unread", unit=unit, error=str(error))

    def _requeue(self, unit: str, nonce: str) -> None:
        record_id, phase, number = split_unit_id(unit)
        try:
            record = self._store.get(record_id)
        except RecordNotFound:
            return  # it ended, and was deleted meanwhile
        ended = self._ended(record)
        if ended is Status.CANCELLED:
            with suppress(IllegalMove, RecordNotFound):
                self._store.cancel(record_id)
        fault("reaper.before_requeue", unit, redis=self._store.redis)
        status = self._store.requeue(unit, nonce, give_up=ended is not Status.SUCCEEDED)
        fault("reaper.after_requeue", unit, redis=self._store.redis)
        if status is None:
            return  # its worker came back, or another reaper was first
        logger.warning(
            "unit.lost",
            request_id=record.request_id,
            record=record_id,
            phase=phase,
            unit=number,
            status=status,
        )

    def _keep_ends(self) -> None:
        """What ended in Redis alone ends on disk too, whoever died before it was written."""
        for record_id in self._store.unkept():
            with suppress(RecordNotFound):  # deleted meanwhile
                record = self._store.get(record_id)
                if self._keep_end(record, self._store.outputs(record_id)):
                    self._store.mark_kept(record_id)

    def _keep_logs(self) -> None:
        """The log of a job that is over goes to disk: Redis has no room for all of them."""
        if self._keep_log is None:
            return
        for job_id in self._store.unwritten():
            if self._keep_log(job_id, self._store.lines(job_id)):
                self._store.mark_written(job_id)

    def _ring_if_waiting(self, lane: Lane) -> None:
        now = self._clock()
        if now - self._rung_at.get(lane, float("-inf")) < RING_PAUSE_SECONDS:
            return
        waiting = self._store.waiting(lane)
        if waiting:
            self._ring(lane, min(waiting, MAX_RINGS))
            self._rung_at[lane] = now

    def _sweep_sometimes(self) -> None:
        now = self._clock()
        if self._swept_at is None or now - self._swept_at >= SWEEP_SECONDS:
            self._sweep(self._store.live_nonces())
            self._swept_at = now
