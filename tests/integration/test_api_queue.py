"""Submitters, priorities and places in the queue over HTTP."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from weakref import WeakKeyDictionary

import pytest

from models.config import PRESETS
from tests.store_calls import STANDING
from workers import forecast
from workers.jobs import Kind, Lane
from workers.registry import Registry
from workers.stages import passes_of


@pytest.fixture(autouse=True)
def _look_at_the_workers_each_time(monkeypatch):
    monkeypatch.setattr(forecast, "CREW_SECONDS", 0)
    monkeypatch.setattr(forecast, "_crews", WeakKeyDictionary())


@pytest.fixture
def registered(api):
    """A ready dataset of 600 images, as far as the store knows."""

    def registered(submitter="ann"):
        source = {"kind": "folder", "path": str(api.root)}
        headers = {"X-Submitter": submitter}
        reply = api.post("/v1/datasets", json={"source": source}, headers=headers)
        held = api.store.claim(Lane.IO, worker="hand", nonce="n0")
        api.store.complete(held, output="", done=600)
        return reply.json()["id"]

    return registered


def post_job(api, dataset_id, *, submitter=None, **fields):
    headers = {} if submitter is None else {"X-Submitter": submitter}
    body = {"dataset_id": dataset_id, "classes": ["a", "b"], "preset": "tiny", **fields}
    return api.post("/v1/jobs", json=body, headers=headers)


def queue_of(api, job):
    return api.get(f"/v1/jobs/{job['id']}").json()["queue"]


def test_work_belongs_to_whom_the_header_names(api, registered):
    dataset_id = registered()
    named = post_job(api, dataset_id, submitter="ann@example.org").json()
    nobody = post_job(api, dataset_id).json()

    assert (named["submitter"], nobody["submitter"]) == ("ann@example.org", "default")
    assert api.store.get(named["id"]).submitter == "ann@example.org"
    assert api.store.get(dataset_id).submitter == "ann"
    written = json.loads((api.folder.job(named["id"]) / "request.json").read_text())
    assert written["submitter"] == "ann@example.org"


def test_a_folder_registered_for_a_job_is_its_submitters_too(api):
    source = {"kind": "folder", "path": str(api.root)}
    body = {"source": source, "classes": ["a", "b"], "preset": "tiny", "priority": "high"}
    job = api.post("/v1/jobs", json=body, headers={"X-Submitter": "ann"}).json()

    dataset = api.store.get(job["dataset_id"])
    assert (dataset.submitter, dataset.priority) == ("ann", 1)


def test_an_upload_a_prediction_and_an_evaluation_have_a_submitter(api):
    headers = {"X-Submitter": "ann"}
    files = [("files", ("a.jpg", b"x"))]
    dataset = api.post("/v1/datasets", files=files, headers=headers).json()
    api.store.cancel(dataset["id"])  # it would be registered first
    job_id = api.new_job()
    api.run_until(job_id, "score")
    images = [("images", ("a.jpg", b"x"))]
    students = f"/v1/students/stu_{job_id.removeprefix('job_')}"
    prediction = api.post(f"{students}/predictions", files=images, headers=headers).json()
    truth = {"truth": ("truth.csv", b"path,class\na.jpg,bee\n")}
    evaluation = api.post(f"/v1/jobs/{job_id}/evaluations", files=truth, headers=headers).json()

    for id in (dataset["id"], prediction["id"], prediction["dataset_id"], evaluation["id"]):
        assert api.store.get(id).submitter == "ann", id


@pytest.mark.parametrize("name", ["", "two words", "x" * 65, "a:b", "(maps)"])
def test_a_submitter_that_is_none_is_refused(api, registered, name):
    reply = post_job(api, registered(), submitter=name)

    [error] = reply.json()["errors"]
    assert (reply.status_code, error["pointer"]) == (422, "/header/X-Submitter")
    assert "[A-Za-z0-9._@-]{1,64}" in error["reason"]


def test_a_priority_that_is_none_is_refused_with_those_that_are(api, registered):
    reply = post_job(api, registered(), priority="urgent")

    [error] = reply.json()["errors"]
    assert (reply.status_code, error["pointer"]) == (422, "/priority")
    for word in ("'low'", "'normal'", "'high'", "urgent"):
        assert word in error["reason"]


def test_priorities_order_the_jobs_of_one_submitter(api, registered):
    dataset_id = registered()
    low, normal, high = (
        post_job(api, dataset_id, submitter="ann", priority=priority).json()
        for priority in ("low", "normal", "high")
    )
    other = post_job(api, dataset_id, submitter="bob", priority="low").json()

    assert [job["priority"] for job in (low, normal, high)] == ["low", "normal", "high"]
    places = {queue_of(api, job)["position"]: job["id"] for job in (low, normal, high, other)}
    claimed = [api.store.claim(Lane.METHOD, worker="w", nonce=f"n{n}").record.id for n in range(4)]
    assert [places[n] for n in (1, 2, 3, 4)] == claimed
    assert claimed.index(high["id"]) < claimed.index(normal["id"]) < claimed.index(low["id"])
    assert claimed.index(other["id"]) == 1  # its submitter's turn, whatever its priority


def test_without_a_measured_speed_nobody_knows_the_start(api, registered):
    Registry(api.store).announce(STANDING)
    job = post_job(api, registered()).json()

    assert job["queue"] == {"position": 1, "estimated_start_at": None, "waiting_for": None}


def test_a_job_that_no_worker_takes_says_so(api, registered):
    job = post_job(api, registered()).json()
    assert "`ccd worker --lane method`" in job["queue"]["waiting_for"]

    for worker in (replace(STANDING, lane=Lane.IO), replace(STANDING, draining=True)):
        Registry(api.store).announce(worker)
        assert "lane method" in queue_of(api, job)["waiting_for"]
    Registry(api.store).announce(STANDING)
    assert queue_of(api, job)["waiting_for"] is None


@pytest.fixture
def starts(api, registered):
    """Minutes until each of three jobs of one submitter is started, with some workers there."""

    def starts(*workers):
        dataset_id = registered()
        for n, worker in enumerate(workers):
            Registry(api.store).announce(replace(worker, name=f"worker-{n}"))
        jobs = [post_job(api, dataset_id, submitter="ann").json() for _ in range(3)]
        at = [queue_of(api, job)["estimated_start_at"] for job in jobs]
        now = datetime.now(UTC)
        return [(datetime.fromisoformat(moment) - now).total_seconds() / 60 for moment in at]

    return starts


LOOKS = 600 * passes_of(PRESETS["tiny"])
BUSY = replace(STANDING, unit="job_9/train/000000", images_per_second=2.0)
LEAVES = replace(BUSY, draining=True)
OTHER = replace(BUSY, lane=Lane.IO)


def test_the_start_is_what_lies_before_over_the_speed_of_the_workers(starts):
    minutes = LOOKS / (2 * 2.0) / 60

    assert starts(BUSY, BUSY, LEAVES, OTHER) == pytest.approx([0, minutes, 2 * minutes], abs=1)


def test_where_workers_are_idle_as_many_jobs_start_now(starts):
    idle = replace(BUSY, unit=None)
    minutes = LOOKS / (3 * 2.0) / 60

    assert starts(BUSY, idle, idle) == pytest.approx([0, 0, 2 * minutes], abs=1)


def test_a_job_that_waits_for_its_dataset_is_in_no_line(api):
    source = {"kind": "folder", "path": str(api.root)}
    body = {"source": source, "classes": ["a", "b"], "preset": "tiny"}
    job = api.post("/v1/jobs", json=body).json()

    assert job["queue"].pop("waiting_for").endswith("`ccd worker --lane io`")
    assert job["queue"] == {"position": None, "estimated_start_at": None}
    Registry(api.store).announce(OTHER)
    assert queue_of(api, job)["waiting_for"] is None


def test_a_list_asks_for_all_places_at_once(api, registered, monkeypatch):
    dataset_id = registered()
    for n in range(30):
        post_job(api, dataset_id, submitter=f"user-{n % 3}")
    lanes = []
    look = type(api.store).queue

    def counted(store, lane, ids):
        lanes.append(lane)
        return look(store, lane, ids)

    monkeypatch.setattr(type(api.store), "queue", counted)
    rows = api.get("/v1/jobs?limit=30").json()["data"]

    assert sorted(row["queue"]["position"] for row in rows) == list(range(1, 31))
    assert lanes == [Lane.METHOD]
    assert api.store.count(Kind.JOB) == 30
