"""What is deleted is gone with all that hung on it, whoever was killed; what others have stays."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from app import deleting
from tests.serving import wait_until
from tests.store_calls import at_once, claim, next_millisecond, submit, worker_of
from workers import deletion, fault_points, sharing
from workers.deletion import deleted_ids, finish_deletions
from workers.fault_points import InjectedFault, read_faults
from workers.jobs import JobError, Kind, Lane, Status
from workers.outcomes import RESULT, write_end
from workers.recovery import recover
from workers.store import OutputGoing, Store


@pytest.fixture
def job_id(api):
    job_id = api.new_job()
    api.run_until(job_id, "score")
    return job_id


@pytest.fixture
def armed(tmp_path):
    """Lay faults in wait in this process."""
    yield lambda text: fault_points.arm(read_faults(text), tmp_path)
    fault_points.arm((), tmp_path)


@pytest.fixture(autouse=True)
def no_quiet(monkeypatch):
    """The sweep does not wait until nobody can be at work on a deletion."""
    monkeypatch.setattr(deletion, "QUIET_SECONDS", 0)


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def phases_of(api, job_id):
    digest = job_id.removeprefix("job_")
    return sorted(path for path in api.folder.phases.iterdir() if digest in path.name)


def student_of(job_id):
    return f"/v1/students/stu_{job_id.removeprefix('job_')}"


def code_of(reply):
    return reply.json()["code"]


def test_a_job_goes_with_its_labels_its_student_and_its_files(api, job_id):
    own, phases = api.folder.job(job_id), phases_of(api, job_id)
    taken = size(own) + sum(map(size, phases))
    dataset = api.store.get(job_id).waits_for
    reply = api.delete(f"/v1/jobs/{job_id}")

    assert reply.status_code == 200
    assert reply.json() == {
        "id": job_id,
        "deleted": True,
        "records": [],
        "bytes_freed": taken,
        "folders_shared": 0,
        "is_put_off": False,
    }
    assert len(phases) > 4
    assert [path for path in (own, *phases) if path.exists()] == []
    assert api.store.redis.keys(f"*{job_id}*") == []
    gone = [f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/labels", student_of(job_id)]
    assert {api.get(path).status_code for path in gone} == {404}
    assert api.get(f"/v1/datasets/{dataset}").status_code == 200
    assert code_of(api.delete(f"/v1/jobs/{job_id}")) == "job_not_found"


def test_what_was_made_of_a_job_goes_with_it(api, job_id):
    predictions = f"{student_of(job_id)}/predictions"
    made = [
        api.post(f"/v1/jobs/{job_id}/evaluations", files={"truth": ("a.csv", b"path,a\n")}),
        api.post(f"/v1/jobs/{job_id}/exports", json={"format": "csv"}),
        api.post(predictions, files={"images": ("a.jpg", b"x")}),
        api.post(predictions, json={"dataset_id": api.store.get(job_id).waits_for}),
    ]
    ids = [each.json()["id"] for each in made]
    brought = made[2].json()["dataset_id"]
    busy = api.delete(f"/v1/jobs/{job_id}")
    for id in (brought, *ids):
        if not api.store.get(id).status.is_final:  # one ends with what it waited for
            api.store.cancel(id)
    reply = api.delete(f"/v1/jobs/{job_id}")

    assert (busy.status_code, code_of(busy)) == (409, "job_in_use")
    assert all(id in busy.json()["detail"] for id in ids)
    assert sorted(reply.json()["records"]) == sorted([*ids, brought])
    for kind, id in zip(
        (Kind.EVALUATION, Kind.EXPORT, Kind.PREDICTION, Kind.PREDICTION, Kind.DATASET),
        (*ids, brought),
        strict=True,
    ):
        assert api.store.redis.keys(f"*{id}*") == []
        assert not api.folder.of(kind, id).exists()


def test_images_of_a_prediction_that_another_was_asked_about_stay(api, job_id):
    predictions = f"{student_of(job_id)}/predictions"
    first = api.post(predictions, files={"images": ("a.jpg", b"x")}).json()
    dataset = first["dataset_id"]
    second = api.post(predictions, json={"dataset_id": dataset}).json()
    api.store.cancel(dataset)
    one = api.delete(f"/v1/predictions/{first['id']}").json()
    other = api.delete(f"/v1/predictions/{second['id']}").json()

    assert (one["records"], other["records"]) == ([], [dataset])
    assert not api.folder.of(Kind.DATASET, dataset).exists()


def test_a_prediction_goes_with_its_images_when_these_have_ended(api, job_id):
    asked = api.post(f"{student_of(job_id)}/predictions", files={"images": ("a.jpg", b"x")}).json()
    api.store.cancel(asked["id"])
    busy = api.delete(f"/v1/predictions/{asked['id']}")

    assert (busy.status_code, code_of(busy)) == (409, "prediction_in_use")
    assert asked["dataset_id"] in busy.json()["detail"]


def test_work_that_has_not_ended_is_not_deleted(api, job_id):
    queued = api.new_job()
    evaluation = api.post(
        f"/v1/jobs/{job_id}/evaluations", files={"truth": ("a.csv", b"path,a\n")}
    ).json()["id"]
    dataset = api.store.get(job_id).waits_for
    prediction = api.post(f"{student_of(job_id)}/predictions", json={"dataset_id": dataset}).json()[
        "id"
    ]

    paths = [f"jobs/{queued}", f"evaluations/{evaluation}", f"predictions/{prediction}"]
    replies = [api.delete(f"/v1/{path}") for path in paths]
    assert [(each.status_code, code_of(each)) for each in replies] == [
        (409, "job_running"),
        (409, "evaluation_running"),
        (409, "prediction_running"),
    ]
    assert list(api.folder.deletions.iterdir()) == []


def test_results_that_another_job_has_stay_until_that_goes_too(api, job_id):
    other = api.new_job()
    shared = phases_of(api, job_id)[0]
    api.store.redis.hset(f"ccd:outputs:{other}", "embed/000000", shared.name)
    api.store.cancel(other)
    one = api.delete(f"/v1/jobs/{job_id}").json()
    is_there = shared.exists()
    two = api.delete(f"/v1/jobs/{other}").json()

    assert (one["folders_shared"], is_there) == (1, True)
    assert (two["folders_shared"], shared.exists()) == (0, False)


def test_a_receipt_tells_nothing_of_what_other_projects_have(api, job_id):
    theirs = phases_of(api, job_id)[0]
    submit(api.store, "job_theirs", project="theirs")
    api.store.redis.hset("ccd:outputs:job_theirs", "embed/000000", theirs.name)
    receipt = api.delete(f"/v1/jobs/{job_id}").json()

    assert theirs.exists()
    assert receipt["folders_shared"] == 0


def test_results_stay_while_other_work_on_the_same_images_might_take_them_up(api, job_id):
    body = {"dataset_id": api.store.get(job_id).waits_for, "classes": ["a", "b"], "preset": "tiny"}
    other = api.post("/v1/jobs", json=body).json()["id"]
    phases = phases_of(api, job_id)
    reply = api.delete(f"/v1/jobs/{job_id}").json()
    finish_deletions(api.store, api.folder)

    assert reply["is_put_off"]
    assert all(path.exists() for path in phases)
    api.store.cancel(other)
    finish_deletions(api.store, api.folder)
    assert phases_of(api, job_id) == []


@pytest.mark.parametrize("moment", ["before", "while", "after"])
def test_a_unit_is_not_completed_with_a_result_that_was_removed(api, job_id, monkeypatch, moment):
    """A job on another dataset of the same images found it, and says so around the removal."""
    other = api.new_job()
    claim = api.store.claim(Lane.METHOD, worker="w", nonce="n")
    result = next(path for path in phases_of(api, job_id) if path.name.startswith("debias"))
    complete = partial(api.store.complete, claim, output=result.name, done=1, reused=True)

    def shared_and_then(outputs, store):
        found = sharing.shared(outputs, store)
        if moment == "while":
            with pytest.raises(OutputGoing):
                complete()
        return found

    monkeypatch.setattr(deletion, "shared", shared_and_then)
    if moment == "before":
        complete()
    deletion.delete_record(api.store, api.folder, api.store.get(job_id))
    if moment == "after":
        with pytest.raises(OutputGoing):
            complete()

    assert (result.name in api.store.outputs(other).values()) == result.exists()
    assert result.exists() == (moment == "before")


def test_a_unit_that_was_refused_is_not_tried_again_at_once(api):
    """Who removes its output may have died: until that is over each try would be refused."""
    store = Store(api.store.redis)
    api.new_job()
    store.going(["debias-x"], seconds=60)
    worker = worker_of(store, api.settings, Lane.METHOD)
    finished = SimpleNamespace(output="debias-x", done=1, plan=(), facts={}, reused=True)
    held = claim(store)

    assert worker._completed(held, finished=finished) == "given back"

    assert claim(store) is None
    assert store.waiting(Lane.METHOD) == 0
    store.redis.zadd("ccd:delayed:method", {held.unit_id: 0})  # as if it were due
    assert (again := claim(store)).unit_id == held.unit_id
    assert again.attempt == 1


def test_a_unit_that_was_refused_is_done_again(api, job_id):
    other = api.new_job()
    claim = api.store.claim(Lane.METHOD, worker="w", nonce="n")
    api.store.going(["debias-x"], seconds=0)
    worker = worker_of(api.store, api.settings, Lane.METHOD)
    finished = SimpleNamespace(output="debias-x", done=1, plan=(), facts={}, reused=True)
    assert worker._completed(claim, finished=finished) == "given back"
    next_millisecond(api.store)
    again = api.store.claim(Lane.METHOD, worker="w", nonce="m")

    assert (again.record.id, again.attempt) == (other, claim.attempt)
    assert worker._completed(again, finished=finished) == "completed"


@pytest.fixture
def put_off(api, job_id):
    """A job that has the results of a deleted one, which were left for it; and those."""
    body = {"dataset_id": api.store.get(job_id).waits_for, "classes": ["a", "b"], "preset": "tiny"}
    other, results = api.post("/v1/jobs", json=body).json()["id"], phases_of(api, job_id)
    outputs = api.store.redis.hgetall(f"ccd:outputs:{job_id}")
    assert api.delete(f"/v1/jobs/{job_id}").json()["is_put_off"]
    api.store.redis.hset(f"ccd:outputs:{other}", mapping=outputs)
    return other, results


@pytest.mark.parametrize("state", ["ended", "unfinished", "unreadable"])
def test_an_emptied_redis_lets_the_sweep_remove_nothing_that_others_have(api, put_off, state):
    other, results = put_off
    if state == "ended":
        ended = (api.store.get(other), api.store.outputs(other))
        write_end(api.folder, *ended, status=Status.SUCCEEDED)
    if state == "unreadable":
        (api.folder.job(other) / RESULT).write_text("{")
    api.store.redis.flushall()
    finish_deletions(api.store, api.folder)

    assert [path for path in results if not path.exists()] == []
    assert (other in recover(api.store, api.folder, apply=True).statuses) == (state != "unreadable")


def test_a_mark_that_cannot_be_read_holds_up_no_other(api, job_id):
    damaged = [api.folder.deletions / f"job_0{number}.json" for number in range(2)]
    damaged[0].write_text("{")
    damaged[1].write_text('{"ids": ["odd"], "outputs": [], "datasets": []}')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            deletion, "_carry_out", lambda *_, **__: deletion._Rest(0, 0, is_put_off=True)
        )
        api.delete(f"/v1/jobs/{job_id}").raise_for_status()
    finish_deletions(api.store, api.folder)

    assert not api.folder.job(job_id).exists()
    assert {"job_00", "odd", job_id} <= deleted_ids(api.folder)


def test_the_size_of_a_folder_that_others_remove_too_is_as_much_as_was_found(
    api, job_id, monkeypatch
):
    """As if the sweep had been there first for each file."""
    removed = []

    def walk(folder):
        for inner, folders, names in os_walk(folder):
            removed.extend(names)
            for name in names:
                (Path(inner) / name).unlink()
            yield inner, folders, names

    os_walk = os.walk
    with monkeypatch.context() as patch:
        patch.setattr("workers.files.os.walk", walk)
        receipt = deletion.delete_record(api.store, api.folder, api.store.get(job_id))

    assert removed
    assert receipt.bytes_freed == 0
    assert not api.folder.job(job_id).exists()


def test_calls_that_are_quick_wait_for_no_deletion(api, api_server, monkeypatch):
    dataset_id, go, remove = api.new_dataset(), threading.Event(), deleting.delete_record
    monkeypatch.setattr(deleting, "delete_record", lambda *args: go.wait(30) and remove(*args))
    many = 50  # more than there are common threads

    with ThreadPoolExecutor(many) as pool:
        calls = [pool.submit(api.delete, f"/v1/datasets/{dataset_id}") for _ in range(many)]
        try:
            wait_until(lambda: len(api_server.server.server_state.tasks) >= many)
            assert api.get("/readyz", timeout=5).status_code == 200
        finally:
            go.set()
        assert {200} <= {call.result().status_code for call in calls} <= {200, 404}


def test_a_folder_of_the_user_is_not_touched(api):
    photo = api.root / "mine.jpg"
    photo.write_bytes(b"x")
    dataset = api.new_dataset()
    reply = api.delete(f"/v1/datasets/{dataset}")

    assert reply.json()["bytes_freed"] > 0
    assert photo.read_bytes() == b"x"
    assert not api.folder.of(Kind.DATASET, dataset).exists()
    photo.unlink()


@pytest.mark.parametrize("moment", ["delete.marked", "delete.forgotten"])
@pytest.mark.parametrize("is_emptied", [False, True])
def test_a_deletion_that_was_broken_off_is_finished(api, job_id, armed, moment, is_emptied):
    armed(f"{moment}=raise")
    with pytest.raises(InjectedFault):
        deletion.delete_record(api.store, api.folder, api.store.get(job_id))
    if is_emptied:
        api.store.redis.flushall()
        assert job_id not in recover(api.store, api.folder, apply=True).statuses
    finish_deletions(api.store, api.folder)

    assert api.get(f"/v1/jobs/{job_id}").status_code == 404
    assert not api.folder.job(job_id).exists()
    assert phases_of(api, job_id) == []


def remember(redis):
    for key in redis.keys("ccd:*"):
        redis.copy(key, f"kept:{key}")


def forget(redis):
    """Whatever Redis was told since it was to remember."""
    redis.delete(*redis.keys("ccd:*"))
    for key in redis.keys("kept:*"):
        redis.rename(key, key.removeprefix("kept:"))


def test_a_redis_that_forgot_a_deletion_is_told_again(api):
    """Also where it forgot that the job was cancelled, and somebody has begun it."""
    job_id = api.new_job()
    remember(api.store.redis)
    api.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    api.delete(f"/v1/jobs/{job_id}").raise_for_status()
    forget(api.store.redis)
    claim = api.store.claim(Lane.METHOD, worker="w", nonce="n")
    finish_deletions(api.store, api.folder)
    assert api.store.stopped(claim) is Status.CANCELLED
    finish_deletions(api.store, api.folder)

    assert claim.record.id == job_id
    assert api.get(f"/v1/jobs/{job_id}").status_code == 404
    assert job_id in deleted_ids(api.folder)


def test_a_dataset_whose_deletion_redis_forgot_goes_when_nobody_needs_it(api):
    job_id = api.new_job()
    dataset = api.store.get(job_id).waits_for
    remember(api.store.redis)
    api.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    api.delete(f"/v1/datasets/{dataset}").raise_for_status()
    forget(api.store.redis)
    [mark] = api.folder.deletions.iterdir()
    os.utime(mark, (0, 0))  # however long that takes
    finish_deletions(api.store, api.folder)
    assert api.store.users(dataset) == [job_id]
    api.store.cancel(job_id)
    finish_deletions(api.store, api.folder)

    assert api.get(f"/v1/datasets/{dataset}").status_code == 404


def test_a_deletion_is_forgotten_after_a_while(api):
    job_id = api.new_job()
    api.store.cancel(job_id)
    api.delete(f"/v1/jobs/{job_id}").raise_for_status()
    finish_deletions(api.store, api.folder)
    [mark] = api.folder.deletions.iterdir()
    os.utime(mark, (0, 0))
    finish_deletions(api.store, api.folder)

    assert list(api.folder.deletions.iterdir()) == []


def test_a_dataset_that_is_needed_again_before_it_is_gone_stays(api, armed):
    dataset = api.new_dataset()
    armed("delete.marked=raise")
    with pytest.raises(InjectedFault):
        deletion.delete_record(api.store, api.folder, api.store.get(dataset))
    job = api.post("/v1/jobs", json={"dataset_id": dataset, "classes": ["a", "b"]})
    finish_deletions(api.store, api.folder)

    assert job.status_code == 202
    assert api.get(f"/v1/datasets/{dataset}").status_code == 200
    assert list(api.folder.deletions.iterdir()) == []


def test_a_job_that_two_delete_at_once_is_deleted_once(api, job_id):
    def delete():
        return httpx.delete(f"{api.base_url}/v1/jobs/{job_id}", timeout=20)

    answers = sorted(each.status_code for each in at_once(delete, delete))
    assert answers in ([200, 200], [200, 404])
    assert not api.folder.job(job_id).exists()


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_job_is_tried_again_as_it_was_asked_for(api, end):
    job_id = api.new_job(name="n", metadata={"a": "b"}, priority="high", config={"alpha": 0.3})
    if end == "cancelled":
        api.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    else:
        claim = api.store.claim(Lane.METHOD, worker="w", nonce="n")
        api.store.fail(claim, JobError("broken", "check", "It broke."))
    old = api.get(f"/v1/jobs/{job_id}").json()
    reply = api.post(f"/v1/jobs/{job_id}/retry")
    new = reply.json()

    assert (reply.status_code, new["status"], new["error"]) == (202, "queued", None)
    assert (old["retry_of"], new["retry_of"]) == (None, job_id)
    same = ("name", "dataset_id", "classes", "preset", "config", "metadata", "priority")
    assert {field: new[field] for field in same} == {field: old[field] for field in same}
    assert reply.headers["location"] == f"/v1/jobs/{new['id']}"


@pytest.mark.parametrize("retryable", [True, False])
def test_a_failure_that_comes_again_is_warned_of_and_tried_as_something_may_be_other(
    api, retryable
):
    job_id = api.new_job()
    claim = api.store.claim(Lane.METHOD, worker="w", nonce="n")
    error = JobError("weights_missing", "check", "No file.", "Put it there.", retryable=retryable)
    api.store.fail(claim, error)

    new = api.post(f"/v1/jobs/{job_id}/retry").json()

    told = [(each["code"], each["hint"]) for each in new["warnings"]]
    assert told == ([] if retryable else [("not_retryable", "Put it there.")])
    assert api.get(f"/v1/jobs/{new['id']}").json()["warnings"] == new["warnings"]


def test_a_job_that_goes_on_or_succeeded_is_not_tried_again(api, job_id):
    replies = [api.post(f"/v1/jobs/{id}/retry") for id in (job_id, api.new_job())]

    assert {(each.status_code, code_of(each)) for each in replies} == {(409, "job_not_retryable")}


def test_a_job_whose_dataset_is_gone_is_not_tried_again(api):
    job_id = api.new_job()
    api.store.cancel(job_id)
    api.delete(f"/v1/datasets/{api.store.get(job_id).waits_for}").raise_for_status()

    assert code_of(api.post(f"/v1/jobs/{job_id}/retry")) == "dataset_not_found"
