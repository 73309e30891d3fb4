"""The Celery app and its settings; ring(), the only door from the API to the workers."""

import contextvars
import threading
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import structlog
from celery import Celery
from kombu.entity import Queue

from workers.jobs import Lane
from workers.settings import Settings

logger = structlog.get_logger()

TASK_NAME = "ccd.work"
#: A ring that takes longer is left to itself: the record is stored, the reaper rings again.
RING_SECONDS = 3.0
#: Longer than any unit, so that Redis never delivers a bell that is being answered again.
VISIBILITY_SECONDS = 7 * 24 * 3600
#: Before the names of Celery's keys; beside ours in the same database.
KEY_PREFIX = "ccd:bell:"


def make_celery(settings: Settings) -> Celery:
    """The Celery app. A message is only a doorbell, so none is worth a second delivery."""
    if settings.redis_url is None:
        raise ValueError("CCD_REDIS_URL is not set; name a Redis or use `ccd serve`")
    app = Celery("ccd", set_as_current=False)
    app.conf.update(
        broker_url=broker_url(settings.redis_url),
        broker_transport_options={
            "visibility_timeout": VISIBILITY_SECONDS,
            "socket_timeout": 30,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "global_keyprefix": KEY_PREFIX,
        },
        visibility_timeout=VISIBILITY_SECONDS,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Nothing is worth keeping of a doorbell. A result backend makes publishing wait 19 s
        # when Redis is away.
        result_backend=None,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        # Acknowledged before the work, and none taken while at work: lost work is found by
        # its lease, never by Celery.
        task_acks_late=False,
        task_reject_on_worker_lost=False,
        task_retry_on_worker_lost=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        # A forked child cannot use CUDA. It stays, with torch loaded; importing torch takes
        # longer than the 4 s that Celery gives a child to come up.
        worker_pool="prefork",
        worker_pool_start_method="spawn",
        worker_concurrency=1,
        worker_max_tasks_per_child=None,
        worker_proc_alive_timeout=120,
        task_time_limit=None,
        task_soft_time_limit=None,
        # True, the default of Celery 6, kills the running unit when Redis is away for 4 s.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        # The log goes to the stream that the supervisor keeps, tracebacks included.
        worker_redirect_stdouts=False,
        task_queues=[Queue(lane.value) for lane in Lane],  # type: ignore[no-untyped-call]
        task_default_queue=Lane.METHOD.value,
        task_create_missing_queues=False,
    )
    return app


def broker_url(redis_url: str) -> str:
    """The address as Celery names it: unix://PATH?db=1 is redis+socket://PATH?virtual_host=1."""
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    names = {"db": "virtual_host"}
    query = urlencode([(names.get(name, name), value) for name, value in parse_qsl(parts.query)])
    return f"redis+socket://{parts.netloc}{parts.path}" + (f"?{query}" if query else "")


def ring(celery: Celery, lane: Lane, count: int = 1) -> None:
    """Rings until `count` bells of the lane are unheard; never raises, returns within 3 s.

    A bell that nobody has heard yet serves for newer work too, so a lane without a worker
    does not fill Redis with bells.
    """
    if count < 1:
        return
    run = contextvars.copy_context().run  # its log lines bear the names of what it rings for
    thread = threading.Thread(
        target=run, args=(_ring, celery, lane, count), name="ring", daemon=True
    )
    thread.start()
    thread.join(RING_SECONDS)
    if thread.is_alive():
        logger.warning("doorbell.late", lane=lane, seconds=RING_SECONDS)


def _ring(celery: Celery, lane: Lane, count: int) -> None:
    try:
        # A connection of the pool: making one costs more than all else of a submission.
        with celery.pool.acquire(block=True, timeout=RING_SECONDS) as connection:
            missing = count - _unheard(connection, lane)
            for _ in range(missing):
                celery.send_task(TASK_NAME, queue=lane.value, connection=connection, retry=False)
    except Exception as error:  # noqa: BLE001 - the record is stored: no ring is worth a failure
        logger.warning("doorbell.failed", lane=lane, error=str(error))


def _unheard(connection: Any, lane: Lane) -> int:
    return int(connection.default_channel.queue_declare(queue=lane.value).message_count)
