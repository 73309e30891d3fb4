"""`dry_run`: what a job would take, refused as the job would be, held against what it takes."""

from datetime import datetime
from unittest.mock import Mock

import httpx
import pytest

from demo.world import CLASSES, write_world
from models.config import PRESETS
from tests.store_calls import worker_of
from workers.estimate import (
    MOST_GROWTH,
    MOST_PROJECTS,
    TIMED,
    Wanted,
    _from_table,
    _measured,
    _recent_jobs,
)
from workers.jobs import Kind, Lane
from workers.settings import Settings

IMAGES = 12
SMALL = {"warm_up_epochs": 1, "train_epochs": 1, "batch_size": 8}


def job_of(source, **more):
    return {"classes": ["cat", "dog"], "preset": "tiny", **source, **more}


def dry(client, body, **more):
    return client.post("/v1/jobs", json={**body, "dry_run": True}, **more)


def codes(estimate):
    return [warning["code"] for warning in estimate["warnings"]]


def test_an_estimate_makes_nothing(api):
    dataset_id = api.new_dataset()
    before = {kind: api.store.count(kind) for kind in Kind}
    source = {"kind": "folder", "path": str(api.root)}
    headers = {"Idempotency-Key": "dry"}

    replies = [
        dry(api, job_of({"dataset_id": dataset_id}), headers=headers),
        dry(api, job_of({"source": source}), headers=headers),
    ]

    assert [reply.status_code for reply in replies] == [200, 200]
    assert {kind: api.store.count(kind) for kind in Kind} == before
    assert api.store.redis.keys("ccd:once:*") == []


def test_without_a_measurement_the_estimate_is_the_table_s_and_says_so(api):
    estimate = dry(api, job_of({"dataset_id": api.new_dataset()})).json()

    assert (estimate["basis"], estimate["images"]) == ("table", 4)
    assert 0 < estimate["seconds"]["low"] < estimate["seconds"]["likely"]
    assert estimate["seconds"]["likely"] < estimate["seconds"]["high"]
    assert estimate["teacher_passes"] == 4 * (1 + 2)  # distinct ones
    assert estimate["disk_bytes"] > 10_000_000
    assert codes(estimate) == ["no_workers"]


def test_files_that_are_not_registered_are_counted(api):
    folder = api.root / "counted"
    folder.mkdir(exist_ok=True)
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (folder / name).write_bytes(b"x")

    estimate = dry(api, job_of({"source": {"kind": "folder", "path": str(folder)}})).json()

    assert estimate["images"] == 3
    assert "images_not_registered" in codes(estimate)


def test_of_images_that_are_being_registered_nobody_knows(api):
    source = {"kind": "folder", "path": str(api.root)}
    dataset = api.post("/v1/datasets", json={"source": source}).json()["id"]

    estimate = dry(api, job_of({"dataset_id": dataset})).json()

    assert (estimate["images"], estimate["seconds"]) == (None, None)
    assert "images_unknown" in codes(estimate)


@pytest.mark.parametrize(
    "wrong",
    [
        {"dataset_id": "ds_none"},
        {"dataset_id": None, "source": {"kind": "folder", "path": "/etc"}},
        {"classes": ["one"], "config": {"background": False}},
        {"preset": "none"},
        {"config": {"alpha": 2}},
        {"config": {"teacher": "local-dir:/etc"}},
        {"dataset_id": None},
    ],
)
def test_what_a_job_is_refused_for_an_estimate_is_too(api, wrong):
    body = job_of({"dataset_id": api.new_dataset()}) | wrong
    real, tried = api.post("/v1/jobs", json=body), dry(api, body)

    def told(reply):
        problem = reply.json()
        return reply.status_code, problem["code"], problem["detail"], problem.get("errors")

    assert 400 <= real.status_code < 500
    assert told(tried) == told(real)


@pytest.mark.parametrize(
    ("wrong", "code", "told"),
    [
        ({"classes": ["cat", "zebr"]}, "unknown_words", "the teacher does not know 'zebr'"),
        ({"classes": ["cat", "dog " * 20]}, "prompt_too_long", "class 1: its prompt has "),
        ({"config": {"background": True}}, "background_unknown", "background names"),
    ],
)
def test_what_a_job_would_fail_for_is_told_of_the_teacher_at_hand(api, wrong, code, told):
    estimate = dry(api, job_of({"dataset_id": api.new_dataset()}) | wrong).json()

    [warning] = [each for each in estimate["warnings"] if each["code"] != "no_workers"]
    assert (warning["code"], warning["message"][:16]) == (code, "the job would fa")
    assert told in warning["message"]


