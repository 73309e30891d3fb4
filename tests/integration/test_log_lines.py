"""One id from the HTTP request to every line that its work leaves in the log."""

import time

import pytest
import redis
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from tests.serving import wait_until
from tests.store_calls import CHECK, SHARDS, worker_of
from workers.jobs import Kind, Lane, Phase, Record
from workers.reaper import Reaper
from workers.settings import Settings

NAMES = {"request_id": "req-7", "record": "job_1", "phase": "embed", "unit": 0, "attempt": 1}


@pytest.fixture
def lines():
    with capture_logs(processors=[merge_contextvars]) as events:
        yield events


@pytest.fixture
def worker(store, tmp_path):
    return worker_of(store, Settings(data=tmp_path, heartbeat_seconds=0.01), Lane.METHOD)


def submit(store, phases=(SHARDS,)):
    store.create(Kind.JOB, "job_1", request={}, phases=phases, request_id="req-7")


def find(lines, event, **values):
    """The first line of an event with these values, as soon as it is there."""
    wanted = {"event": event, **values}.items()
    return wait_until(lambda: next((line for line in lines if wanted <= line.items()), None))


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        ("GET", "/v1/jobs/job_1?token=x", "/v1/jobs/{job_id}", 422),
        ("GET", "/problems/not_found", "/problems/{code}", 200),
        ("DELETE", "/livez", "/livez", 405),
        ("GET", "/openapi.json", "/openapi.json", 200),
        ("GET", "/wp-admin", "other", 404),
        ("PROPFIND", "/livez", "/livez", 405),
    ],
)
def test_a_request_leaves_one_line_with_the_template_of_its_route(
    *, api, lines, method, path, route, status
):
    api.request(method, path, headers={"X-Request-ID": "mine-2"})

    line = find(lines, "request.answered", request_id="mine-2")
    assert (line["route"], line["status"]) == (route, status)
    assert line["method"] == (method if method != "PROPFIND" else "other")
    assert 0 < line["seconds"] < 60
    assert set(line) == {
        *("event", "log_level", "request_id"),
        "method",
        "route",
        "status",
        "seconds",
    }


def test_a_request_that_nobody_could_answer_is_a_500_in_the_log(api, lines, monkeypatch):
    monkeypatch.setattr("workers.store.Store.list", lambda *_, **__: 1 // 0)

    request_id = api.get("/v1/jobs").headers["x-request-id"]

    assert find(lines, "request.answered", request_id=request_id)["status"] == 500
    assert find(lines, "request.failed", request_id=request_id)["exc_info"]


def test_the_id_goes_into_the_record_and_onto_the_disk(api):
    reply = api.post(
        "/v1/datasets",
        json={"source": {"kind": "folder", "path": str(api.root)}},
        headers={"X-Request-ID": "mine-3"},
    )

    record: Record = api.store.get(reply.json()["id"])
    assert record.request_id == "mine-3"
    assert (
        '"request_id": "mine-3"'
        in (api.folder.of(Kind.DATASET, record.id) / "request.json").read_text()
    )


def test_both_records_of_one_request_bear_its_id(api):
    body = {"source": {"kind": "folder", "path": str(api.root)}, "classes": ["a", "b"]}
    reply = api.post("/v1/jobs", json={**body, "preset": "tiny"})

    job = api.store.get(reply.json()["id"])
    assert job.waits_for
    assert job.request_id == api.store.get(job.waits_for).request_id
    assert job.request_id == reply.headers["x-request-id"]


def test_a_record_that_no_request_asked_for_has_none(store):
    assert store.create(Kind.JOB, "job_1", request={}, phases=CHECK).request_id is None


def test_every_line_of_a_unit_names_request_record_phase_and_unit(
    store, worker, lines, monkeypatch
):
    submit(store)

    def unheard(*_, **__):
        raise redis.ConnectionError("away")

    def work_until_a_heartbeat_was_lost(claim, on_batch):
        monkeypatch.setattr(store, "renew", unheard)
        find(lines, "heartbeat.unheard")  # written by a thread of its own
        monkeypatch.undo()
        raise OSError("broken")

    monkeypatch.setattr(worker, "_work", work_until_a_heartbeat_was_lost)
    worker.run_until_empty()

    events = {line["event"] for line in lines}
    assert {"heartbeat.unheard", "unit.failed", "unit.ended"} <= events
    assert [line for line in lines if not NAMES.items() <= line.items()] == []


def test_an_error_with_a_code_is_told_in_the_record_and_only_named_in_the_log(
    store, worker, lines, monkeypatch
):
    submit(store)

    class InputChanged(Exception):
        code = "input_changed"

    def fail(*_):
        raise InputChanged("ann.jpg changed")

    monkeypatch.setattr(worker, "_work", fail)
    worker.run_until_empty()

    assert store.get("job_1").error.message == "ann.jpg changed"
    assert find(lines, "unit.failed", code="input_changed")["exc_info"] is None
    assert "ann.jpg" not in str(lines)


def test_a_lost_unit_is_logged_with_its_names(store, lines):
    submit(store, phases=[Phase("embed", Lane.METHOD)])
    store.claim(Lane.METHOD, worker="w", nonce="n")
    store.release_all()
    now = [time.monotonic()]
    reaper = Reaper(
        store,
        Settings(),
        ring=lambda *_: None,
        sweep=lambda _: None,
        keep_end=lambda *_: True,
        clock=lambda: now[0],
    )

    reaper.run_once()
    now[0] += reaper.grace_seconds
    reaper.run_once()

    lost = find(lines, "unit.lost")
    # Which attempt it was is the claim's, and the claim is gone.
    assert {k: v for k, v in NAMES.items() if k != "attempt"}.items() <= lost.items()
