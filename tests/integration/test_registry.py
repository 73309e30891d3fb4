"""Which workers there are, and which work a worker leaves to others."""

import json
from dataclasses import replace
from unittest.mock import Mock

import pytest
import redis
from structlog.testing import capture_logs

from tests.serving import wait_until
from tests.store_calls import CHECK, SHARDS, STANDING, claim, submit, worker_of
from workers import registry as registry_module
from workers.devices import Device
from workers.jobs import Lane, Status
from workers.presence import Presence, Watch
from workers.reaper import Reaper
from workers.registry import Registry, place, worker_name
from workers.settings import Settings
from workers.store import Store
from workers.units import Finished


@pytest.fixture
def registry(store):
    return Registry(store)


@pytest.fixture
def worker(store, tmp_path):
    settings = Settings(data=tmp_path, heartbeat_seconds=0.02, device="cpu")
    return worker_of(store, settings, Lane.METHOD)


@pytest.fixture
def presence(worker, registry):
    presence = Presence(worker, registry, pid=7)
    presence.start()
    yield presence
    presence.stop()


def test_a_worker_comes_back_as_it_said(registry):
    unit = "job_1/embed/000002"
    said = replace(STANDING, unit=unit, images_per_second=2.5, memory_used_bytes=None)

    registry.announce(said)

    [entry] = registry.list()
    assert entry.standing == said
    assert entry.unit == ("job_1", "embed", 2)


def test_of_a_worker_of_another_version_is_read_what_is_known(registry, redis_client):
    registry.announce(STANDING)
    key = f"ccd:worker:{STANDING.name}"
    said = json.loads(redis_client.hget(key, "standing"))
    del said["gpu_utilization"]
    redis_client.hset(key, "standing", json.dumps({**said, "mood": "fine"}))

    [entry] = registry.list()
    assert entry.standing == replace(STANDING, gpu_utilization=None)


def test_workers_are_listed_by_lane_and_name(registry):
    for name, lane in [("b", Lane.METHOD), ("c", Lane.IO), ("a", Lane.METHOD)]:
        registry.announce(replace(STANDING, name=name, lane=lane))

    assert [entry.standing.name for entry in registry.list()] == ["c", "a", "b"]


def test_a_worker_starts_once_and_is_heard_again_and_again(registry):
    registry.announce(STANDING)
    [first] = registry.list()

    def heard_again():
        registry.announce(STANDING)
        [entry] = registry.list()
        return entry.heard_at > first.heard_at and entry

    assert wait_until(heard_again).started_at == first.started_at


def test_a_silent_worker_is_forgotten_after_a_lease(redis_client):
    registry = Registry(Store(redis_client, lease_seconds=0.02))
    registry.announce(STANDING)

    wait_until(lambda: not registry.list())

    assert redis_client.keys("*worker*") == []


def test_a_worker_that_leaves_is_forgotten_at_once(registry):
    registry.announce(STANDING)
    registry.announce(replace(STANDING, name="other"))

    registry.forget(STANDING.name)

    assert [entry.standing.name for entry in registry.list()] == ["other"]


def test_a_worker_tells_its_unit_and_its_rate_while_it_works(
    store, worker, presence, registry, monkeypatch
):
    monkeypatch.setattr("workers.worker.MEASURABLE_SECONDS", 0.0)
    submit(store, phases=[*CHECK, SHARDS])
    seen = []

    def work(claim, on_batch):
        on_batch(30)
        told = wait_until(lambda: [e for e in registry.list() if e.unit])
        seen.extend(told)
        raise OSError("enough")

    monkeypatch.setattr(worker, "_work", work)
    worker.run_until_empty()

    assert seen[0].unit == ("job_1", "check", 0)
    assert 0 < seen[0].standing.images_per_second < 30 / 0.001
    [idle] = wait_until(lambda: [e for e in registry.list() if not e.unit])
    assert idle.standing.images_per_second > 0  # of the last unit
    assert (idle.standing.pid, idle.standing.device) == (7, "cpu")


