"""Exports over HTTP: asked for, made by a real worker, read back, downloaded, deleted.

The student's labels: img_0 zebra =ant, img_1 zebra =ant, img_2 none, img_3 zebra, img_4 as img_0;
its scores, in the user's order zebra, =ant, bee: .9 .9 .1, .5 .5 .5, .2 .49 0, .3 0 1.
"""

import csv
import io
import json
from hashlib import sha256
from zipfile import ZipFile

import pyarrow.parquet as pq
import pytest
from PIL import Image

from workers.exports.source import SELECTED
from workers.jobs import Kind, Lane
from workers.truth.read import read_truth
from workers.worker import Worker

BEE = "bee; \\ honey"
NAMES = ["zebra", "=ant", BEE]
#: In the byte order of the paths; the last has the bytes of the first.
FILES = ["=b.jpg", "a b.png", "c,\n.jpg", "d/é.jpg", "z.jpg"]


@pytest.fixture
def job_id(api):
    job_id = api.new_job()
    api.run_until(job_id, "score")
    return job_id


@pytest.fixture
def worker(api):
    return worker_of(api)


def worker_of(api, *, drains=(lambda: False)):
    return Worker(
        Lane.IO,
        settings=api.settings,
        store=api.store,
        name="io@test",
        is_draining=drains,
        ring=lambda *_: None,
    )


def asked(api, job_id, **body):
    reply = api.post(f"/v1/jobs/{job_id}/exports", json=body)
    assert reply.status_code == 202, reply.text
    return reply.json()


def exported(api, job_id, **body):
    """The export and the bytes of its file."""
    id = asked(api, job_id, **body)["id"]
    worker_of(api).run_until_empty()
    export = api.get(f"/v1/exports/{id}").json()
    assert export["status"] == "succeeded", export["error"]
    reply = api.get(f"/v1/exports/{id}/file")
    assert len(reply.content) == export["file"]["bytes"]
    assert sha256(reply.content).hexdigest() == export["file"]["sha256"]
    return export, reply.content


def folder_of(api, export):
    """Where the file lies."""
    return api.folder.phase(api.store.output(export["id"], "export_labels", 0))


def labels_of(api, job_id, **query):
    return api.get(f"/v1/jobs/{job_id}/labels", params=query).json()["data"]


def test_an_export_is_accepted_made_and_downloaded(api, worker, job_id):
    reply = api.post(f"/v1/jobs/{job_id}/exports", json={"format": "jsonl", "name": "for Ann"})
    queued = reply.json()
    early = api.get(f"/v1/exports/{queued['id']}/file")
    worker.run_until_empty()
    done = api.get(f"/v1/exports/{queued['id']}").json()
    file = api.get(f"/v1/exports/{queued['id']}/file")

    assert (reply.status_code, reply.headers["location"]) == (202, f"/v1/exports/{queued['id']}")
    assert (queued["status"], queued["file"], queued["losses"]) == ("queued", None, None)
    assert (early.status_code, early.json()["code"]) == (409, "not_ready")
    assert done["progress"]["percent"] == 100
    assert done["counts"] == {"images": 5}
    assert (done["name"], done["stage"], done["thresholds_version"]) == ("for Ann", "student", 1)
    assert done["file"]["name"] == f"{job_id}-student-v1-jsonl.jsonl"
    assert file.headers["etag"] == f'"{done["file"]["sha256"]}"'
    assert [json.loads(line) for line in file.text.splitlines()] == labels_of(api, job_id)


def test_a_long_table_has_a_line_for_each_image_and_class(api, job_id):
    export, content = exported(api, job_id, format="csv")

    rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    assert len(rows) == 15
    assert rows[0] == {
        "image_id": "img_0",
        "path": "a.jpg",
        "class": "zebra",
        "score": "0.9",
        "label": "1",
        "thresholds_version": "1",
    }
    assert [row["class"] for row in rows[:3]] == ["zebra", "'=ant", BEE]
    assert [row["label"] for row in rows[9:12]] == ["1", "0", "0"]
    assert rows[3]["path"] == "'=b.jpg"
    assert rows[6]["path"] == "c,\n.png"
    assert "apostrophe" in export["losses"]["notes"][0]


