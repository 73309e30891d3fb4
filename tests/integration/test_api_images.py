"""One image of a job over HTTP: the file, its scores stage by stage, its local views.

Columns of the files are ant, bee, zebra; the user's order is zebra, ant, bee.
"""

import pyarrow as pa
import pyarrow.parquet as pq

from workers.files import MANIFEST

BEE = "bee; \\ honey"


def image(api, job_id, image_id="img_0"):
    return api.get(f"/v1/jobs/{job_id}/images/{image_id}")


def test_an_image_is_the_file_that_was_registered(api):
    job_id = api.new_job()
    api.run_until(job_id, "check")

    found = image(api, job_id, "img_3").json()

    listed = api.get(f"/v1/datasets/{api.store.get(job_id).request['dataset_id']}/images").json()
    nothing_yet = {"scores": {}, "labels": {}, "thresholds_version": None, "views": None}
    assert found == {**listed["data"][3], **nothing_yet}
    assert (found["path"], found["width"], found["height"]) == ("d/é.jpg", 20, 10)


def test_every_stage_that_is_ready_is_told(api):
    job_id = api.new_job()
    api.run_until(job_id, "debias")
    early = image(api, job_id).json()
    for phase in ("train", "localize", "update", "score"):
        dict(api._steps(job_id))[phase]()

    late = image(api, job_id).json()

    assert list(early["scores"]) == list(early["labels"]) == ["global", "debiased"]
    assert early["views"] is None
    assert list(late["scores"]) == ["global", "debiased", "local", "pseudo", "student"]
    assert late["scores"]["global"] == {"zebra": 0.7, "=ant": 0.1, BEE: 0.2}
    assert late["labels"] == {
        "global": [],
        "debiased": ["zebra", BEE],
        "local": [],
        "pseudo": ["=ant"],
        "student": ["zebra", "=ant"],
    }


def test_an_image_says_what_its_row_of_labels_says(api):
    job_id = api.new_job()
    api.run_until(job_id, "score")
    rows = api.get(f"/v1/jobs/{job_id}/labels", params={"views": "true"}).json()["data"]

    for row in rows:
        found = image(api, job_id, row["image_id"]).json()

        assert (found["path"], found["scores"]["student"]) == (row["path"], row["scores"])
        assert (found["labels"]["student"], found["views"]) == (row["labels"], row["views"])
    assert [len(image(api, job_id, f"img_{i}").json()["views"]) for i in range(5)] == [
        *(2, 0, 0, 1, 2)
    ]


def test_an_image_outlives_its_dataset(api):
    job_id = api.new_job()
    api.run_until(job_id, "score")
    before = image(api, job_id).json()
    api.delete(f"/v1/datasets/{dataset_of(api, job_id)}").raise_for_status()

    assert image(api, job_id).json() == before


def dataset_of(api, job_id):
    return api.store.get(job_id).request["dataset_id"]


def test_an_image_of_another_job_is_not_found(api):
    job_id, other_id = api.new_job(), api.new_job()
    api.run_until(job_id, "score")
    api.run_until(other_id, "check")
    manifest = api.folder.job(other_id) / MANIFEST
    rows = pq.read_table(manifest).to_pylist()
    renamed = [{**row, "image_id": row["image_id"].replace("img", "other")} for row in rows]
    pq.write_table(pa.Table.from_pylist(renamed), manifest)

    for image_id, owner, stranger in (("img_0", job_id, other_id), ("other_0", other_id, job_id)):
        reply = image(api, stranger, image_id)

        assert image(api, owner, image_id).status_code == 200
        assert (reply.status_code, reply.json()["code"]) == (404, "image_not_found")


def test_an_id_that_is_none_is_not_found(api):
    job_id = api.new_job()
    api.run_until(job_id, "check")

    for image_id in ("img_5", "img_", "%00", "..%2Fimg_0", "x" * 300):
        reply = image(api, job_id, image_id)

        assert reply.status_code == 404, image_id
        assert reply.json()["code"] in {"image_not_found", "not_found"}
    assert image(api, "job_0").json()["code"] == "job_not_found"


def test_a_job_has_no_images_before_it_was_checked(api):
    reply = image(api, api.new_job())

    assert (reply.status_code, reply.json()["code"]) == (409, "not_ready")
    assert "phase check" in reply.json()["detail"]
