"""What is another project's is not there: every route, with every key it should not take."""

import json
import re

import pytest
from fastapi.routing import iter_route_contexts

from app.callers import Scope
from app.main import create_app
from workers.jobs import Kind
from workers.recovery import recover
from workers.settings import Settings

#: Answered without a key.
OPEN = {"/livez", "/readyz", "/openapi.json", "/problems", "/problems/{code}"}
#: About the service itself: for the scope admin, whatever the project.
SERVICE = re.compile(r"/v1/keys(?!/current)|/v1/workers|/v1/audit|/metrics")
#: Routes that see no record: there is nothing foreign for them.
OWN = {"create_dataset", "get_current_key", "get_usage"}
#: A body for each call that needs one, so that it gets as far as the record.
BODIES = {
    "create_job": lambda ids: {"dataset_id": ids["dataset_id"], "classes": ["a", "b"]},
    "create_prediction": lambda ids: {"dataset_id": ids["dataset_id"]},
    "create_evaluation": lambda ids: {"source": {"kind": "file", "path": "/x"}},
    "create_export": lambda _: {"format": "csv"},
    "change_thresholds": lambda _: {"thresholds": {"zebra": 0.5}},
}


def routes():
    """(method, template, operation) of every call that the service answers."""
    app = create_app(Settings())
    for route in iter_route_contexts(app.routes):
        for method in sorted(route.methods):
            yield method, route.path, getattr(route, "operation_id", None) or method


ROUTES = list(routes())
KEYED = [route for route in ROUTES if route[1] not in OPEN]
RECORDS = [route for route in KEYED if not SERVICE.match(route[1]) and route[2] not in OWN]
by_name = pytest.mark.parametrize(("method", "template", "operation"), KEYED)


@pytest.fixture
def ids(caller):
    """Whatever one project can have, by the names that routes have for it."""
    ours = caller(Scope.WRITE)
    job_id = ours.new_job()
    ours.run_until(job_id, "score")
    ours.report(job_id, {"report.html": "<p>", "health.json": "{}", "policy.txt": "x"})
    job = ours.get(f"/v1/jobs/{job_id}").json()
    student_id, dataset_id = job["student_id"], job["dataset_id"]
    path = f"/v1/students/{student_id}/predictions"
    prediction_id = ours.post(path, json={"dataset_id": dataset_id}).json()["id"]
    truth = {"truth": ("truth.csv", b"path,labels\na.jpg,zebra\n")}
    evaluation_id = ours.post(f"/v1/jobs/{job_id}/evaluations", files=truth).json()["id"]
    export_id = ours.post(f"/v1/jobs/{job_id}/exports", json={"format": "csv"}).json()["id"]
    for id in (prediction_id, evaluation_id, export_id):  # so that nobody waits for a worker
        ours.store.cancel(id)
    return {
        "job_id": job_id,
        "dataset_id": dataset_id,
        "student_id": student_id,
        "prediction_id": prediction_id,
        "evaluation_id": evaluation_id,
        "image_id": "img_0",
        "export_id": export_id,
        "name": "student.safetensors",
    }


def address(template, ids):
    for name in re.findall(r"{(\w+)}", template):
        assert name in ids, f"say above what a {name} of another project is"
    query = "?class=zebra" if template.endswith("/cam") else ""
    return template.format(**ids) + query


def call(client, method, template, operation, ids):
    body = BODIES[operation](ids) if operation in BODIES else None
    return client.request(method, address(template, ids), json=body)


def without_ids(reply, ids):
    """An answer but for what it repeats of the call, and what is told apart on purpose."""
    text = reply.text.replace(reply.headers["x-request-id"], "")
    for id in ids.values():
        text = text.replace(id, "ID")
    return reply.status_code, text


def test_what_needs_no_key_is_known_and_says_nothing_of_records(caller):
    assert {template for _, template, _ in ROUTES} - {route[1] for route in KEYED} == OPEN

    for template in OPEN:
        assert caller().get(template.format(code="not_found")).status_code == 200


@by_name
def test_without_a_key_no_route_answers(caller, method, template, operation):
    path = re.sub(r"{\w+}", "x", template)

    for header in ({}, {"Authorization": "Bearer key_" + "0" * 22 + "." + "A" * 43}):
        reply = caller().request(method, path, headers=header, content=b"{")

        assert reply.status_code == 401
        assert reply.headers["www-authenticate"].startswith("Bearer")
        assert method == "HEAD" or reply.json()["code"] == "unauthorized"


