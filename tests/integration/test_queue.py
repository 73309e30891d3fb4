"""Doorbells on a real broker."""

import json
import socket
import threading
import time

import pytest
from structlog.testing import capture_logs

from workers.jobs import Lane
from workers.queue import make_celery, ring
from workers.settings import Settings
from workers.store import connect

BELLS = "ccd:bell:method"


@pytest.fixture
def celery(redis_url):
    with make_celery(Settings(redis_url=redis_url)) as app:
        yield app


@pytest.fixture
def log_output():
    with capture_logs() as events:
        yield events
    for thread in threading.enumerate():
        if thread.name == "ring":
            thread.join()


def test_a_bell_is_one_message_without_arguments(celery, redis_client):
    ring(celery, Lane.METHOD)

    [message] = redis_client.lrange(BELLS, 0, -1)
    assert json.loads(message)["headers"]["task"] == "ccd.work"
    assert json.loads(message)["headers"]["argsrepr"] == "()"
    assert json.loads(message)["headers"]["kwargsrepr"] == "{}"


def test_a_lane_has_bells_of_its_own(celery, redis_client):
    ring(celery, Lane.IO, 2)

    assert redis_client.llen("ccd:bell:io") == 2
    assert redis_client.llen(BELLS) == 0


def test_bells_that_nobody_has_heard_are_not_rung_twice(celery, redis_client):
    for count in (2, 1, 2, 3):
        ring(celery, Lane.METHOD, count)

    assert redis_client.llen(BELLS) == 3


def test_no_bell_is_rung_for_nothing(celery, redis_client):
    ring(celery, Lane.METHOD, 0)

    assert redis_client.keys() == []


def test_all_keys_of_celery_lie_beside_ours(celery, redis_client):
    ring(celery, Lane.METHOD)

    assert all(key.startswith("ccd:bell:") for key in redis_client.keys("*"))


def test_a_database_in_the_address_is_the_broker_s_too(redis_url):
    settings = Settings(redis_url=f"{redis_url}?db=3")
    with make_celery(settings) as celery, connect(settings) as client:
        ring(celery, Lane.METHOD)

        assert client.llen(BELLS) == 1


def test_a_ring_without_redis_is_logged_and_not_raised(tmp_path, log_output):
    with make_celery(Settings(redis_url=f"unix://{tmp_path}/nobody.sock")) as celery:
        started = time.monotonic()
        ring(celery, Lane.METHOD)

    assert time.monotonic() - started < 3.5
    assert [event["event"] for event in log_output] in (["doorbell.failed"], ["doorbell.late"])


def test_a_ring_to_a_redis_that_does_not_answer_gives_up_after_3_seconds(log_output):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        with make_celery(Settings(redis_url=url)) as celery:
            started = time.monotonic()
            ring(celery, Lane.METHOD)
            took = time.monotonic() - started

    assert took < 3.5
    assert [event["event"] for event in log_output] == ["doorbell.late"]
