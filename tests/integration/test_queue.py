"""Doorbells on a real broker."""

import json
import socket
import threading
import time

import pytest
from redis import Redis
from structlog.testing import capture_logs

from tests.valkeys import Mortal
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


def test_rings_share_a_connection(celery, redis_client):
    ring(celery, Lane.METHOD)
    before = redis_client.info("stats")["total_connections_received"]
    for _ in range(20):
        ring(celery, Lane.METHOD)

    assert redis_client.info("stats")["total_connections_received"] == before


def test_more_rings_at_once_than_connections_all_come_through(celery, redis_client, log_output):
    threads = [threading.Thread(target=ring, args=(celery, Lane.METHOD, n)) for n in range(1, 31)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert redis_client.llen(BELLS) >= 30
    assert log_output == []


def test_a_ring_after_redis_was_started_again_is_heard(tmp_path, log_output):
    server = Mortal(tmp_path)
    with (
        make_celery(Settings(redis_url=server.url)) as celery,
        Redis.from_url(server.url) as client,
    ):
        ring(celery, Lane.METHOD)
        client.flushall()
        server.kill()
        server.start()
        ring(celery, Lane.METHOD)
        heard = client.llen(BELLS)
    server.kill()

    assert heard == 1
    assert log_output == []
