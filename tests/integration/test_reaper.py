"""The reaper against a real Valkey, on a clock of the test's own."""

import errno
import os
import secrets
import threading
from functools import partial

import pytest
import redis
from structlog.testing import capture_logs

from workers.files import DataFolder, write_json
from workers.jobs import Kind, Lane, Phase, Status
from workers.outcomes import REQUEST, RESULT, ended, keep_end
from workers.reaper import MAX_RINGS, RING_PAUSE_SECONDS, SWEEP_SECONDS, Reaper
from workers.settings import Settings
from workers.store import Renewal, Store


class Clock:
    """Stands still until it is moved."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Heard:
    """Takes doorbells and sweeps and only notes them."""

    def __init__(self):
        self.rings, self.sweeps, self.ends = [], [], []

    def ring(self, lane, count):
        self.rings.append((lane, count))

    def sweep(self, live_nonces):
        self.sweeps.append(live_nonces)

    def keep_end(self, record, outputs):
        self.ends.append((record, outputs))
        return True

    @property
    def hands(self):
        return {"ring": self.ring, "sweep": self.sweep, "keep_end": self.keep_end}


@pytest.fixture
def store(redis_client):
    return Store(redis_client, backoff_seconds=(30,))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def reaper(store, clock, heard):
    settings = Settings(lease_seconds=60, reap_seconds=0.01)
    return Reaper(store, settings, **heard.hands, clock=clock)


def submit(store, units=1, id="job_1"):
    phases = [Phase("embed", Lane.METHOD, units=units)]
    return store.create(Kind.JOB, id, request={}, phases=phases)


def claim(store, worker="w"):
    return store.claim(Lane.METHOD, worker=worker, nonce=secrets.token_hex(8))


def test_a_lease_seen_expired_for_the_time_of_grace_is_taken(store, reaper, clock):
    submit(store)
    lost = claim(store)
    store.release("w")
    reaper.run_once()
    assert store.live_nonces() == {lost.nonce}
    clock.now += reaper.grace_seconds
    reaper.run_once()

    assert reaper.grace_seconds == 15
    assert store.live_nonces() == set()
    assert store.renew(lost, done=1) is Renewal.FENCED


def test_within_the_time_of_grace_a_lease_is_left_alone(store, reaper, clock):
    submit(store)
    lost = claim(store)
    store.release("w")
    for _ in range(10):
        reaper.run_once()
        clock.now += reaper.grace_seconds / 11

    assert store.live_nonces() == {lost.nonce}


def test_a_worker_that_comes_back_in_time_keeps_its_unit(store, reaper, clock):
    submit(store)
    held = claim(store)
    store.release("w")  # a clock that leapt, an outage of Redis
    reaper.run_once()
    store.renew(held, done=1)
    clock.now += reaper.grace_seconds
    reaper.run_once()
    store.release("w")
    reaper.run_once()

    assert store.renew(held, done=2) is Renewal.OK


def test_a_first_look_never_takes_anything(store, reaper, clock):
    submit(store)
    lost = claim(store)
    store.release("w")
    clock.now += 3600
    reaper.run_once()

    assert store.live_nonces() == {lost.nonce}


def test_what_was_seen_before_an_outage_has_the_time_of_grace_again(
    store, reaper, clock, monkeypatch
):
    def unheard():
        raise redis.ConnectionError("away")

    submit(store)
    lost = claim(store)
    store.release("w")
    reaper.run_once()
    with monkeypatch.context() as outage:
        outage.setattr(store, "expired", unheard)
        with pytest.raises(redis.ConnectionError):
            reaper.run_once()
    clock.now += reaper.grace_seconds
    reaper.run_once()
    assert store.live_nonces() == {lost.nonce}
    clock.now += reaper.grace_seconds
    reaper.run_once()

    assert store.live_nonces() == set()


def test_a_short_lease_has_a_short_time_of_grace(store, heard):
    settings = Settings(lease_seconds=2, heartbeat_seconds=0.5)

    assert Reaper(store, settings, **heard.hands).grace_seconds == 0.5


def test_a_lost_unit_is_done_by_another_worker(store, reaper, clock, heard, redis_client):
    submit(store)
    claim(store)
    store.release("w")
    reaper.run_once()
    clock.now += reaper.grace_seconds
    reaper.run_once()
    assert heard.rings == []  # it is delayed
    redis_client.zadd("ccd:delayed:method", {"job_1/embed/000000": 0})
    clock.now += RING_PAUSE_SECONDS
    reaper.run_once()
    again = claim(store, worker="other")
    store.complete(again, output="x", done=1)

    assert heard.rings == [(Lane.METHOD, 1)]
    assert again.attempt == 2
    assert store.get("job_1").status is Status.SUCCEEDED


def test_a_full_disk_keeps_the_reaper_from_nothing(
    redis_client, clock, heard, tmp_path, monkeypatch
):
    def full(*_, **_more):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = Store(redis_client, max_attempts=1)
    folder = DataFolder(tmp_path)
    hands = {**heard.hands, "keep_end": partial(keep_end, folder)}
    reaper = Reaper(store, Settings(lease_seconds=60), **hands, clock=clock)
    for number in (1, 2, 3):
        submit(store, id=f"job_{number}")
        write_json(made(folder.job(f"job_{number}")) / REQUEST, {})
    for _ in (1, 2):
        claim(store)
    store.release("w")
    reaper.run_once()
    heard.rings.clear()
    clock.now += SWEEP_SECONDS
    monkeypatch.setattr("workers.outcomes.write_json", full)
    with capture_logs() as events:
        reaper.run_once()

    statuses = [store.get(f"job_{number}").status for number in (1, 2, 3)]
    assert statuses == [Status.FAILED, Status.FAILED, Status.QUEUED]
    unwritten = [event["record"] for event in events if event["event"] == "result.unwritten"]
    assert sorted(unwritten) == ["job_1", "job_2"]
    assert heard.rings == [(Lane.METHOD, 1)]
    assert len(heard.sweeps) == 2


def test_an_end_that_cannot_be_read_keeps_the_reaper_from_nothing_else(
    store, clock, heard, tmp_path
):
    folder = DataFolder(tmp_path)
    loop = folder.job("job_1") / RESULT
    loop.parent.mkdir(parents=True)
    loop.symlink_to(loop)  # whoever opens it gets an OSError
    settings = Settings(lease_seconds=60)
    reaper = Reaper(store, settings, **heard.hands, ended=partial(ended, folder), clock=clock)
    for number in (1, 2):
        submit(store, id=f"job_{number}")
    claims = [claim(store) for _ in (1, 2)]
    store.release("w")
    with capture_logs() as events:
        lose(reaper, clock)

    assert store.live_nonces() == {claims[0].nonce}
    assert [event["unit"] for event in events if event["event"] == "end.unread"] == [
        "job_1/embed/000000"
    ]
    loop.unlink()
    reaper.run_once()
    assert store.live_nonces() == set()


def test_two_reapers_count_a_lost_unit_once(store, reaper, clock, heard, redis_client):
    submit(store)
    claim(store)
    store.release("w")
    settings = Settings(lease_seconds=60)
    other = Reaper(store, settings, **heard.hands, clock=clock)
    for _ in range(2):
        threads = [threading.Thread(target=each.run_once) for each in (reaper, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        clock.now += reaper.grace_seconds

    assert redis_client.hget("ccd:unit:job_1/embed/000000", "attempts") == "1"


def test_work_that_waits_is_rung_for_but_not_all_the_time(store, reaper, clock, heard):
    submit(store, units=3)
    reaper.run_once()
    reaper.run_once()
    assert heard.rings == [(Lane.METHOD, 3)]
    clock.now += RING_PAUSE_SECONDS
    reaper.run_once()

    assert heard.rings == [(Lane.METHOD, 3)] * 2


def test_one_pass_rings_only_so_often(store, reaper, heard):
    submit(store, units=MAX_RINGS + 1)
    reaper.run_once()

    assert heard.rings == [(Lane.METHOD, MAX_RINGS)]


def test_without_work_nothing_is_rung(store, reaper, heard):
    reaper.run_once()

    assert heard.rings == []


def test_staging_is_swept_now_and_then_but_not_where_somebody_works(store, reaper, clock, heard):
    submit(store)
    held = claim(store)
    reaper.run_once()
    reaper.run_once()
    clock.now += SWEEP_SECONDS
    reaper.run_once()

    assert heard.sweeps == [{held.nonce}] * 2


def test_the_thread_survives_errors_and_ends_when_it_is_told(redis_client, heard):
    went_on = threading.Event()

    errors = [redis.ConnectionError("away"), ZeroDivisionError("a mistake of ours")]

    class Faulty(Store):
        """Fails twice, then answers."""

        def expired(self):
            if errors:
                raise errors.pop(0)
            went_on.set()
            return []

    settings = Settings(reap_seconds=0.01)
    reaper = Reaper(Faulty(redis_client), settings, **heard.hands)
    before = set(threading.enumerate())
    with capture_logs() as events:
        reaper.start()
        assert went_on.wait(10)
        reaper.stop()

    assert [event["event"] for event in events if event["event"].startswith("reaper.")][:2] == [
        "reaper.unheard",
        "reaper.failed",
    ]
    began = set(threading.enumerate()) - before
    assert not any(thread.name == "reaper" for thread in began)


# ---------------------------------------------------------------------- ends on disk


def lose(reaper, clock):
    """Two looks, as far apart as a lease is left alone."""
    reaper.run_once()
    clock.now += reaper.grace_seconds
    reaper.run_once()


@pytest.fixture
def reaper_of(redis_client, clock, heard):
    """A store that allows one attempt, and a reaper to which the disk tells of an end."""

    def make(ended):
        store = Store(redis_client, max_attempts=1, backoff_seconds=(0,))
        hands = {**heard.hands, "ended": lambda _: ended}
        return store, Reaper(store, Settings(lease_seconds=60), **hands, clock=clock)

    return make


@pytest.mark.parametrize(
    ("ended", "status"),
    [
        (None, Status.FAILED),
        (Status.FAILED, Status.FAILED),
        (Status.CANCELLED, Status.CANCELLED),
        (Status.SUCCEEDED, Status.RUNNING),
    ],
)
def test_a_lost_unit_leads_to_no_other_end_than_the_disk_has(reaper_of, clock, ended, status):
    store, reaper = reaper_of(ended)
    submit(store)
    claim(store)
    store.release("w")

    lose(reaper, clock)

    assert store.get("job_1").status is status
    assert store.live_nonces() == set()
    if status is Status.RUNNING:  # Redis forgot that it had succeeded: the next worker repeats it
        store.complete(claim(store), output="x", done=1)
        assert store.get("job_1").status is Status.SUCCEEDED


def test_an_end_that_nobody_wrote_is_written_until_the_disk_has_it(store, reaper, heard):
    answers = iter([False, True])
    reaper._keep_end = lambda *told: heard.keep_end(*told) and next(answers)
    submit(store)
    store.cancel("job_1")  # and the API dies here
    for _ in range(4):
        reaper.run_once()

    assert [record.status for record, _ in heard.ends] == [Status.CANCELLED] * 2
    assert store.unkept() == []


def test_of_what_was_deleted_meanwhile_nothing_comes_back(store, tmp_path):
    folder = DataFolder(tmp_path)
    submit(store)
    store.cancel("job_1")
    record = store.get("job_1")  # and here another deletes it, with its folder

    assert keep_end(folder, record, {})
    assert not folder.job("job_1").exists()


def made(folder):
    folder.mkdir(parents=True)
    return folder


def test_what_succeeded_is_on_disk_already(store, reaper, heard):
    submit(store)
    store.complete(claim(store), output="x", done=1)
    reaper.run_once()

    assert heard.ends == []


def test_a_record_that_is_deleted_meanwhile_disturbs_no_other(store, reaper, clock, heard):
    for number in (1, 2):
        submit(store, id=f"job_{number}")
        claim(store)
    store.release("w")
    reaper.run_once()
    clock.now += reaper.grace_seconds

    class Quick(Store):
        """Somebody is quicker than the reaper, who has looked already."""

        def get(self, id):
            if id == "job_1" and self.redis.exists("ccd:record:job_1"):
                self.cancel(id)
                self.requeue("job_1/embed/000000", dict(self.expired())["job_1/embed/000000"])
                self.delete(id)
            return super().get(id)

    reaper._store = Quick(store.redis)
    reaper.run_once()

    assert store.get("job_2").status is Status.RUNNING
    assert store.live_nonces() == set()
    assert store.unkept() == []
