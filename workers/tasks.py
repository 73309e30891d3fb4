"""Celery's side of a worker: the doorbell task, and how its process starts and drains.

The message carries nothing; the record in Redis says what there is to do.
"""

import logging
import os
import signal
import tempfile
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from celery.signals import (
    celeryd_init,
    setup_logging,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from workers import fault_points, log
from workers.deletion import sweep
from workers.devices import device_kind
from workers.files import DataFolder
from workers.job_log import keep_log
from workers.jobs import Lane
from workers.outcomes import ended, keep_end
from workers.presence import Presence, Watch
from workers.queue import TASK_NAME, make_celery, ring
from workers.reaper import Reaper
from workers.registry import Registry, place, worker_name
from workers.settings import Settings
from workers.store import open_store
from workers.worker import Worker

settings = Settings()
celery_app = make_celery(settings)

_reaper: Reaper | None = None
_worker: Worker | None = None
_presence: Presence | None = None


def drain_flag(main_pid: int) -> Path:
    """The file by which a worker's main process tells its child to drain."""
    return Path(tempfile.gettempdir()) / f"ccd-drain-{place()}-{main_pid}"


@celeryd_init.connect
@setup_logging.connect
def _set_up_logging(**_: object) -> None:
    """In the main process and in its child, before the first line; Celery then sets up none."""
    logging.captureWarnings(capture=True)
    log.configure(settings.log_format, private=settings.allowed_roots)
    logging.getLogger("celery").setLevel(logging.WARNING)  # every bell is worth two lines to it


@worker_init.connect
def _forget_old_flag(**_: object) -> None:
    drain_flag(os.getpid()).unlink(missing_ok=True)


@worker_ready.connect
def _start_reaper(**_: object) -> None:
    global _reaper  # noqa: PLW0603 - one a main process, started where Celery allows it
    folder = DataFolder(settings.data)
    folder.create()
    fault_points.arm(settings.faults, settings.fault_marks)
    store = open_store(settings)
    _reaper = Reaper(
        store,
        settings,
        ring=partial(ring, celery_app),
        sweep=partial(sweep, store, folder),
        keep_end=partial(keep_end, folder),
        keep_log=partial(keep_log, folder),
        ended=partial(ended, folder),
    )
    _reaper.start()


@worker_ready.connect
def _watch_over_child(sender: Any, **_: object) -> None:
    def kill() -> None:
        for pid in sender.pool.info["processes"]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # the pool starts another

    registry = Registry(open_store(settings))
    name = worker_name(Lane(os.environ["CCD_LANE"]), os.getpid())
    watch = Watch(registry, name, settings.lease_seconds, kill)
    threading.Thread(target=watch.run, name="watch", daemon=True).start()


@worker_shutdown.connect
def _end(**_: object) -> None:
    if _reaper is not None:
        _reaper.stop()
    drain_flag(os.getpid()).unlink(missing_ok=True)  # its child has seen it: that ended before


@worker_shutting_down.connect
def _raise_flag(**_: object) -> None:
    drain_flag(os.getpid()).touch()


@worker_process_init.connect
def _start_worker(**_: object) -> None:
    global _worker, _presence  # noqa: PLW0603 - one a pool process, made where Celery allows it
    main_pid = os.getppid()
    lane = Lane(os.environ["CCD_LANE"])
    name = worker_name(lane, main_pid)
    structlog.contextvars.bind_contextvars(worker=name)
    fault_points.arm(settings.faults, settings.fault_marks)
    _worker = Worker(
        lane,
        settings=settings,
        store=open_store(settings),
        name=name,
        is_draining=drain_flag(main_pid).exists,
        ring=partial(ring, celery_app),
        device=device_kind(settings.device) if lane is Lane.METHOD else "",
    )
    _worker.bury_predecessor()
    _presence = Presence(_worker, Registry(_worker.store), pid=main_pid)
    _presence.start()


@worker_process_shutdown.connect
def _stop_worker(**_: object) -> None:
    if _presence is not None:
        _presence.stop()


@celery_app.task(name=TASK_NAME)
def work() -> None:
    """Answer a doorbell."""
    assert _worker is not None, "worker_process_init runs before the first task"
    _worker.run_until_empty()