def test_a_worker_of_lane_io_computes_on_the_cpu_whatever_the_setting(
    store, registry, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(
        "workers.presence.find_device", lambda wanted: asked.append(wanted) or Device(wanted)
    )
    settings = Settings(data=tmp_path, device="cuda:1")
    for lane in Lane:
        worker = worker_of(store, settings, lane, is_draining=lambda: True)
        assert Presence(worker, registry, pid=1).standing().draining

    assert asked == ["cpu", "cuda:1"]


@pytest.mark.parametrize("part", ["BOOT", "CONTAINER"])
def test_two_places_with_the_same_host_name_and_process_id_have_two_names(
    part, tmp_path, monkeypatch
):
    names = set()
    for number in range(2):
        place.cache_clear()
        (tmp_path / f"BOOT{number}").write_text(f"{number}\n")
        (tmp_path / f"CONTAINER{number}").symlink_to(f"pid:[{number}]")
        monkeypatch.setattr(registry_module, part, tmp_path / f"{part}{number}")
        names |= {worker_name(Lane.METHOD, 1), worker_name(Lane.METHOD, 1)}
    place.cache_clear()

    assert len(names) == 2


def test_a_place_without_these_files_has_a_name_all_the_same(tmp_path, monkeypatch):
    place.cache_clear()
    monkeypatch.setattr(registry_module, "BOOT", tmp_path / "nothing")

    assert len(place()) == 8
    place.cache_clear()


def test_a_presence_outlives_an_outage_and_complains_once(presence, registry, monkeypatch):
    wait_until(registry.list)
    refused = []

    def refuse(standing):
        refused.append(standing)
        raise redis.ConnectionError("away")

    with capture_logs() as lines:
        monkeypatch.setattr(registry, "announce", refuse)
        wait_until(lambda: len(refused) >= 3)
        registry.forget(refused[0].name)
        monkeypatch.undo()
        wait_until(registry.list)

    assert [line["event"] for line in lines] == ["presence.unheard"]


# ---------------------------------------------------------------- versions of the method


def old_and_new(client):
    return Store(client, method=1), Store(client, method=2)


def test_a_worker_of_an_older_method_leaves_a_newer_job_and_it_is_rung_for_again(redis_client):
    old, new = old_and_new(redis_client)
    submit(new, phases=CHECK)
    rings = []
    reaper = Reaper(
        old,
        Settings(),
        ring=lambda lane, count: rings.append((lane, count)),
        sweep=lambda _: None,
        keep_end=lambda *_: True,
    )

    assert claim(old) is None
    assert old.get("job_1").status is Status.QUEUED
    reaper.run_once()

    assert rings == [(Lane.METHOD, 1)]
    assert claim(new).record.id == "job_1"


def test_a_worker_of_an_older_method_takes_the_older_job_behind_newer_ones(redis_client):
    old, new = old_and_new(redis_client)
    for number in range(5):
        submit(new, id=f"job_new{number}", phases=CHECK, priority=1)
    submit(old, id="job_old", phases=CHECK)

    assert claim(old).record.id == "job_old"
    assert claim(old) is None


def test_a_worker_of_a_newer_method_takes_older_jobs(redis_client):
    old, new = old_and_new(redis_client)
    submit(old, phases=CHECK)

    assert claim(new).record.id == "job_1"


def test_a_record_from_before_versions_is_for_everybody(redis_client):
    old, _ = old_and_new(redis_client)
    submit(old, phases=CHECK)
    redis_client.hdel("ccd:record:job_1", "method")

    assert claim(old).record.id == "job_1"


@pytest.mark.parametrize(("there", "bells"), [(0, 1), (3, 3)])
def test_a_phase_that_opens_is_rung_for_once_a_worker(store, registry, worker, there, bells):
    for number in range(there):
        registry.announce(replace(STANDING, name=f"method@a:{number}"))
    registry.announce(replace(STANDING, name="io@a:9", lane=Lane.IO))
    submit(store, phases=[*CHECK, replace(SHARDS, units=50)])
    rung = []
    worker.ring = lambda lane, count: rung.append((lane, count))

    worker._completed(claim(store), finished=Finished("", 1))

    assert rung == [(Lane.METHOD, bells)]


@pytest.fixture
def kills():
    return []


@pytest.fixture
def watch(registry, kills):
    """Over a worker that was heard once."""
    watch = Watch(registry, STANDING.name, 60, lambda: kills.append("killed"))
    registry.announce(STANDING)
    watch.look(0)
    return watch


def test_a_worker_that_is_silent_for_a_lease_more_is_killed_once(watch, registry, kills):
    registry.forget(STANDING.name)

    for now in (100, 159):
        watch.look(now)
    assert kills == []
    for now in (160, 161, 300):
        watch.look(now)

    assert kills == ["killed"]


def test_a_worker_that_speaks_again_is_not_killed(watch, registry, kills):
    registry.forget(STANDING.name)
    watch.look(100)
    registry.announce(STANDING)
    watch.look(150)
    registry.forget(STANDING.name)

    for now in (200, 259):
        watch.look(now)

    assert kills == []


def test_a_worker_is_not_blamed_for_a_redis_that_does_not_answer(
    watch, registry, kills, monkeypatch
):
    registry.forget(STANDING.name)
    watch.look(100)
    with monkeypatch.context() as away:
        away.setattr(registry, "has_heard", Mock(side_effect=redis.ConnectionError))
        with pytest.raises(redis.ConnectionError):
            watch.look(150)

    for now in (160, 219):
        watch.look(now)

    assert kills == []


def test_a_worker_that_was_never_heard_may_come_up(registry, kills):
    watch = Watch(registry, STANDING.name, 60, lambda: kills.append("killed"))

    for now in (0, 1000):
        watch.look(now)

    assert kills == []