def test_a_long_table_of_a_stage_without_labels_says_nothing_of_them(api, job_id):
    _, content = exported(api, job_id, format="csv", stage="local")

    rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    assert {row["label"] for row in rows} == {""}
    assert [float(row["score"]) for row in rows[9:12]] == [0.4, 0.0, 0.6]


def test_a_wide_table_is_what_the_labels_are_as_csv(api, job_id):
    _, content = exported(api, job_id, format="csv_wide", stage="pseudo")

    stream = api.get(
        f"/v1/jobs/{job_id}/labels", params={"stage": "pseudo"}, headers={"Accept": "text/csv"}
    )
    assert content == stream.content


def test_a_class_with_the_name_of_a_column_is_told(api):
    job_id = api.new_job(classes=["path", "=ant", BEE])
    api.run_until(job_id, "debias")

    export, _ = exported(api, job_id, format="csv_wide", stage="global")
    parquet, content = exported(api, job_id, format="parquet", stage="global")

    assert "Two columns are called path" in export["losses"]["notes"][-1]
    assert parquet["losses"]["notes"] == []
    assert "score:path" in pq.read_table(io.BytesIO(content)).column_names


def test_parquet_holds_types_and_where_the_labels_come_from(api, job_id):
    _, content = exported(api, job_id, format="parquet")

    table = pq.read_table(io.BytesIO(content))
    rows = table.to_pylist()
    about = json.loads(table.schema.metadata[b"ccd"])
    expected = labels_of(api, job_id)
    assert about["thresholds"] == {"zebra": 0.3, "=ant": 0.5, BEE: None}
    assert (about["job_id"], about["stage"], about["thresholds_version"]) == (job_id, "student", 1)
    assert [row["labels"] for row in rows] == [row["labels"] for row in expected]
    assert rows[1]["path_raw"] == b"=b.jpg"
    for row, want in zip(rows, expected, strict=True):
        got = {name: float(f"{row[f'score:{name}']:.6g}") for name in NAMES}
        assert got == want["scores"]


def test_coco_holds_labels_of_whole_images(api, tmp_path, job_id):
    export, content = exported(api, job_id, format="coco")
    (tmp_path / "instances.json").write_bytes(content)

    found = json.loads(content)
    truth = read_truth(tmp_path / "instances.json")

    assert [category["name"] for category in found["categories"]] == NAMES
    assert found["images"][3] == {
        "id": 4,
        "file_name": "d/é.jpg",
        "width": 20,
        "height": 10,
        "image_id": "img_3",
    }
    assert found["annotations"][0] == {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "iscrowd": 0,
        "score": 0.9,
    }
    assert not any("bbox" in annotation for annotation in found["annotations"])
    expected = {row["path"]: set(row["labels"]) for row in labels_of(api, job_id)}
    assert {path: image.labels for path, image in truth.images.items()} == expected
    assert (export["losses"]["images"], export["losses"]["labels"]) == (0, 0)


def test_label_studio_gets_tasks_with_predictions(api, job_id):
    export, content = exported(api, job_id, format="label_studio", image_prefix="s3://bucket/")

    tasks = json.loads(content)
    config = export["label_config"]
    assert tasks[3]["data"]["image"] == "s3://bucket/d/%C3%A9.jpg"
    assert tasks[3]["data"]["scores"] == {"zebra": 0.3, "=ant": 0, BEE: 1}
    (prediction,) = tasks[1]["predictions"]
    assert prediction["model_version"] == f"{job_id} student v1"
    assert prediction["score"] == 0.5
    assert prediction["result"][0]["value"] == {"choices": ["zebra", "=ant"]}
    assert tasks[2]["predictions"][0]["result"] == []
    assert '<Choice value="=ant"/>' in config
    assert f'toName="{prediction["result"][0]["to_name"]}"' in config


