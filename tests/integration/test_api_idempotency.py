"""A request with a key makes what it makes once, however often and in whatever state it is sent."""

from collections import Counter

import pytest
import redis

from tests.store_calls import at_once
from workers.jobs import Kind, Lane, Status
from workers.lua import ONCE_KEEP_SECONDS
from workers.once import Once, Taken
from workers.outcomes import read_kept
from workers.store import QuotaExceeded

KEY = {"Idempotency-Key": "k1"}
FILES = {"files": ("a.jpg", b"x")}


class Target:
    """A call that creates, and its content."""

    def __init__(self, api, path, **content):
        self.api, self.path, self.content = api, path, content

    def __call__(self, headers=KEY, **other):
        return self.api.post(self.path, headers=headers, **(other or self.content))


def dataset(api):
    return Target(api, "/v1/datasets", json={"source": folder_of(api)})


def upload(api):
    return Target(api, "/v1/datasets", files=FILES, data={"name": "monday"})


def job(api):
    return Target(api, "/v1/jobs", json=job_body(api))


def job_of_a_folder(api):
    return Target(api, "/v1/jobs", json=job_body(api, source=folder_of(api)))


def prediction(api):
    return Target(api, of_student(api), json={"dataset_id": api.new_dataset()})


def prediction_of_files(api):
    return Target(api, of_student(api), files={"images": ("a.jpg", b"x")})


def evaluation(api):
    return Target(api, of_job(api), files={"truth": ("a.csv", b"path,a\n")}, data={"name": "n"})


def export(api):
    return Target(api, f"/v1/jobs/{finished_job(api)}/exports", json={"format": "csv"})


def folder_of(api):
    return {"kind": "folder", "path": str(api.root)}


def job_body(api, **more):
    source = more or {"dataset_id": api.new_dataset()}
    return {**source, "classes": ["a", "b"], "preset": "tiny"}


def of_student(api):
    return f"/v1/students/stu_{finished_job(api).removeprefix('job_')}/predictions"


def of_job(api):
    return f"/v1/jobs/{finished_job(api)}/evaluations"


def finished_job(api):
    job_id = api.new_job()
    api.run_until(job_id, "score")
    return job_id


def records(api):
    return Counter({kind: api.store.count(kind) for kind in Kind})


TARGETS = [
    *(dataset, upload, job, job_of_a_folder),
    *(prediction, prediction_of_files, evaluation, export),
]


@pytest.fixture(params=TARGETS, ids=lambda target: target.__name__)
def send(request, api):
    return request.param(api)


