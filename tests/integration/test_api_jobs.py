"""Jobs over HTTP: asked for, polled, cancelled; what lies on disk before the answer."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import ANY

import httpx
import pytest

from workers.jobs import JobError, Lane

JOB_FIELDS = {
    *("id", "name", "retry_of", "dataset_id", "classes", "preset", "config", "metadata"),
    *("status", "terminal"),
    *("submitter", "priority", "phase", "progress", "queue", "counts", "warnings", "error"),
    *("student_id", "metrics"),
    *("created_at", "started_at", "finished_at"),
}
PROGRESS_FIELDS = {
    *("phase", "phase_index", "phase_count", "done", "total", "percent"),
    *("rate_per_second", "eta_seconds", "updated_at"),
}


def place(position, start=None):
    return {"position": position, "estimated_start_at": start, "waiting_for": ANY}


NEXT = place(1)


def test_a_new_job_is_answered_whole_with_where_and_when_to_look(api):
    dataset_id = api.new_dataset()

    reply = api.post(
        "/v1/jobs",
        json={
            "dataset_id": dataset_id,
            "classes": [" Cat ", {"name": "e\u0301clair", "prompts": ["a {} to eat"]}],
            "preset": "tiny",
            "config": {"alpha": 0.25},
            "name": "first",
            "metadata": {"team": "x"},
        },
    )

    job = reply.json()
    assert reply.status_code == 202
    assert reply.headers["location"] == f"/v1/jobs/{job['id']}"
    assert int(reply.headers["retry-after"]) > 0
    assert set(job) == JOB_FIELDS
    assert set(job["progress"]) == PROGRESS_FIELDS
    assert job["id"].startswith("job_")
    assert job["classes"] == [
        {"name": "Cat", "prompts": []},
        {"name": "\u00e9clair", "prompts": ["a {} to eat"]},
    ]
    assert (job["config"]["alpha"], job["config"]["teacher"]) == (0.25, "bundled:tiny")
    assert (job["status"], job["terminal"], job["queue"]) == ("queued", False, NEXT)
    assert (job["name"], job["metadata"], job["phase"]) == ("first", {"team": "x"}, None)


def test_a_request_is_on_disk_before_it_is_accepted(api):
    job_id = api.new_job()

    written = json.loads((api.folder.job(job_id) / "request.json").read_text())

    record = api.store.get(job_id)
    assert written["request"] == record.request
    assert written["waits_for"] == record.waits_for == record.request["dataset_id"]


def test_one_call_registers_a_folder_and_starts_the_job(api):
    source = {"kind": "folder", "path": str(api.root)}

    job = api.post(
        "/v1/jobs", json={"source": source, "classes": ["a", "b"], "preset": "tiny"}
    ).json()

    assert job["queue"] == place(None)  # it waits for its dataset
    assert api.get(f"/v1/datasets/{job['dataset_id']}").json()["source"] == source
    api.register(job["dataset_id"])
    assert api.get(f"/v1/jobs/{job['id']}").json()["queue"] == NEXT


def test_a_job_is_not_sent_again_until_it_changed(api):
    job_id = api.new_job()
    first = api.get(f"/v1/jobs/{job_id}")
    etag = first.headers["etag"]

    again = api.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": f'"x", {etag}'})
    api.check(job_id)
    later = api.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": etag})

    assert re.fullmatch(r'"[^"]+"', etag)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == etag
    assert again.headers["retry-after"] == first.headers["retry-after"]
    assert (later.status_code, later.json()["status"]) == (200, "running")
    assert later.json()["counts"] == {"images": 5, "distinct": 4}


def test_a_finished_job_has_no_retry_after(api):
    job_id = api.new_job()
    api.run_until(job_id, "score")

    reply = api.get(f"/v1/jobs/{job_id}")

    assert reply.json()["status"] == "succeeded"
    assert reply.json()["terminal"] is True
    assert reply.json()["student_id"] == "stu_" + job_id.removeprefix("job_")
    assert "retry-after" not in reply.headers


def test_a_place_in_the_queue_changes_the_etag(api):
    first, second = api.new_job(), api.new_job()
    before = api.get(f"/v1/jobs/{second}")

    api.post(f"/v1/jobs/{first}/cancel")
    after = api.get(f"/v1/jobs/{second}", headers={"If-None-Match": before.headers["etag"]})

    assert before.json()["queue"] == place(2)
    assert after.json()["queue"] == NEXT


def test_cancelling_answers_by_what_the_job_was_doing(api):
    queued, running = api.new_job(), api.new_job()
    assert api.post(f"/v1/jobs/{queued}/cancel").status_code == 200
    claim = api.store.claim(Lane.METHOD, worker="w", nonce="n1")
    assert claim.record.id == running

    stopping = api.post(f"/v1/jobs/{running}/cancel")
    still_stopping = api.post(f"/v1/jobs/{running}/cancel")
    api.store.stopped(claim)
    stopped = api.post(f"/v1/jobs/{running}/cancel")

    assert (stopping.status_code, stopping.json()["status"]) == (202, "cancelling")
    assert still_stopping.status_code == 202
    assert (stopped.status_code, stopped.json()["code"]) == (409, "job_finished")
    assert api.get(f"/v1/jobs/{queued}").json()["status"] == "cancelled"


def test_a_job_is_cancelled_only_as_the_version_that_was_named(api):
    job_id = api.new_job()
    path, etag = f"/v1/jobs/{job_id}", api.get(f"/v1/jobs/{job_id}").headers["etag"]

    stale = api.post(f"{path}/cancel", headers={"If-Match": '"another"'})
    status = api.get(path).json()["status"]
    fresh = api.post(f"{path}/cancel", headers={"If-Match": etag})

    assert (stale.status_code, stale.json()["code"], status) == (
        412,
        "precondition_failed",
        "queued",
    )
    assert stale.headers["etag"] == etag
    assert (fresh.status_code, fresh.json()["status"]) == (200, "cancelled")


def test_a_failed_job_tells_its_error(api):
    job_id = api.new_job()
    claim = api.store.claim(Lane.METHOD, worker="w", nonce="n1")
    api.store.fail(claim, JobError("unknown_words", "check", "no word", hint="say cat"))

    error = api.get(f"/v1/jobs/{job_id}").json()["error"]

    assert error == {
        "code": "unknown_words",
        "phase": "check",
        "message": "no word",
        "hint": "say cat",
        "retryable": False,
    }


def test_a_job_on_a_failed_dataset_is_refused_with_the_reason(api):
    source = {"kind": "folder", "path": str(api.root)}
    dataset_id = api.post("/v1/datasets", json={"source": source}).json()["id"]
    claim = api.store.claim(Lane.IO, worker="w", nonce="n1")
    api.store.fail(claim, JobError("no_images", "register", "no image in it"))

    reply = api.post("/v1/jobs", json={"dataset_id": dataset_id, "classes": ["a", "b"]})

    assert (reply.status_code, reply.json()["code"]) == (409, "dataset_failed")
    assert "no_images" in reply.json()["detail"]


def test_jobs_are_listed_newest_first_page_by_page(api):
    ids = [api.new_job() for _ in range(3)]

    first = api.get("/v1/jobs", params={"limit": 2}).json()
    rest = api.get("/v1/jobs", params={"limit": 2, "cursor": first["next_cursor"]}).json()

    assert [job["id"] for job in (*first["data"], *rest["data"])] == ids[::-1]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize("field", ["classes", "metadata"])
def test_names_in_any_script_come_back_as_they_went_in(api, field):
    word = "犬 🐕\u200d🦺 \"'<b>"
    fields = {"classes": [word, "cat"], "metadata": {word: word}}

    job = api.get(f"/v1/jobs/{api.new_job(**fields)}").json()

    assert job["classes"][0]["name"] == word
    assert job["metadata"] == {word: word}


def test_a_look_that_waits_is_answered_when_the_job_ends(api):
    job_id = api.new_job()
    looking = ThreadPoolExecutor(1).submit(
        api.get, f"/v1/jobs/{job_id}", headers={"Prefer": "wait=30"}
    )
    api.store.cancel(job_id)
    reply = looking.result()

    assert (reply.status_code, reply.json()["status"]) == (200, "cancelled")
    assert reply.headers["preference-applied"] == "wait=30"


@pytest.mark.parametrize("call", ["post", "get"])
def test_a_call_that_waits_in_vain_is_answered_in_time(api, call):
    job_id = api.new_job()
    if call == "get":
        reply = api.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=1"})
    else:
        body = {"dataset_id": api.store.get(job_id).waits_for, "classes": ["a", "b"]}
        reply = api.post("/v1/jobs", json=body, headers={"Prefer": "wait=1"})

    assert reply.status_code == (200 if call == "get" else 202)
    assert (reply.json()["status"], reply.headers["preference-applied"]) == ("queued", "wait=1")


def test_a_look_at_nothing_does_not_wait(api):
    reply = api.get("/v1/jobs/job_none", headers={"Prefer": "wait=60"})

    assert reply.json()["code"] == "job_not_found"


def test_many_that_wait_keep_nobody_else_waiting(api):
    """More than the pool has threads."""
    job_id = api.new_job()
    with ThreadPoolExecutor(60) as pool:
        waiting = [
            pool.submit(
                httpx.get,
                f"{api.base_url}/v1/jobs/{job_id}",
                headers={"Prefer": "wait=30"},
                timeout=60,
            )
            for _ in range(60)
        ]
        answered = [api.get(f"/v1/jobs/{job_id}").status_code for _ in range(5)]
        assert not any(each.done() for each in waiting)
        api.store.cancel(job_id)

    assert answered == [200] * 5
    assert {each.result().json()["status"] for each in waiting} == {"cancelled"}