@by_name
def test_a_key_of_too_little_scope_is_told_which_it_needs(caller, method, template, operation):
    needed = (
        Scope.ADMIN
        if SERVICE.match(template)
        else Scope.READ
        if method in {"GET", "HEAD"}
        else Scope.WRITE
    )
    lesser = {Scope.ADMIN: [Scope.WRITE], Scope.WRITE: [Scope.READ], Scope.READ: []}[needed]
    for scope in lesser:
        reply = caller(scope).request(method, re.sub(r"{\w+}", "x", template), json={})

        if scope is Scope.WRITE and reply.status_code == 422:
            pytest.fail("the body is looked at before the scope")
        assert reply.status_code == 403
        assert reply.json()["code"] == "scope_missing"
        assert str(needed) in reply.json()["detail"] + reply.headers["www-authenticate"]


def test_a_foreign_id_is_answered_like_one_that_never_was(caller, ids):
    """One test for all routes: what a project can have takes a while to make."""
    theirs = caller(Scope.ADMIN, project="theirs")
    unknown = {name: re.sub(r"[0-9a-z]{4}$", "zzzz", id) for name, id in ids.items()}

    for method, template, operation in RECORDS:
        names = set(re.findall(r"{(\w+)}", template)) or BODIES.get(operation, "")
        foreign = call(theirs, method, template, operation, ids)
        if not names:
            assert foreign.status_code == 200, operation
            assert foreign.json()["data"] == [], operation
            continue
        missing = call(theirs, method, template, operation, unknown)
        assert foreign.status_code == 404, (operation, foreign.text)
        assert without_ids(foreign, ids) == without_ids(missing, unknown), operation


def test_the_same_calls_by_their_owner_find_it(caller, ids):
    """Else the test above would tell nothing."""
    ours = caller(Scope.READ)

    for method, template, operation in RECORDS:
        if method == "GET" and operation != "get_cam":
            reply = call(ours, method, template, operation, ids)
            assert reply.status_code != 404, (operation, reply.text)


def test_nothing_foreign_can_be_worked_on_by_way_of_another_record(caller, ids):
    theirs = caller(Scope.WRITE, project="theirs")
    job_id = theirs.new_job()
    theirs.run_until(job_id, "score")
    student = theirs.get(f"/v1/jobs/{job_id}").json()["student_id"]
    foreign = {"dataset_id": ids["dataset_id"]}

    answers = [
        theirs.post("/v1/jobs", json={**foreign, "classes": ["a", "b"]}),
        theirs.post(f"/v1/students/{student}/predictions", json=foreign),
        theirs.post(f"/v1/students/{ids['student_id']}/predictions", json=foreign),
    ]

    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert [answer.json()["code"] for answer in answers] == [
        "dataset_not_found",
        "dataset_not_found",
        "student_not_found",
    ]


def test_lists_show_a_project_its_own(caller):
    ours, theirs = caller(Scope.WRITE), caller(Scope.WRITE, project="theirs")
    own = {client: [client.new_dataset() for _ in range(3)] for client in (ours, theirs, ours)}

    for client, ids in own.items():
        first = client.get("/v1/datasets", params={"limit": 2}).json()
        second = client.get("/v1/datasets", params={"cursor": first["next_cursor"]}).json()
        seen = [row["id"] for row in first["data"] + second["data"]]
        assert set(ids) <= set(seen)
        assert not set(seen) & {id for other in own if other is not client for id in own[other]}


def test_a_projects_share_of_the_workers_is_its_own_whatever_it_says(caller):
    ours = caller(Scope.WRITE)
    dataset_id = ours.new_dataset()

    job = ours.post(
        "/v1/jobs",
        json={"dataset_id": dataset_id, "classes": ["a", "b"], "preset": "tiny"},
        headers={"X-Submitter": "theirs"},
    ).json()

    assert job["submitter"] == "ours"
    request = json.loads((ours.folder.job(job["id"]) / "request.json").read_text())
    assert (request["project"], request["submitter"]) == ("ours", "ours")


def test_a_deleted_record_leaves_the_list_of_its_project(caller):
    ours = caller(Scope.WRITE)
    before = ours.store.count(Kind.DATASET, project="ours")
    dataset_id = ours.new_dataset()

    assert ours.delete(f"/v1/datasets/{dataset_id}").is_success
    assert ours.store.count(Kind.DATASET, project="ours") == before
    assert ours.store.list(Kind.DATASET, project="ours")[0] == []


def test_where_redis_was_emptied_a_record_comes_back_to_its_project(caller, store):
    ours = caller(Scope.WRITE, project="recovered")
    reply = ours.post("/v1/datasets", json={"source": {"kind": "folder", "path": str(ours.root)}})
    dataset_id = reply.json()["id"]
    store.redis.flushall()
    assert ours.get(f"/v1/datasets/{dataset_id}").status_code == 404

    recover(store, ours.folder, apply=True)

    assert ours.get(f"/v1/datasets/{dataset_id}").status_code == 200
    assert dataset_id in {row["id"] for row in ours.get("/v1/datasets").json()["data"]}
    theirs = caller(Scope.READ, project="theirs").get("/v1/datasets").json()["data"]
    assert dataset_id not in {row["id"] for row in theirs}
    assert store.get(dataset_id).project == "recovered"