def test_a_request_that_comes_again_gets_the_first_answer_and_makes_nothing(api, send):
    first = send()
    made = records(api)
    # What it made has moved on: the answer has not.
    for lane in Lane:
        if api.store.waiting(lane):
            api.work(lane)
    again = send()

    assert (first.status_code, again.status_code) == (202, 202)
    assert again.content == first.content
    assert again.headers["location"] == first.headers["location"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert records(api) == made


def test_a_request_whose_process_died_is_done_under_the_ids_that_it_had(api, send):
    """As if it had been killed right before its answer was kept."""
    first = send()
    made = records(api)
    api.store.redis.hdel("ccd:once:default:k1", "answer")
    api.store.redis.hset("ccd:once:default:k1", mapping={"until_ms": 0, "holder": "dead"})
    again = send()

    assert again.status_code == 202
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert records(api) == made


def test_the_same_key_with_another_request_is_refused(api):
    send, send_job = upload(api), job(api)
    send()
    answers = [
        send(files={"files": ("a.jpg", b"y")}, data={"name": "monday"}),
        send(files={"files": ("b.jpg", b"x")}, data={"name": "monday"}),
        send(files=FILES, data={"name": "tuesday"}),
        send(json={"source": folder_of(api)}),
        send_job(),
    ]

    assert [(each.status_code, each.json()["code"]) for each in answers] == [
        (422, "idempotency_key_reused")
    ] * len(answers)


def test_json_is_the_same_however_it_is_spaced_and_ordered(api):
    path = str(api.root)
    texts = [
        f'{{"source":{{"kind":"folder","path":"{path}"}},"name":"n"}}',
        f'{{ "name": "\\u006e", "source": {{"path": "{path}", "kind": "folder"}} }}',
    ]
    headers = {**KEY, "Content-Type": "application/json"}
    first, again = (api.post("/v1/datasets", content=text, headers=headers) for text in texts)

    assert first.status_code == 202
    assert again.content == first.content


def test_one_that_is_being_answered_is_told_so_with_when_to_come_back(api):
    send = dataset(api)
    taken = take(api, send)
    busy = send()

    assert (busy.status_code, busy.json()["code"]) == (409, "idempotency_in_flight")
    assert int(busy.headers["retry-after"]) > 0
    assert api.store.count(Kind.DATASET) == 0
    Once(api.store).let_go(taken, forget=False)
    assert send().json()["id"] == f"ds_{taken.mark.stem}"


def take(api, send):
    """The key of a request, as a process that is about to answer it holds it."""
    send()
    key = "ccd:once:default:k1"
    digest = api.store.redis.hget(key, "digest")
    api.store.redis.flushall()
    taken = Once(api.store).take("default:k1", digest)
    assert isinstance(taken, Taken)
    return taken


def test_a_lease_that_the_clock_left_in_the_future_is_over(api):
    send = dataset(api)
    take(api, send)
    api.store.redis.hset("ccd:once:default:k1", "until_ms", 10**14)

    assert send().status_code == 202


def test_a_call_to_the_store_that_is_sent_twice_takes_the_key_once(store):
    asked = ("take_key", "default:k", "digest")
    first = store.call(*asked, "stem1", "holder")
    again = store.call(*asked, "stem2", "holder")

    assert first == again == ["taken", "stem1"]


def test_what_is_refused_leaves_its_key_free(api):
    wrong = api.post("/v1/jobs", json=job_body(api, dataset_id="ds_none"), headers=KEY)
    right = job(api)()

    assert (wrong.status_code, right.status_code) == (404, 202)


def test_a_refused_request_that_left_a_record_makes_no_second_one(api, monkeypatch):
    send = job_of_a_folder(api)
    with monkeypatch.context() as patch:
        patch.setattr("app.submit._submit_job", refused)
        answer = send()
    again = send()

    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")
    assert (again.status_code, again.headers["idempotent-replayed"]) == (202, "true")
    assert (api.store.count(Kind.JOB), api.store.count(Kind.DATASET)) == (1, 1)


def refused(*_, **__):
    raise QuotaExceeded("jobs", 1, 1)


def test_what_was_deleted_is_not_made_again_under_its_id(api):
    send = dataset(api)
    id = send().json()["id"]
    api.register(id)
    api.delete(f"/v1/datasets/{id}").raise_for_status()
    api.store.redis.hdel("ccd:once:default:k1", "answer")
    api.store.redis.hset("ccd:once:default:k1", mapping={"until_ms": 0, "holder": "dead"})
    again = send()

    assert (again.status_code, again.json()["code"]) == (422, "idempotency_key_reused")
    assert id in again.json()["detail"]
    assert not api.folder.of(Kind.DATASET, id).exists()
    assert send().json()["id"] != id


def test_redis_keeps_once_what_a_request_asks_for(api):
    body = {**job_body(api), "classes": [f"class number {n}" for n in range(500)]}
    first, again = (api.post("/v1/jobs", json=body, headers=KEY) for _ in range(2))
    kept = api.store.redis.memory_usage("ccd:once:default:k1", samples=0)

    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    assert kept < 4096 < len(first.content)


def test_the_answer_about_what_was_deleted_since_says_so(api):
    send = dataset(api)
    id = send().json()["id"]
    api.register(id)
    api.delete(f"/v1/datasets/{id}").raise_for_status()
    again = send()

    assert (again.status_code, again.json()["code"]) == (422, "idempotency_key_reused")
    assert f"made {id}, which has been deleted" in again.json()["detail"]


def test_the_folder_of_a_request_that_another_took_over_stays(api, monkeypatch):
    """The first was held up between its folder and its record; then Redis did not answer it."""
    send, second = dataset(api), []

    def held_up(point, *_, **__):
        if point == "submit.written" and not second:
            second.append(None)
            api.store.redis.hset("ccd:once:default:k1", "until_ms", 0)
            second[0] = send()
            raise redis.ConnectionError

    monkeypatch.setattr("app.submit.fault", held_up)
    first = send()

    assert (first.status_code, second[0].status_code) == (503, 202)
    assert read_kept(api.folder.of(Kind.DATASET, second[0].json()["id"]))


def test_twenty_at_once_make_one_job(api):
    body = job_body(api, source=folder_of(api))
    headers = {**KEY, "Connection": "close"}
    answers = at_once(*[lambda: api.post("/v1/jobs", json=body, headers=headers)] * 20)

    answered = [each for each in answers if each.status_code == 202]
    refused = [each.json()["code"] for each in answers if each.status_code != 202]
    assert len({each.content for each in answered}) == 1
    assert set(refused) <= {"idempotency_in_flight"}
    assert (api.store.count(Kind.JOB), api.store.count(Kind.DATASET)) == (1, 1)


def test_without_a_key_each_request_makes_something(api):
    send = dataset(api)

    assert send(headers={}).json()["id"] != send(headers={}).json()["id"]


def test_a_key_is_remembered_for_a_day(api):
    dataset(api)()
    left = api.store.redis.pttl("ccd:once:default:k1") / 1000

    assert ONCE_KEEP_SECONDS - 60 < left <= ONCE_KEEP_SECONDS


@pytest.mark.parametrize("key", ["", "two words", "k" * 256, "tab\tin", "caf\u00e9".encode()])
def test_a_key_that_is_none_is_refused(api, key):
    reply = dataset(api)(headers={"Idempotency-Key": key})

    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_request")
    assert "idempotency-key" in reply.json()["detail"]
    assert api.store.count(Kind.DATASET) == 0


@pytest.mark.parametrize("target", [upload, job_of_a_folder])
def test_a_redis_rebuilt_from_disk_knows_the_keys(api, target):
    send = target(api)
    first = send().json()
    made = records(api)
    api.store.redis.flushall()
    restore(api, first.get("dataset_id", first["id"]))
    if "dataset_id" in first:
        restore(api, first["id"])
    again = send()

    assert 0 < api.store.redis.pttl("ccd:once:default:k1") <= ONCE_KEEP_SECONDS * 1000
    assert (again.status_code, again.headers["idempotent-replayed"]) == (202, "true")
    assert again.json()["id"] == first["id"]
    assert records(api) == made


def restore(api, id):
    kind = Kind.JOB if id.startswith("job_") else Kind.DATASET
    assert api.store.restore(read_kept(api.folder.of(kind, id))) is Status.QUEUED


def test_a_repetition_that_waits_gets_the_work_as_it_is_then(api):
    send = dataset(api)
    first = send()
    api.register(first.json()["id"])
    again = send(headers={**KEY, "Prefer": "wait=5"})

    assert (first.json()["status"], again.json()["status"]) == ("registering", "ready")
    assert (again.status_code, again.headers["preference-applied"]) == (200, "wait=5")
    assert again.headers["idempotent-replayed"] == "true"
