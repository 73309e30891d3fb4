"""Celery's settings, read back, and its form of the address."""

import pytest

from workers.queue import broker_url, make_celery
from workers.settings import Settings


@pytest.fixture
def conf():
    return make_celery(Settings(redis_url="redis://localhost:6379/1")).conf


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("result_backend", None),
        ("task_ignore_result", True),
        ("task_serializer", "json"),
        ("accept_content", ["json"]),
        ("result_accept_content", ["json"]),
        ("task_acks_late", False),
        ("task_reject_on_worker_lost", False),
        ("worker_prefetch_multiplier", 1),
        ("worker_disable_prefetch", True),
        ("worker_pool", "prefork"),
        ("worker_pool_start_method", "spawn"),
        ("worker_concurrency", 1),
        ("worker_max_tasks_per_child", None),
        ("task_time_limit", None),
        ("task_soft_time_limit", None),
        ("worker_proc_alive_timeout", 120),
        # True kills the running unit when Redis is away for 4 s; Celery 6 makes it the default.
        ("worker_cancel_long_running_tasks_on_connection_loss", False),
        ("broker_connection_max_retries", None),
        ("task_create_missing_queues", False),
        ("visibility_timeout", 604_800),
    ],
)
def test_a_setting_that_guards_against_lost_or_doubled_work(conf, setting, value):
    assert conf[setting] == value


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("visibility_timeout", 604_800),
        ("socket_timeout", 30),
        ("socket_connect_timeout", 2),
        ("socket_keepalive", True),
        ("health_check_interval", 10),
        ("global_keyprefix", "ccd:bell:"),
    ],
)
def test_an_option_of_the_transport(conf, option, value):
    assert conf.broker_transport_options[option] == value


def test_there_is_one_queue_a_lane(conf):
    assert sorted(queue.name for queue in conf.task_queues) == ["io", "method"]


def test_without_a_redis_there_is_no_celery():
    with pytest.raises(ValueError, match="CCD_REDIS_URL is not set"):
        make_celery(Settings(redis_url=None))


@pytest.mark.parametrize(
    ("redis_url", "celerys"),
    [
        ("redis://host:6379/2", "redis://host:6379/2"),
        ("rediss://:secret@host:6379/0", "rediss://:secret@host:6379/0"),
        ("unix:///run/ccd/valkey.sock", "redis+socket:///run/ccd/valkey.sock"),
        ("unix:///run/valkey.sock?db=1", "redis+socket:///run/valkey.sock?virtual_host=1"),
        ("unix://:secret@/run/v.sock?db=0", "redis+socket://:secret@/run/v.sock?virtual_host=0"),
    ],
)
def test_an_address_is_translated_for_celery(redis_url, celerys):
    assert broker_url(redis_url) == celerys
