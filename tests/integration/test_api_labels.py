"""Label rows over HTTP, stage by stage, out of files with known numbers.

Columns of the files are ant, bee, zebra; the user's order is zebra, ant, bee.
"""

import csv
import io
import json

import pytest

from workers.truth.read import read_truth

BEE = "bee; \\ honey"


def scores_of(api, job_id, **query):
    """Scores per row, in the user's order of classes."""
    reply = api.get(f"/v1/jobs/{job_id}/labels", params=query)
    assert reply.status_code == 200, reply.text
    return [list(row["scores"].values()) for row in reply.json()["data"]]


def labels_of(api, job_id, **query):
    rows = api.get(f"/v1/jobs/{job_id}/labels", params=query).json()["data"]
    return [row["labels"] for row in rows]


@pytest.mark.parametrize(
    ("stage", "made_by", "before"),
    [
        ("global", "debias", "check"),
        ("debiased", "debias", "check"),
        ("local", "localize", "train"),
        ("pseudo", "update", "localize"),
        ("student", "score", "update"),
    ],
)
def test_a_stage_can_be_read_as_soon_as_its_phase_is_done(api, stage, made_by, before):
    job_id = api.new_job()
    labels = f"/v1/jobs/{job_id}/labels"
    assert api.get(labels, params={"stage": stage}).status_code == 409

    api.run_until(job_id, before)
    early = api.get(labels, params={"stage": stage})
    next_step(api, job_id)

    assert (early.status_code, early.json()["code"]) == (409, "not_ready")
    assert f"phase {made_by}" in early.json()["detail"]
    assert api.get(labels, params={"stage": stage}).status_code == 200


def next_step(api, job_id):
    record = api.store.get(job_id)
    dict(api._steps(job_id))[record.phases[record.progress.phase_index].name]()


def test_scores_come_in_the_order_of_the_user(api):
    job_id = api.new_job()
    api.run_until(job_id, "debias")

    rows = scores_of(api, job_id, stage="global")

    # Files: [0.1, 0.2, 0.7] for ant, bee, zebra.
    assert rows[0] == [0.7, 0.1, 0.2]
    assert rows[2] == [0.0, 0.333333, 0.0]  # a third as float32 has six digits to tell


def test_a_duplicate_has_a_row_of_its_own(api):
    job_id = api.new_job()
    api.run_until(job_id, "score")

    rows = api.get(f"/v1/jobs/{job_id}/labels").json()["data"]

    assert [row["image_id"] for row in rows] == [f"img_{i}" for i in range(5)]
    assert [row["path"] for row in rows] == ["a.jpg", "=b.jpg", "c,\n.png", "d/é.jpg", "z.jpg"]
    assert rows[4]["scores"] == rows[0]["scores"]


def test_the_labels_of_the_student_are_those_at_or_over_its_thresholds(api):
    job_id = api.new_job()
    api.run_until(job_id, "score")

    # Thresholds: ant 0.5, bee none, zebra 0.3. The scores of bee reach 1 and never count.
    assert labels_of(api, job_id) == [
        ["zebra", "=ant"],
        ["zebra", "=ant"],
        [],
        ["zebra"],
        ["zebra", "=ant"],
    ]


def test_the_labels_of_targets_are_the_ones_equal_to_1(api):
    job_id = api.new_job()
    api.run_until(job_id, "score")

    debiased = labels_of(api, job_id, stage="debiased")

    # 0.9999999 as float32 lies below 1.
    assert debiased == [["zebra", BEE], [], [], ["=ant", BEE], ["zebra", BEE]]
    assert labels_of(api, job_id, stage="pseudo")[:3] == [["=ant"], [BEE], ["zebra"]]
    assert labels_of(api, job_id, stage="global") == [[]] * 5
    assert labels_of(api, job_id, stage="local") == [[]] * 5


def test_local_scores_are_read_across_shards(api):
    job_id = api.new_job()
    api.run_until(job_id, "localize")

    rows = scores_of(api, job_id, stage="local")

    assert rows == [[0, 0.9, 0.1], [0, 0, 0], [0, 0, 0], [0.4, 0.0, 0.6], [0, 0.9, 0.1]]