def test_an_export_has_the_thresholds_in_force_or_those_asked_for(api, job_id):
    student = f"/v1/students/stu_{job_id.removeprefix('job_')}/thresholds"
    never = dict.fromkeys(NAMES)
    assert api.put(student, json={"thresholds": never}).status_code == 200

    now, new = exported(api, job_id, format="jsonl")
    before, old = exported(api, job_id, format="jsonl", thresholds_version=1)

    assert (now["thresholds_version"], before["thresholds_version"]) == (2, 1)
    assert now["file"]["name"] != before["file"]["name"]
    assert {len(json.loads(line)["labels"]) for line in new.splitlines()} == {0}
    assert len(json.loads(old.splitlines()[0])["labels"]) == 2


def test_the_same_export_again_has_the_same_file_without_work(api, job_id):
    first, _ = exported(api, job_id, format="parquet")
    folder = folder_of(api, first)
    made = folder.stat().st_mtime_ns
    second, _ = exported(api, job_id, format="parquet", name="once more")

    assert second["id"] != first["id"]
    assert second["file"] == first["file"]
    assert folder_of(api, second) == folder
    assert folder.stat().st_mtime_ns == made


@pytest.mark.parametrize(
    "filters",
    [
        {"class": ["zebra", "=ant"]},
        {"class": ["zebra"], "min_score": 0.3, "max_score": 0.6},
        {"label_count": 0},
        {"disagree": ["teacher", "student"], "label_count": 1},
    ],
    ids=str,
)
def test_an_export_has_the_images_that_its_filters_let_through(api, job_id, filters):
    query = {**filters, "disagree": ",".join(filters.get("disagree", [])) or None}
    wanted = labels_of(api, job_id, **{k: v for k, v in query.items() if v is not None})

    export, content = exported(api, job_id, format="jsonl", filters=filters)

    assert [json.loads(line) for line in content.decode().splitlines()] == wanted
    assert 0 < len(wanted) < 5
    assert export["counts"] == {"images": len(wanted)}
    assert export["filters"] == filters
    assert export["file"]["name"].endswith("-filtered.jsonl")


@pytest.mark.parametrize("format", ["csv", "parquet", "coco", "label_studio"])
def test_an_export_of_no_image_is_a_file_all_the_same(api, job_id, format):
    filters = {"class": ["zebra"], "min_score": 0.95}

    export, content = exported(api, job_id, format=format, filters=filters)

    assert export["counts"] == {"images": 0}
    assert content


def test_an_export_whose_list_of_images_was_changed_ends(api, worker, job_id):
    id = asked(api, job_id, format="csv", filters={"label_count": 1})["id"]
    (api.folder.of(Kind.EXPORT, id) / SELECTED).write_bytes(b"")
    worker.run_until_empty()

    assert api.get(f"/v1/exports/{id}").json()["error"]["code"] == "artifact_corrupt"


def test_a_stage_of_a_job_that_goes_on_can_be_exported(api):
    job_id = api.new_job()
    early = api.post(f"/v1/jobs/{job_id}/exports", json={"format": "csv", "stage": "global"})
    api.run_until(job_id, "debias")

    export, content = exported(api, job_id, format="csv", stage="global")

    assert (early.status_code, early.json()["code"]) == (409, "not_ready")
    assert content.count(b"\r\n") == 16
    assert export["thresholds_version"] is None


