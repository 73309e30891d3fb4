"""Clocks that are an hour off, or leap by one: no work is taken from the living, none is lost."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.faults.loose_store import LEASE, LooseStore
from tests.faults.worlds import result_of
from tests.store_calls import CHECK, EPOCHS, SHARDS, claim, submit, worker_of
from tests.valkeys import mortal_valkey
from workers.files import QUIET_SECONDS, DataFolder
from workers.jobs import Lane, Status, from_rfc3339
from workers.reaper import Reaper
from workers.settings import Settings
from workers.stats import read_stats
from workers.store import Renewal

HOUR = 3600
NOW = 1_800_000_000
LEAPS = [HOUR, -HOUR]


class Times:
    """The clock of Redis, which may leap, and that of a reaper, which only goes on."""

    def __init__(self, store):
        self.store, self.redis, self.own = store, NOW, 1000
        self.store.set_clock(NOW)

    def go_on(self, seconds):
        self.leap(seconds)
        self.own += seconds

    def leap(self, seconds):
        self.redis += seconds
        self.store.set_clock(self.redis)


@pytest.fixture
def store(redis_client):
    return LooseStore(redis_client, backoff_seconds=(30, 300))


@pytest.fixture
def times(store):
    return Times(store)


@pytest.fixture
def reaper(store, times):
    return Reaper(
        store,
        Settings(lease_seconds=LEASE),
        ring=lambda *_: None,
        sweep=lambda _: None,
        keep_end=lambda *_: True,
        clock=lambda: times.own,
    )


def live(store, times, reaper, held, seconds):
    """Some time in which the workers beat and the reaper looks, as they do every few seconds."""
    for _ in range(seconds // 5):
        times.go_on(5)
        reaper.run_once()
        for each in held:
            assert store.renew(each, done=1, total=10) is Renewal.OK


@pytest.mark.parametrize("leap", LEAPS)
def test_a_leap_of_the_clock_of_redis_takes_nothing_from_the_living(store, times, reaper, leap):
    submit(store, phases=[SHARDS, EPOCHS])
    held = [claim(store, worker=f"w{n}") for n in range(3)]
    live(store, times, reaper, held, 30)
    times.leap(leap)
    live(store, times, reaper, held, 2 * LEASE)

    assert store.live_nonces() == {each.nonce for each in held}
    for each in held:
        store.complete(each, output="x", done=10)
    for _ in range(2):
        store.complete(claim(store), output="x", done=1)
    assert store.get("job_1").status is Status.SUCCEEDED


@pytest.mark.parametrize("leap", LEAPS)
def test_no_age_is_below_zero_after_a_leap(store, times, reaper, leap):
    submit(store, phases=[SHARDS])
    submit(store, "job_2")
    held = [claim(store)]
    live(store, times, reaper, held, 30)
    times.leap(leap)
    live(store, times, reaper, held, 30)

    progress = store.get("job_1").progress
    stats = read_stats(store)
    assert (progress.rate_per_second or 0) >= 0
    assert (progress.eta_seconds or 0) >= 0
    assert progress.percent >= 0
    assert (
        min(stats.lease_age_seconds, *(lane.oldest_seconds for lane in stats.queues.values())) >= 0
    )


@pytest.mark.parametrize("leap", LEAPS)
def test_a_unit_whose_worker_died_before_a_leap_is_done_soon_after(store, times, reaper, leap):
    submit(store, phases=[SHARDS])
    lost = claim(store)
    times.leap(leap)
    for _ in range(3 * LEASE // 5):
        times.go_on(5)
        reaper.run_once()
    found = [claim(store, worker="other") for _ in range(3)]

    assert lost.unit_id in [each.unit_id for each in found if each]


@pytest.mark.parametrize("leap", LEAPS)
def test_a_unit_that_waits_for_another_attempt_waits_no_longer_for_a_leap(store, times, leap):
    submit(store, phases=CHECK)
    lost = claim(store)
    store.release(lost.worker)
    store.requeue(lost.unit_id, lost.nonce)
    assert claim(store) is None
    times.leap(leap)
    times.go_on(30)

    assert store.waiting(Lane.METHOD) == 1
    assert claim(store).unit_id == lost.unit_id


@pytest.mark.parametrize("wrong_by", [0, *LEAPS])
def test_the_sweep_goes_by_the_clock_of_the_disk(tmp_path, monkeypatch, wrong_by):
    folder = DataFolder(tmp_path)
    folder.create()
    for name, age in (("upload-new", 60), ("upload-old", QUIET_SECONDS + 60)):
        place = folder.staging_root / name
        place.mkdir()
        os.utime(place, (time.time() - age,) * 2)
    right = time.time
    monkeypatch.setattr("workers.files.time.time", lambda: right() + wrong_by)

    folder.sweep(set())

    assert [path.name for path in folder.staging_root.iterdir()] == ["upload-new"]


def test_an_upload_that_changes_under_the_sweep_is_left_alone_by_a_machine_that_is_late(
    tmp_path, monkeypatch
):
    folder = DataFolder(tmp_path)
    folder.create()
    upload = folder.staging_root / "upload"
    upload.mkdir()
    late = time.time() - 2 * QUIET_SECONDS
    monkeypatch.setattr("workers.files.time.time", lambda: late)
    monkeypatch.setattr(Path, "rglob", lambda self, _: [self / "renamed meanwhile"])

    assert folder.sweep(set()) == 0
    assert upload.exists()


def faketime(hours):
    """What is put before a command whose clock is to be wrong; monotonic time is left alone."""
    found = [*Path("/usr/lib").glob("*/faketime/libfaketime.so.1")]
    if not found:
        pytest.skip("libfaketime is not installed")
    return [
        *("env", f"LD_PRELOAD={found[0]}", f"FAKETIME={hours:+d}h"),
        *("DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1"),
    ]


@pytest.mark.long
@pytest.mark.parametrize("hours", [1, -1])
def test_a_redis_that_comes_back_with_a_wrong_clock_changes_no_byte(new_world, golden, hours):
    with mortal_valkey() as server:
        world = new_world(at=server.url, before="train")
        world.reaper.grace_seconds = 2
        world.submit()
        hand = world.hand("unit.batch@train=stop")
        world.live_until(hand.is_stopped)
        server.kill()
        server.start(before=faketime(hours))
        hand.signal(signal.SIGCONT)
        world.succeed()

        told = from_rfc3339(world.job().updated_at) / 1000 - time.time()
        assert abs(told - hours * HOUR) < 600, "its clock was right"
        assert world.attempts("lost") == {}
        assert result_of(world).differences(golden.result) == []


@pytest.mark.long
@pytest.mark.parametrize("leap", LEAPS)
def test_a_worker_with_a_wrong_clock_changes_no_byte(new_world, golden, monkeypatch, leap):
    world = new_world(before="train")
    world.submit()
    right, right_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: right() + leap)
    monkeypatch.setattr(time, "time_ns", lambda: right_ns() + leap * 10**9)

    for lane in (Lane.IO, Lane.METHOD, Lane.IO):
        worker_of(world.store, world.settings, lane).run_until_empty()

    assert world.job().status is Status.SUCCEEDED
    assert world.attempts("lost") == {}
    assert result_of(world).differences(golden.result) == []
