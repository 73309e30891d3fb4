"""A worker's place among the workers: a thread of its process that says what it is and does.

And a thread of its main process that listens whether it still does.
"""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog
from redis.exceptions import RedisError

from models.config import METHOD_VERSION
from workers.devices import Device, find_device
from workers.jobs import Lane
from workers.registry import Registry, Standing
from workers.version import code_version
from workers.worker import Worker

logger = structlog.get_logger()

#: However short a lease is, a process may be without a word for so long, in seconds: it loads what
#: it needs from a cold disk, or a busy machine does not let it.
SILENCE_SECONDS = 30.0
#: How often the device is asked for its memory, in seconds.
DEVICE_SECONDS = 15.0


class Presence:
    """Tells the registry of one worker from `start` to `stop`.

    Args:
        worker: whose child process this is.
        registry: is told.
        pid: of the worker's main process.
    """

    def __init__(self, worker: Worker, registry: Registry, *, pid: int) -> None:
        self._worker, self._registry, self._pid = worker, registry, pid
        # Everything in lane io runs on the CPU.
        self._wanted = worker.settings.device if worker.lane is Lane.METHOD else "cpu"
        self._device: tuple[float, Device] | None = None
        self._is_heard = True
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        """Take the place of the process before, which had the same name."""
        with suppress(RedisError):
            self._registry.forget(self._worker.name)
        self._thread.start()

    def stop(self) -> None:
        """Leave; a worker that cannot is forgotten after a lease."""
        self._over.set()
        self._thread.join()
        with suppress(RedisError):
            self._registry.forget(self._worker.name)

    def standing(self) -> Standing:
        """The worker at this moment."""
        device, (unit, rate) = self._look(), self._worker.at_work()
        return Standing(
            name=self._worker.name,
            lane=self._worker.lane,
            host=socket.gethostname(),
            pid=self._pid,
            version=code_version(),
            method=METHOD_VERSION,
            device=device.name,
            gpu=device.uuid,
            memory_bytes=device.memory_bytes,
            memory_used_bytes=device.memory_used_bytes,
            gpu_utilization=device.utilization,
            draining=self._worker.is_draining(),
            unit=unit,
            images_per_second=rate,
        )

    def _run(self) -> None:
        while True:
            self._announce()
            if self._over.wait(self._worker.settings.heartbeat_seconds):
                return

    def _announce(self) -> None:
        try:
            self._registry.announce(self.standing())
            self._is_heard = True
        except RedisError as error:
            if self._is_heard:  # once an outage
                logger.warning("presence.unheard", error=str(error))
            self._is_heard = False

    def _look(self) -> Device:
        now = time.monotonic()
        if self._device is None or now - self._device[0] > DEVICE_SECONDS:
            self._device = (now, find_device(self._wanted))
        return self._device[1]


class Watch:
    """Kills a worker's process that has been silent for two leases while Redis answers.

    Whatever holds the interpreter's lock for so long, or stops the process, ends by no thread of
    its own: its unit is another's by then, but it keeps its memory and its GPU, and hears no bell.

    Args:
        registry: where its presence speaks.
        name: of the worker.
        lease_seconds: so long the registry remembers what it heard.
        kill: kills it; whoever started it starts another.
    """

    def __init__(
        self, registry: Registry, name: str, lease_seconds: float, kill: Callable[[], None]
    ) -> None:
        self._registry, self._name, self._kill = registry, name, kill
        self._pause = lease_seconds / 10  # the registry remembers for a lease
        # After so much longer.
        self._patience = max(lease_seconds, SILENCE_SECONDS)
        self._was_heard = False
        self._silent_since: float | None = None

    def run(self) -> None:
        """Listen until the process ends."""
        while True:
            time.sleep(self._pause)
            with suppress(RedisError):
                self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Once; one that was never heard may still be coming up."""
        since, self._silent_since = self._silent_since, None  # where Redis does not answer too
        if self._registry.has_heard(self._name):
            self._was_heard = True
        elif self._was_heard:
            self._silent_since = now if since is None else since
            if now - self._silent_since >= self._patience:
                logger.error("worker.silent", worker=self._name)
                self._was_heard = False
                self._kill()