def test_an_export_that_was_given_back_halfway_is_made_whole_by_the_next_worker(api, job_id):
    id = asked(api, job_id, format="coco")["id"]
    answers = iter([False, False])  # it claims, writes the images, and is told to stop

    worker_of(api, drains=lambda: next(answers, True)).run_until_empty()
    halfway = api.get(f"/v1/exports/{id}").json()["status"]
    left = [*api.folder.staging_root.iterdir()]
    worker_of(api).run_until_empty()
    done = api.get(f"/v1/exports/{id}/file").content

    assert halfway in {"queued", "running"}
    assert left == []
    assert len(json.loads(done)["images"]) == 5


@pytest.fixture
def photographed(api, tmp_path):
    """A job on five real files, registered by a worker."""
    folder = api.root / tmp_path.name
    (folder / "d").mkdir(parents=True)
    for number, name in enumerate(FILES[:4]):
        Image.new("RGB", (20, 10), (60 * number, 9, 9)).save(folder / name)
    (folder / FILES[4]).write_bytes((folder / FILES[0]).read_bytes())
    source = {"kind": "folder", "path": str(folder)}
    dataset_id = api.post("/v1/datasets", json={"source": source}).json()["id"]
    worker_of(api).run_until_empty()
    body = {"dataset_id": dataset_id, "classes": NAMES, "preset": "tiny"}
    job_id = api.post("/v1/jobs", json=body).json()["id"]
    api.run_until(job_id, "score")
    return job_id, folder


def test_a_zip_has_the_images_own_bytes_in_a_folder_for_each_class(api, photographed):
    job_id, folder = photographed

    export, content = exported(api, job_id, format="yolo_cls", policy="duplicate")

    with ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    listed = json.loads(members.pop("classes.json"))
    expected = {
        "zebra/00000000-_b.jpg": FILES[0],
        "_ant/00000000-_b.jpg": FILES[0],
        "zebra/00000001-a b.png": FILES[1],
        "_ant/00000001-a b.png": FILES[1],
        "zebra/00000003-é.jpg": FILES[3],
        "zebra/00000004-z.jpg": FILES[4],
        "_ant/00000004-z.jpg": FILES[4],
    }
    assert listed["_ant"] == "=ant"
    found = {name.split("/", 1)[1]: content for name, content in members.items() if content}
    assert found == {name: (folder / file).read_bytes() for name, file in expected.items()}
    assert {name.split("/")[0] for name in members} == {"train", "val"}
    assert (export["losses"]["images"], export["losses"]["labels"]) == (1, 0)
    assert export["file"]["media_type"] == "application/zip"
    assert export["file"]["name"] == f"{job_id}-student-v1-yolo_cls-duplicate.zip"


def test_an_image_that_was_changed_since_ends_the_export(api, photographed):
    job_id, folder = photographed
    Image.new("RGB", (20, 10)).save(folder / FILES[1])

    id = asked(api, job_id, format="yolo_cls", policy="top1")["id"]
    worker_of(api).run_until_empty()

    export = api.get(f"/v1/exports/{id}").json()
    assert (export["status"], export["error"]["code"]) == ("failed", "input_changed")
    assert "a b.png" in export["error"]["message"]
    assert str(folder) not in json.dumps(export)


def test_images_of_a_deleted_dataset_cannot_be_exported(api, job_id):
    reply = api.post(f"/v1/jobs/{job_id}/exports", json={"format": "yolo_cls", "policy": "skip"})
    assert (reply.status_code, reply.json()["code"]) == (410, "dataset_deleted")


def test_labels_damaged_before_they_were_written_are_not_exported(api, worker, job_id):
    id = asked(api, job_id, format="csv")["id"]
    folder = api.folder.phase(api.store.outputs(job_id)["score", 0])
    path = folder / "scores.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    worker.run_until_empty()

    export = api.get(f"/v1/exports/{id}").json()
    assert (export["status"], export["error"]["code"]) == ("failed", "artifact_corrupt")