def test_views_tell_where_the_student_looked_and_what_the_teacher_saw(api):
    job_id = api.new_job()
    api.run_until(job_id, "score")

    rows = api.get(f"/v1/jobs/{job_id}/labels", params={"views": "true"}).json()["data"]

    assert rows[0]["views"] == [
        {
            "class": "=ant",
            "box_xyxy": [0, 1, 5, 6],
            "probs": {"zebra": 0.0, "=ant": 0.9, BEE: 0.1},
        },
        {
            "class": "zebra",
            "box_xyxy": [2, 2, 9, 9],
            "probs": {"zebra": 0.8, "=ant": 0.2, BEE: 0.0},
        },
    ]
    assert rows[1]["views"] == rows[2]["views"] == []
    assert [view["class"] for view in rows[3]["views"]] == [BEE]
    assert rows[4]["views"] == rows[0]["views"]


def test_views_need_the_phase_that_makes_them(api):
    job_id = api.new_job()
    api.run_until(job_id, "debias")

    reply = api.get(f"/v1/jobs/{job_id}/labels", params={"stage": "global", "views": "true"})

    assert reply.status_code == 409
    assert "phase localize" in reply.json()["detail"]


def test_pages_hold_every_row_once(api):
    job_id = api.new_job()
    api.run_until(job_id, "score")
    ids, query = [], {"limit": 2}

    while "cursor" not in query or query["cursor"]:
        page = api.get(f"/v1/jobs/{job_id}/labels", params=query).json()
        ids += [row["image_id"] for row in page["data"]]
        query["cursor"] = page["next_cursor"]

    assert ids == [f"img_{i}" for i in range(5)]


def test_ndjson_streams_the_rows_that_pages_hold(api):
    job_id = api.new_job()
    api.run_until(job_id, "score")
    labels = f"/v1/jobs/{job_id}/labels"

    reply = api.get(labels, params={"views": "true"}, headers={"Accept": "application/x-ndjson"})

    page = api.get(labels, params={"views": "true"}).json()["data"]
    assert reply.headers["content-type"].startswith("application/x-ndjson")
    assert [json.loads(line) for line in reply.text.split("\n") if line] == page


def test_csv_is_safe_in_a_spreadsheet(api):
    job_id = api.new_job()
    api.run_until(job_id, "score")

    reply = api.get(f"/v1/jobs/{job_id}/labels", headers={"Accept": "text/csv"})

    header, *rows = csv.reader(io.StringIO(reply.text, newline=""))
    assert reply.headers["content-type"].startswith("text/csv")
    assert header == ["image_id", "path", "labels", "thresholds_version", "zebra", "'=ant", BEE]
    assert rows[0] == ["img_0", "a.jpg", "zebra;=ant", "1", "0.9", "0.9", "0.1"]
    assert rows[1][1] == "'=b.jpg"
    assert rows[2][1] == "c,\n.png"
    assert len(rows) == 5


def test_csv_escapes_the_separator_in_a_class_name(api):
    job_id = api.new_job()
    api.run_until(job_id, "score")

    reply = api.get(
        f"/v1/jobs/{job_id}/labels", params={"stage": "pseudo"}, headers={"Accept": "text/csv"}
    )

    rows = list(csv.reader(io.StringIO(reply.text, newline="")))
    assert rows[1][2] == "'=ant"  # a cell that begins with a formula
    assert rows[2][2] == r"bee\; \\ honey"


@pytest.mark.parametrize(
    ("accept", "file", "unused"),
    [("text/csv", "labels.csv", 3), ("application/x-ndjson", "labels.ndjson", 0)],
)
def test_a_downloaded_list_is_a_truth(api, tmp_path, accept, file, unused):
    job_id = api.new_job()
    api.run_until(job_id, "score")
    labels = f"/v1/jobs/{job_id}/labels"
    query = {"views": str(accept != "text/csv").lower()}
    (tmp_path / file).write_bytes(api.get(labels, params=query, headers={"Accept": accept}).read())

    truth = read_truth(tmp_path / file)

    rows = api.get(labels).json()["data"]
    found = {path: image.labels for path, image in truth.images.items()}
    assert found == {row["path"]: set(row["labels"]) for row in rows}
    # Of a table the three columns of scores say nothing about the truth; nothing else is foreign.
    assert sum(warning.count for warning in truth.warnings) == unused


def test_damaged_scores_are_not_served(api):
    job_id = api.new_job()
    api.run_until(job_id, "score")
    folder = api.folder.phase(api.store.outputs(job_id)["score", 0])
    path = folder / "scores.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    reply = api.get(f"/v1/jobs/{job_id}/labels")

    assert (reply.status_code, reply.json()["code"]) == (500, "artifact_corrupt")
