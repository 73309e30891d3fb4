"""Evaluations over HTTP: a truth uploaded or on the server, a worker's unit, the figures."""

import io
import json
import zipfile

import pytest

from tests.store_calls import worker_of
from tests.truths import coco, voc_object, write_voc
from workers.jobs import Kind

#: Paths and classes of the job of `Api`.
TRUTH = (
    'path,labels\na.jpg,zebra\n"\'=b.jpg","\'=ant"\nd/é.jpg,bee\\; \\\\ honey;zebra\nnone.jpg,\n'
)


class Desk:
    """A succeeded job, a way to hand in truths for it, and a worker of the lane `io`."""

    def __init__(self, api):
        self.api, self.job = api, api.new_job()
        api.run_until(self.job, "score")

    def post(self, **kwargs):
        return self.api.post(f"/v1/jobs/{self.job}/evaluations", **kwargs)

    def upload(self, content, filename="truth.csv", **fields):
        return self.post(files={"truth": (filename, content)}, data=fields)

    def work(self):
        worker_of(self.api.store, self.api.settings).run_until_empty()

    def read(self, evaluation, **params):
        return self.api.get(f"/v1/evaluations/{evaluation['id']}", params=params).json()


@pytest.fixture
def desk(api):
    return Desk(api)


def test_an_uploaded_truth_gives_the_figures_of_every_stage(api, desk):
    reply = desk.upload(TRUTH, name="check")
    accepted = reply.json()
    stored = api.folder.of(Kind.EVALUATION, accepted["id"])

    assert reply.status_code == 202
    assert reply.headers["location"] == f"/v1/evaluations/{accepted['id']}"
    assert (accepted["status"], accepted["map"], accepted["result"]) == ("queued", None, None)
    assert accepted["source"] == {"kind": "upload", "filename": "truth.csv"}
    assert (stored / "truth").read_text() == TRUTH
    assert json.loads((stored / "request.json").read_text())["request"]["job_id"] == desk.job

    desk.work()
    found = desk.read(accepted)

    assert (found["status"], found["error"], found["name"]) == ("succeeded", None, "check")
    assert found["counts"]["matched"] == 3
    assert found["counts"]["untold"] == 2
    # Student: zebra is right in the image of score 0.9 and in the one of 0.3, above 0.5.
    student = found["result"]["stages"]["student"]
    zebra = student["classes"][0]
    assert (zebra["name"], zebra["at_threshold"]["threshold"]) == ("zebra", 0.3)
    assert zebra["average_precision"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert found["map"]["student"] == student["map"]
    assert set(found["result"]["best_thresholds"]) == {"zebra", "=ant", "bee; \\ honey"}
    assert [w["code"] for w in found["warnings"]] == ["truth_unmatched"]
    assert json.loads((stored / "result.json").read_text())["status"] == "succeeded"


def test_curves_come_when_asked_for(api, desk):
    evaluation = desk.upload(TRUTH).json()
    desk.work()

    plain, full = desk.read(evaluation), desk.read(evaluation, curves=True)

    assert "curves" not in plain["result"]
    assert full["result"]["curves"]["student"]["zebra"][-1][1] == 1


def test_a_job_lists_its_own_evaluations_newest_first(api, desk):
    other = Desk(api)
    ids = [desk.upload(TRUTH).json()["id"] for _ in range(2)]
    other.upload(TRUTH)
    desk.work()

    listed = api.get(f"/v1/jobs/{desk.job}/evaluations").json()

    assert [row["id"] for row in listed["data"]] == ids[::-1]
    assert listed["data"][0]["map"]["global"] is not None
    assert "result" not in listed["data"][0]
    assert listed["next_cursor"] is None


def test_an_evaluation_is_not_sent_again_until_it_changed(api, desk):
    evaluation = desk.upload(TRUTH).json()
    address = f"/v1/evaluations/{evaluation['id']}"
    etag = {"If-None-Match": api.get(address).headers["etag"]}

    same = api.get(address, headers=etag)
    desk.work()
    later = api.get(address, headers=etag)
    curves = api.get(
        address, headers={"If-None-Match": later.headers["etag"]}, params={"curves": 1}
    )

    assert (same.status_code, later.status_code, curves.status_code) == (304, 200, 200)


def test_a_zip_of_a_voc_is_a_truth(api, desk, tmp_path):
    write_voc(tmp_path / "VOC2012", {"a": [voc_object("zebra")], "z": []})
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in tmp_path.rglob("*.xml"):
            archive.write(path, path.relative_to(tmp_path))

    evaluation = desk.upload(content.getvalue(), filename="voc.zip").json()
    desk.work()
    found = desk.read(evaluation)

    assert found["result"]["format"] == "voc"
    assert found["counts"]["matched"] == 2
    assert api.store.live_nonces() == set()
    assert list(api.folder.staging_root.iterdir()) == []


def test_a_file_or_folder_of_the_server_is_a_truth(api, desk):
    images = [{"id": 1, "file_name": "a.jpg"}]
    categories = [{"id": 7, "name": "Zebra"}]
    annotations = [{"image_id": 1, "category_id": 7, "id": 1}]
    folder = api.root / "truth"
    folder.mkdir(exist_ok=True)
    file = folder / "instances.json"
    file.write_text(json.dumps(coco(images=images, annotations=annotations, categories=categories)))

    for kind, path in (("file", file), ("folder", folder)):
        body = {"source": {"kind": kind, "path": str(path)}, "class_map": {"Zebra": "zebra"}}
        evaluation = desk.post(json=body).json()
        desk.work()
        found = desk.read(evaluation)

        assert found["source"] == {"kind": kind, "path": str(path)}
        assert found["error"] is None
        assert found["map"]["student"] == 1


@pytest.mark.parametrize(
    ("content", "fields", "code", "said"),
    [
        ("path,labels\na.jpg,zebra\na.jpg,\n", {}, "truth_conflict", "line 3"),
        ("path,labels\na.jpg,caf\xe9\n".encode("latin-1"), {}, "truth_encoding", "line 2"),
        ("path,labels\nother.jpg,zebra\n", {}, "truth_images_differ", "other.jpg"),
        ("path,labels\na.jpg,gnu\n", {}, "truth_classes_differ", "it has gnu"),
        (TRUTH, {"split": "train"}, "truth_split_unknown", "has no splits"),
        (TRUTH, {"class_map": '{"gnu": "zebra"}'}, "truth_class_unknown", "'gnu'"),
        ('{"images": [' + "[" * 100_000, {}, "truth_malformed", "too deeply"),
    ],
)
def test_a_truth_that_cannot_be_used_fails_with_its_reason(desk, content, fields, code, said):
    evaluation = desk.upload(content, **fields).json()
    desk.work()
    found = desk.read(evaluation)

    assert (found["status"], found["result"]) == ("failed", None)
    assert (found["error"]["code"], found["error"]["phase"]) == (code, "evaluate")
    assert said in found["error"]["message"]


@pytest.mark.parametrize(
    ("kwargs", "status", "code", "pointer"),
    [
        ({"json": {}}, 422, "invalid_request", "/source"),
        (
            {"json": {"source": {"kind": "folder", "path": "/etc"}}},
            403,
            "path_not_allowed",
            None,
        ),
        (
            {"json": {"source": {"kind": "file", "path": "/etc/passwd"}}},
            403,
            "path_not_allowed",
            None,
        ),
        ({"files": {"file": ("a.csv", b"x")}}, 422, "invalid_request", "/file"),
        ({"files": {"truth": ("a.csv", b"")}}, 422, "invalid_request", "/truth"),
        (
            {"files": {"truth": ("a.csv", b"x")}, "data": {"format": "xml"}},
            422,
            "invalid_request",
            "/format",
        ),
        (
            {"files": {"truth": ("a.csv", b"x")}, "data": {"format": "csv", "split": "train"}},
            422,
            "invalid_request",
            "",
        ),
        (
            {"files": {"truth": ("a.csv", b"x")}, "data": {"class_map": "{"}},
            422,
            "invalid_request",
            "/class_map",
        ),
        (
            {"files": {"truth": ("a.csv", b"x")}, "data": {"class_map": '{"a": "zebr"}'}},
            422,
            "invalid_request",
            "/class_map/a",
        ),
        (
            {"files": {"truth": ("a.csv", b"x")}, "data": {"colour": "red"}},
            422,
            "invalid_request",
            "/colour",
        ),
        ({"files": {"truth": ("a.zip", b"PK\x03\x04broken")}}, 422, "archive_rejected", None),
        ({"content": b"x"}, 415, "unsupported_media_type", None),
    ],
)
def test_wrong_requests_are_refused_at_once(desk, kwargs, status, code, pointer):
    reply = desk.post(**kwargs)

    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert [e["pointer"] for e in reply.json().get("errors", [])][:1] == (
        [] if pointer is None else [pointer]
    )
    assert list(desk.api.folder.staging_root.iterdir()) == []


def test_a_job_that_has_not_succeeded_is_not_evaluated(api):
    reply = api.post(f"/v1/jobs/{api.new_job()}/evaluations", files={"truth": TRUTH})

    assert (reply.status_code, reply.json()["code"]) == (409, "not_ready")


def test_what_is_not_there_is_told(api):
    posted = api.post("/v1/jobs/job_0/evaluations", files={"truth": TRUTH})

    assert posted.json()["code"] == "job_not_found"
    assert api.get("/v1/jobs/job_0/evaluations").json()["code"] == "job_not_found"
    assert api.get("/v1/evaluations/eval_0").json()["code"] == "evaluation_not_found"


def test_a_damaged_evaluation_is_not_served(api, desk):
    evaluation = desk.upload(TRUTH).json()
    desk.work()
    output = api.store.outputs(evaluation["id"])["evaluate", 0]
    (api.folder.phase(output) / "evaluation.json").write_text("{}")

    reply = api.get(f"/v1/evaluations/{evaluation['id']}")

    assert (reply.status_code, reply.json()["code"]) == (500, "artifact_corrupt")