def test_an_export_that_is_sent_again_with_its_key_is_one(api, job_id):
    address, body = f"/v1/jobs/{job_id}/exports", {"format": "csv"}
    first, second = (
        api.post(address, json=body, headers={"Idempotency-Key": "k1"}) for _ in range(2)
    )
    other = api.post(address, json={"format": "coco"}, headers={"Idempotency-Key": "k1"})

    assert second.json() == first.json()
    assert second.headers["idempotent-replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len(api.get("/v1/exports").json()["data"]) == 1


def test_exports_are_listed_of_all_jobs_or_of_one(api, job_id):
    other = api.new_job()
    api.run_until(other, "debias")
    first = asked(api, job_id, format="csv")["id"]
    second = asked(api, other, format="csv", stage="global")["id"]

    everything = api.get("/v1/exports").json()["data"]
    own = api.get("/v1/exports", params={"job_id": job_id}).json()["data"]

    assert [export["id"] for export in everything] == [second, first]
    assert [export["id"] for export in own] == [first]


def test_a_file_goes_with_the_last_export_that_has_it(api, job_id):
    first, content = exported(api, job_id, format="csv")
    second, _ = exported(api, job_id, format="csv")
    folder = folder_of(api, first)

    one = api.delete(f"/v1/exports/{first['id']}")
    still = api.get(f"/v1/exports/{second['id']}/file")
    other = api.delete(f"/v1/exports/{second['id']}")

    assert (one.json()["id"], one.json()["folders_shared"]) == (first["id"], 1)
    assert still.content == content
    assert other.json()["bytes_freed"] >= len(content)
    assert not folder.exists()
    assert not api.folder.of(Kind.EXPORT, second["id"]).exists()
    for method in (api.get, api.delete):
        gone = method(f"/v1/exports/{first['id']}")
        assert (gone.status_code, gone.json()["code"]) == (404, "export_not_found")


def test_an_export_that_has_not_ended_is_not_deleted(api, job_id):
    id = asked(api, job_id, format="csv")["id"]

    reply = api.delete(f"/v1/exports/{id}")

    assert (reply.status_code, reply.json()["code"]) == (409, "export_running")
    assert api.get(f"/v1/exports/{id}").status_code == 200


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "Field required"),
        ({"format": "xlsx"}, "'csv', 'csv_wide'"),
        ({"format": "yolo_cls"}, "needs policy (top1, duplicate or skip)"),
        ({"format": "csv", "policy": "top1"}, "and with no other"),
        ({"format": "yolo_cls", "policy": "best"}, "'top1', 'duplicate' or 'skip'"),
        ({"format": "coco", "stage": "global"}, "needs a stage with labels"),
        ({"format": "csv", "stage": "teacher"}, "'global'"),
        ({"format": "csv", "stage": "pseudo", "thresholds_version": 1}, "stage student alone"),
        ({"format": "csv", "thresholds_version": 0}, "greater than or equal to 1"),
        ({"format": "csv", "thresholds_version": 7}, "there are versions 1 to 1"),
        ({"format": "csv", "image_prefix": "x"}, "with format label_studio alone"),
        ({"format": "label_studio", "image_prefix": "a\nb"}, "U+000A"),
        ({"format": "csv", "filters": {"class": ["zebr"]}}, "/filters/class: 'zebr' is no class"),
        ({"format": "csv", "filters": {"min_score": 2}}, "/filters/min_score"),
        ({"format": "csv", "filters": {"min_score": 1, "max_score": 0}}, "/filters/min_score"),
        ({"format": "csv", "filters": {"disagree": ["student"]}}, "/filters/disagree"),
        ({"format": "csv", "filters": {"sort": "path"}}, "/filters/sort: is not a field"),
        ({"format": "csv", "rows": 5}, "is not a field of this request"),
    ],
    ids=str,
)
def test_an_export_that_cannot_be_made_says_why(api, job_id, body, told):
    reply = api.post(f"/v1/jobs/{job_id}/exports", json=body)

    assert reply.status_code == 422
    assert told in reply.json()["detail"]
    assert api.get("/v1/exports").json()["data"] == []
