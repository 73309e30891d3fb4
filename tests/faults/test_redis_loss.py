"""Redis is killed, silent or full while a job runs: it goes on, and its end is told afterwards."""

import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest
import redis

from tests.black_hole import BlackHole
from tests.faults.worlds import JOB, result_of
from tests.serving import RunningServer, wait_until
from tests.valkeys import Mortal, mortal_valkey
from workers.jobs import Status
from workers.settings import Settings
from workers.store import connect
from workers.worker import EXIT_FENCED

LONG = pytest.mark.long
#: An answer while Redis is away must not take longer, in seconds.
PROMPT = 3


@dataclass(frozen=True)
class Place:
    """A Redis, and the way to it on which all go but the tests themselves."""

    server: Mortal
    line: BlackHole


@pytest.fixture(scope="module")
def place():
    with mortal_valkey() as server, BlackHole(str(server.socket)) as line:
        yield Place(server, line)


@pytest.fixture
def world_before(new_world, place):
    """To make a world that is about to begin a phase."""

    def make(phase, grace_seconds):
        place.line.heal()
        with redis.Redis.from_url(place.server.url) as client:
            client.flushall()
        world = new_world(at=place.server.url, before=phase)
        world.reaper.grace_seconds = grace_seconds
        world.submit()
        return world

    return make


@contextmanager
def api_of(world, place):
    away = {"redis_url": place.line.url, "reap_seconds": 600}
    settings = Settings(**{**world.settings.model_dump(), **away})
    with RunningServer(settings) as service, httpx.Client(base_url=service.url) as client:
        client.get(f"/v1/jobs/{JOB}")  # it has connections that can break
        yield client


@contextmanager
def killed(place):
    place.server.kill()
    yield
    place.server.start()


@contextmanager
def silent(place):
    place.line.fall_silent()
    yield
    place.line.heal()


@contextmanager
def mute(place):
    """What is asked is done, but nobody hears so."""
    place.line.fall_silent(only_answers=True)
    yield
    place.line.heal()


@contextmanager
def full(place):
    with redis.Redis.from_url(place.server.url) as admin:
        admin.config_set("maxmemory", 1)
        yield
        admin.config_set("maxmemory", 0)


def check_api(api, break_it):
    """It says what is amiss, and says it soon."""
    body = {"dataset_id": "ds_1", "classes": ["a", "b"], "preset": "tiny"}
    calls = [("GET", f"/v1/jobs/{JOB}", None), ("POST", "/v1/jobs", body)]
    for method, path, content in calls[break_it is full :]:  # a full one can be read
        started = time.monotonic()
        reply = api.request(method, path, json=content)
        assert time.monotonic() - started < PROMPT, path
        assert (reply.status_code, reply.json()["code"]) == (503, "redis_unavailable"), path
        assert int(reply.headers["retry-after"]) > 0
    assert api.get("/livez").status_code == 200


def wait_for_output(world, phase):
    wait_until(lambda: any(world.folder.phases.glob(f"{phase}-*")), seconds=60)


def outages():
    """How Redis is away, in which phase, and for how many seconds more than the unit takes."""
    yield pytest.param((killed, "train", 0), id="killed-train")
    for break_it, phase, seconds in (
        *((killed, "embed", 4), (killed, "train", 30), (silent, "embed", 4)),
        *((mute, "train", 4), (full, "embed", 4)),
    ):
        name = f"{break_it.__name__}-{phase}-{seconds}"
        yield pytest.param((break_it, phase, seconds), id=name, marks=LONG)


@pytest.mark.parametrize("outage", [*outages()])
def test_a_unit_that_ends_meanwhile_is_recorded_afterwards(world_before, golden, place, outage):
    break_it, phase, seconds = outage
    world = world_before(phase, grace_seconds=15)  # a worker that was cut off comes first
    with api_of(world, place) as api:
        hand = world.hand(f"unit.batch@{phase}=stop", redis_url=place.line.url)
        world.live_until(hand.is_stopped)
        asked = set(world.folder.jobs.iterdir())
        with break_it(place):
            hand.signal(signal.SIGCONT)
            wait_until(lambda: any(world.folder.phases.glob(f"{phase}-*")), seconds=60)
            check_api(api, break_it)
            time.sleep(seconds)  # the outage itself

        world.succeed()
        wait_until(lambda: api.get(f"/v1/jobs/{JOB}").json().get("status") == "succeeded")

    assert world.attempts("lost") == {}
    assert hand.ends == []
    assert result_of(world).differences(golden.result) == []
    if break_it is full:  # what was refused by name does not come to life later
        assert set(world.folder.jobs.iterdir()) == asked


@pytest.mark.parametrize("seconds", [0, pytest.param(60, marks=LONG)])
def test_a_worker_cut_off_for_longer_than_its_lease_yields_and_changes_no_byte(
    world_before, golden, place, seconds
):
    world = world_before("train", grace_seconds=1)
    with api_of(world, place) as api:
        # It has the unit in hand and lives: its heart beats all the time.
        cut_off = world.hand("unit.batch@train=hang", redis_url=place.line.url)
        world.watch_until(lambda: "fault.met" in cut_off.said)
        place.line.fall_silent()
        world.hand(name="second")
        world.end_lease(cut_off)
        world.live_until(lambda: world.attempts("lost"))
        if seconds:
            time.sleep(seconds)  # the outage itself
            check_api(api, silent)
        world.watch_until(lambda: "heartbeat.unheard" in cut_off.said)
        assert not cut_off.is_dead()
        place.line.heal()

        world.live_until(lambda: cut_off.ends)
        world.succeed()

    assert cut_off.ends == [EXIT_FENCED]
    assert "claim.lost" in cut_off.said
    assert world.attempts("lost") == {"train": 1}
    assert result_of(world).differences(golden.result) == []


def test_a_line_that_is_taken_and_closed_again_and_again_is_an_error_of_redis(place):
    """What stands before a Redis that is down may be up."""
    with connect(Settings(redis_url=place.line.url)) as client:
        client.ping()
        place.server.kill()
        try:
            for connection in client.connection_pool._available_connections:
                connection.next_health_check = 0  # nobody has used it for a while
            with pytest.raises(redis.ConnectionError):
                client.ping()
        finally:
            place.server.start()
        assert client.ping()


def test_an_emptied_redis_knows_nothing_and_says_so(world_before, place):
    world = world_before("embed", grace_seconds=1)
    with api_of(world, place) as api:
        assert api.get(f"/v1/jobs/{JOB}").json()["status"] == Status.QUEUED

        world.store.redis.flushall()

        reply = api.get(f"/v1/jobs/{JOB}")
        assert (reply.status_code, reply.json()["code"]) == (404, "job_not_found")
    assert (world.folder.job(JOB) / "request.json").exists()
