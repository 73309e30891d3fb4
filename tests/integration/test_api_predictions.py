"""Predictions over HTTP: asked for with files, folders and datasets; waited for; read."""

import csv
import io
import json
import threading

import pytest
import torch

from app import bodies
from app.errors import Problem
from app.routes import predictions
from workers.jobs import JobError, Kind, Lane


@pytest.fixture
def student(api):
    """The address of a student's predictions."""
    job_id = api.new_job()
    api.run_until(job_id, "score")
    return f"/v1/students/stu_{job_id.removeprefix('job_')}/predictions"


def predict(api, prediction_id):
    """Do the phase `predict`; columns are ant, bee, zebra."""
    probs = torch.tensor([[0.1, 0.2, 0.9], [0.6, 0.9, 0.1], [0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])
    name = "predict-" + prediction_id.removeprefix("pred_")
    api.publish(name, "scores.safetensors", {"probs": probs})
    assert api.work(Lane.IO, output=name) == prediction_id


def test_uploaded_images_become_rows(api, student):
    files = [("images", (f"{i}.jpg", b"x")) for i in range(5)]

    created = api.post(student, files=files, data={"name": "monday"})
    prediction = created.json()
    api.register(prediction["dataset_id"])
    predict(api, prediction["id"])
    done = api.get(created.headers["location"]).json()

    assert (created.status_code, prediction["status"]) == (202, "queued")
    assert (prediction["data"], prediction["name"]) == (None, "monday")
    assert int(created.headers["retry-after"]) > 0
    assert (done["status"], done["terminal"]) == ("succeeded", True)
    assert [row["image_id"] for row in done["data"]] == [f"img_{i}" for i in range(5)]
    assert list(done["data"][0]["scores"].values()) == [0.9, 0.1, 0.2]
    # Thresholds: ant 0.5, bee none, zebra 0.3.
    assert [row["labels"] for row in done["data"]] == [
        ["zebra"],
        ["=ant"],
        [],
        ["zebra", "=ant"],
        ["zebra"],
    ]


def test_the_dataset_of_uploaded_images_is_not_listed(api, student):
    before = api.get("/v1/datasets").json()["data"]

    prediction = api.post(student, files={"images": ("a.jpg", b"x")}).json()

    assert api.get("/v1/datasets").json()["data"] == before
    assert api.get(f"/v1/datasets/{prediction['dataset_id']}").status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k1"}], ids=["no key", "a key"])
def test_images_of_a_prediction_that_is_refused_do_not_stay(api, student, monkeypatch, headers):
    def refused(*_, **__):
        raise Problem("dataset_failed", "no worker could read it")

    folders = set(api.folder.records(Kind.DATASET).iterdir())
    files = {"images": ("a.jpg", b"x")}
    with monkeypatch.context() as patch:
        patch.setattr(predictions, "submit_prediction", refused)
        reply = api.post(student, files=files, headers=headers)

    assert (reply.status_code, reply.json()["code"]) == (409, "dataset_failed")
    assert api.store.count(Kind.DATASET) == 1  # that of the student's job
    assert set(api.folder.records(Kind.DATASET).iterdir()) == folders
    assert api.post(student, files=files, headers=headers).status_code == 202


def test_no_images_are_kept_for_a_student_that_went_while_they_came(api, student, monkeypatch):
    receive, job_id = bodies.receive_upload, "job_" + student.split("/")[3].removeprefix("stu_")

    async def slowly(*args, **kwargs):
        upload = await receive(*args, **kwargs)
        api.store.delete(job_id)
        return upload

    monkeypatch.setattr(bodies, "receive_upload", slowly)
    reply = api.post(student, files={"images": ("a.jpg", b"x")})

    assert (reply.status_code, reply.json()["code"]) == (404, "student_not_found")
    assert api.store.count(Kind.DATASET) == 1


def test_a_dataset_and_a_folder_can_be_asked_about(api, student):
    dataset_id = api.new_dataset()
    source = {"kind": "folder", "path": str(api.root)}

    of_dataset = api.post(student, json={"dataset_id": dataset_id})
    of_folder = api.post(student, json={"source": source})

    assert (of_dataset.status_code, of_folder.status_code) == (202, 202)
    assert of_dataset.json()["dataset_id"] == dataset_id
    request = api.store.get(of_folder.json()["id"]).request
    assert request["student_id"] == student.split("/")[3]
    assert api.store.get(request["dataset_id"]).request["source"] == source


def test_a_client_that_waits_gets_the_rows_at_once(api, student):
    dataset_id = api.new_dataset()
    replies = []
    asking = threading.Thread(
        target=lambda: replies.append(
            api.post(student, json={"dataset_id": dataset_id}, headers={"Prefer": "wait=15"})
        )
    )

    asking.start()
    claim = None
    while claim is None:
        claim = api.store.claim(Lane.IO, worker="w", nonce="n1")
    name = "predict-" + claim.record.id
    api.publish(name, "scores.safetensors", {"probs": torch.zeros(4, 3)})
    api.store.complete(claim, output=name, done=1)
    asking.join()

    (reply,) = replies
    assert (reply.status_code, reply.json()["status"]) == (200, "succeeded")
    assert reply.headers["preference-applied"] == "wait=15"
    assert len(reply.json()["data"]) == 5
    assert reply.headers["location"] == f"/v1/predictions/{reply.json()['id']}"


def test_a_client_that_waits_too_short_is_told_where_to_look(api, student):
    reply = api.post(student, json={"dataset_id": api.new_dataset()}, headers={"Prefer": "wait=1"})

    assert reply.status_code == 202
    assert reply.headers["preference-applied"] == "wait=1"


def test_rows_come_in_pages_and_streams(api, student):
    prediction = api.post(student, json={"dataset_id": api.new_dataset()}).json()
    address = f"/v1/predictions/{prediction['id']}"
    early = api.get(address, headers={"Accept": "text/csv"})
    predict(api, prediction["id"])

    first = api.get(address, params={"limit": 3}).json()
    rest = api.get(address, params={"limit": 3, "cursor": first["next_cursor"]}).json()
    lines = api.get(address, headers={"Accept": "application/x-ndjson"}).text.splitlines()
    table = list(csv.reader(io.StringIO(api.get(address, headers={"Accept": "text/csv"}).text)))

    assert (early.status_code, early.json()["code"]) == (409, "not_ready")
    assert [json.loads(line) for line in lines] == [*first["data"], *rest["data"]]
    assert len(table) == 6


def test_a_prediction_is_not_sent_again_until_it_changed(api, student):
    prediction = api.post(student, json={"dataset_id": api.new_dataset()}).json()
    address = f"/v1/predictions/{prediction['id']}"
    etag = {"If-None-Match": api.get(address).headers["etag"]}

    same = api.get(address, headers=etag)
    predict(api, prediction["id"])
    later = api.get(address, headers=etag)

    assert (same.status_code, later.status_code) == (304, 200)


def test_a_prediction_fails_with_its_images(api, student):
    prediction = api.post(student, files={"images": ("a.txt", b"x")}).json()
    claim = api.store.claim(Lane.IO, worker="w", nonce="n1")
    api.store.fail(claim, JobError("no_images", "register", "no image in it"))

    found = api.get(f"/v1/predictions/{prediction['id']}").json()

    assert (found["status"], found["error"]["code"], found["data"]) == ("failed", "no_images", None)


def test_rows_go_with_their_dataset(api, student):
    dataset_id = api.new_dataset()
    prediction = api.post(student, json={"dataset_id": dataset_id}).json()
    predict(api, prediction["id"])
    assert api.delete(f"/v1/datasets/{dataset_id}").status_code == 200

    reply = api.get(f"/v1/predictions/{prediction['id']}")

    assert (reply.status_code, reply.json()["code"]) == (410, "dataset_deleted")
    assert api.delete(f"/v1/predictions/{prediction['id']}").status_code == 200


@pytest.mark.parametrize(
    ("kwargs", "status", "code"),
    [
        ({"json": {}}, 422, "invalid_request"),
        ({"json": {"dataset_id": "ds_0"}}, 404, "dataset_not_found"),
        ({"json": {"source": {"kind": "folder", "path": "/etc"}}}, 403, "path_not_allowed"),
        ({"json": {"images": []}}, 422, "invalid_request"),
        ({"files": {"files": ("a.jpg", b"x")}}, 422, "invalid_request"),
        ({"files": {"archive": ("a.zip", b"x")}}, 415, "unsupported_archive"),
        ({"content": b"x"}, 415, "unsupported_media_type"),
    ],
)
def test_wrong_input_is_refused(api, student, kwargs, status, code):
    reply = api.post(student, **kwargs)

    assert (reply.status_code, reply.json()["code"]) == (status, code)