@pytest.mark.parametrize("preset", PRESETS)
def test_the_table_knows_every_preset_and_grows_with_the_images(preset):
    def seconds(images, gpus):
        wanted = Wanted(PRESETS[preset], [{"name": "a"}] * 20, images)
        return _from_table(wanted, gpus, is_embedded=False).likely

    assert seconds(100, 0) < seconds(1000, 0)
    assert seconds(1000, 1) <= seconds(1000, 0)


def test_a_handful_of_images_is_no_measure_of_many():
    times = {phase: [(20.0, 10)] for phase in TIMED}

    def measured(images):
        wanted = Wanted(PRESETS["tiny"], [{"name": "a"}] * 20, images)
        return _measured(wanted, times, is_embedded=False)

    assert measured(10) is not None
    assert measured(10 * MOST_GROWTH + 1) is None


def test_its_own_project_is_looked_at_first_and_not_every_other():
    looked_at = []

    def look(_kind, *, project, **_more):
        looked_at.append(project)
        return [], None

    many = Mock(projects=lambda: [f"p{n}" for n in range(200)], list=look)

    assert list(_recent_jobs(many, "p77")) == []
    assert looked_at[0] == "p77"
    assert len(set(looked_at)) == len(looked_at) == MOST_PROJECTS


@pytest.fixture
def live(redis_url, tmp_path, running_server):
    """A service with real workers in this process, and two folders of scenes."""
    for name, seed in (("first", 1), ("second", 2)):
        write_world(tmp_path / name, count=IMAGES, seed=seed)
    settings = Settings(
        data=tmp_path / "data",
        redis_url=redis_url,
        allowed_roots=[tmp_path],
        threads=1,
        shard_images=16,
        reap_seconds=600,
    )
    with (
        running_server(settings) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        yield client, settings, tmp_path


def registered(client, store, settings, folder):
    source = {"kind": "folder", "path": str(folder)}
    dataset_id = client.post("/v1/datasets", json={"source": source}).json()["id"]
    worker_of(store, settings, Lane.IO).run_until_empty()
    return {"dataset_id": dataset_id}


def done(client, store, settings, body):
    """The job when it is over, and how long that took."""
    job_id = client.post("/v1/jobs", json=body).json()["id"]
    for lane in (Lane.METHOD, Lane.IO):
        worker_of(store, settings, lane).run_until_empty()
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert job["status"] == "succeeded", job["error"]
    times = [datetime.fromisoformat(job[name]) for name in ("started_at", "finished_at")]
    return (times[1] - times[0]).total_seconds()


@pytest.mark.long
def test_a_job_takes_as_long_as_was_estimated_from_one_like_it(live, store):
    client, settings, root = live
    first, second = (
        registered(client, store, settings, root / name) for name in ("first", "second")
    )
    order = {"classes": CLASSES[:3], "preset": "tiny", "config": SMALL}
    done(client, store, settings, {**first, **order})

    longer = {**order, "config": {**SMALL, "train_epochs": 2}}
    estimate = dry(client, {**second, **longer}).json()
    others = dry(client, {**first, **order, "classes": CLASSES[:4]}).json()
    again = dry(client, {**first, **order}).json()
    took = done(client, store, settings, {**second, **longer})

    assert (estimate["basis"], estimate["images"]) == ("measured", IMAGES)
    assert estimate["teacher_passes"] == IMAGES * (1 + 3)
    assert estimate["seconds"]["low"] <= took <= estimate["seconds"]["high"]
    assert estimate["seconds"]["high"] < 20 * estimate["seconds"]["likely"]
    # Of images that the teacher has seen, its features are used.
    assert "features_reused" in codes(others)
    assert others["teacher_passes"] == IMAGES * 4  # views of four classes, and no more
    assert codes(again) == ["no_workers", "features_reused", "results_reused"]
    assert again["seconds"]["low"] == 0
