"""Thresholds over HTTP: changed without a new run, kept version by version, refused by name.

Columns of the files are ant, bee, zebra with the thresholds 0.5, none, 0.3; scores of the first
image are 0.9, 0.1, 0.9.
"""

import csv
import hashlib
import io
import json

import pytest
from safetensors import safe_open
from safetensors.torch import load

from models.headers import HEADER, layout_of
from tests.store_calls import at_once, worker_of
from workers.jobs import Lane

ANT, BEE, ZEBRA = "=ant", "bee; \\ honey", "zebra"
#: What decides otherwise than the job's own: ant never, bee from 0.1 on.
OTHER = {ANT: None, BEE: 0.1, ZEBRA: 0.95}
CSV = {"Accept": "text/csv"}


@pytest.fixture
def job_id(api):
    job_id = api.new_job()
    api.run_until(job_id, "score")
    api.export(job_id)
    return job_id


@pytest.fixture
def student(job_id):
    return f"/v1/students/stu_{job_id.removeprefix('job_')}"


def put(api, student, body, **headers):
    return api.put(f"{student}/thresholds", json=body, headers=headers)


def first_row(api, job_id, **query):
    reply = api.get(f"/v1/jobs/{job_id}/labels", params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()["data"][0]


def test_the_first_version_is_what_the_job_found(api, job_id, student):
    reply = api.get(f"{student}/thresholds")

    assert reply.json() == {
        "version": 1,
        "basis": "pseudo_f1",
        "created_at": api.store.get(job_id).finished_at,
        "evaluation_id": None,
        "copied_from": None,
        "thresholds": {ZEBRA: 0.3, ANT: 0.5, BEE: None},
    }
    assert reply.headers["etag"] == '"v1"'
    assert list(reply.json()["thresholds"]) == [ZEBRA, ANT, BEE]


def test_other_thresholds_change_the_labels_at_once(api, job_id, student):
    before = first_row(api, job_id)

    reply = put(api, student, {"thresholds": OTHER})

    after = first_row(api, job_id)
    assert reply.status_code == 200, reply.text
    assert (reply.json()["version"], reply.json()["basis"]) == (2, "manual")
    assert reply.json()["thresholds"] == OTHER
    assert (before["labels"], before["thresholds_version"]) == ([ZEBRA, ANT], 1)
    assert (after["labels"], after["thresholds_version"]) == ([BEE], 2)
    assert after["scores"] == before["scores"]


def test_rows_can_be_read_at_an_older_version(api, job_id, student):
    put(api, student, {"thresholds": OTHER})
    labels = f"/v1/jobs/{job_id}/labels"

    old = first_row(api, job_id, thresholds_version=1)
    table = api.get(labels, params={"thresholds_version": 1}, headers=CSV).text
    lines = api.get(
        labels, params={"thresholds_version": 1}, headers={"Accept": "application/x-ndjson"}
    ).text

    assert (old["labels"], old["thresholds_version"]) == ([ZEBRA, ANT], 1)
    row = next(csv.DictReader(io.StringIO(table, newline="")))
    assert (row["labels"], row["thresholds_version"]) == ("zebra;=ant", "1")
    assert json.loads(lines.splitlines()[0]) == old


def test_labels_that_no_threshold_decides_name_no_version(api, job_id):
    assert first_row(api, job_id, stage="pseudo")["thresholds_version"] is None

    reply = api.get(f"/v1/jobs/{job_id}/labels", params={"stage": "pseudo"}, headers=CSV)

    assert next(csv.DictReader(io.StringIO(reply.text)))["thresholds_version"] == ""


def test_an_image_says_which_version_decided(api, job_id, student):
    put(api, student, {"thresholds": OTHER})

    image = api.get(f"/v1/jobs/{job_id}/images/img_0").json()

    assert (image["labels"]["student"], image["thresholds_version"]) == ([BEE], 2)


def test_predictions_follow_and_are_not_taken_from_a_cache(api, student):
    body = {"dataset_id": api.new_dataset()}
    prediction = api.post(f"{student}/predictions", json=body).json()
    scores = api.folder.phase(next(iter(api.folder.phases.glob("score-*"))).name)
    name = f"predict-{prediction['id']}"
    api.folder.produce(
        name,
        lambda staging: (staging / "scores.safetensors").write_bytes(
            (scores / "scores.safetensors").read_bytes()
        ),
        nonce="n0",
    )
    api.work(Lane.IO, output=name)
    address = f"/v1/predictions/{prediction['id']}"
    before = api.get(address)

    put(api, student, {"thresholds": OTHER})

    after = api.get(address, headers={"If-None-Match": before.headers["etag"]})
    old = api.get(address, params={"thresholds_version": 1})
    assert before.json()["data"][0]["thresholds_version"] == 1
    assert after.status_code == 200
    assert after.json()["data"][0]["thresholds_version"] == 2
    assert after.json()["data"][0]["labels"] == [BEE]
    assert old.json()["data"] == before.json()["data"]
    assert api.get(address, params={"thresholds_version": 3}).status_code == 422


def test_one_can_go_back_and_that_is_a_version_too(api, job_id, student):
    put(api, student, {"thresholds": OTHER})

    reply = put(api, student, {"version": 1})

    assert reply.json()["version"] == 3
    assert (reply.json()["basis"], reply.json()["copied_from"]) == ("pseudo_f1", 1)
    assert reply.json()["thresholds"] == {ZEBRA: 0.3, ANT: 0.5, BEE: None}
    assert first_row(api, job_id)["labels"] == [ZEBRA, ANT]


#: Of the images a.jpg, =b.jpg and d/é.jpg, whose scores of zebra are 0.9, 0.5 and 0.3.
TRUTH = 'path,labels\na.jpg,zebra\nd/é.jpg,\n"\'=b.jpg",zebra\n'


def evaluate(api, job_id, truth=TRUTH):
    """The id of an evaluation, which waits for a worker."""
    reply = api.post(f"/v1/jobs/{job_id}/evaluations", files={"truth": ("truth.csv", truth)})
    assert reply.status_code == 202, reply.text
    return reply.json()["id"]


def work(api):
    worker_of(api.store, api.settings).run_until_empty()


def test_thresholds_are_tuned_on_an_evaluation(api, job_id, student):
    evaluation_id = evaluate(api, job_id)
    work(api)

    reply = put(api, student, {"evaluation_id": evaluation_id})

    assert reply.status_code == 200, reply.text
    found = reply.json()
    assert (found["basis"], found["evaluation_id"]) == ("tuned", evaluation_id)
    # Zebra: halfway between 0.5, which is one, and 0.3, which is none. Of ants and bees the truth
    # shows nothing: they stay.
    assert found["thresholds"] == {ZEBRA: pytest.approx(0.4), ANT: 0.5, BEE: None}
    rows = api.get(f"/v1/jobs/{job_id}/labels").json()["data"]
    assert [ZEBRA in row["labels"] for row in rows] == [True, True, False, False, True]


def test_the_model_card_of_tuned_thresholds_says_what_was_measured(api, job_id, student):
    evaluation_id = evaluate(api, job_id)
    work(api)
    card = f"/v1/jobs/{job_id}/artifacts/model-card.json"
    put(api, student, {"evaluation_id": evaluation_id})
    tuned = api.get(card).json()

    put(api, student, {"thresholds": OTHER})
    by_hand = api.get(card).json()
    put(api, student, {"version": 2})
    again = api.get(card).json()

    assert tuned["thresholds"]["basis"] == "tuned"
    assert tuned["metrics"] == {
        "images with truth": 3,
        "mAP": 1.0,
        "CF1 at the best thresholds": 1.0,
        "OF1 at the best thresholds": 1.0,
    }
    assert by_hand["metrics"] is None
    assert again["metrics"] == tuned["metrics"]
    markdown = api.get(f"/v1/jobs/{job_id}/artifacts/model-card.md").text
    assert "| mAP | 1 |" in markdown


def test_an_evaluation_that_is_not_done_has_no_thresholds_yet(api, job_id, student):
    evaluation_id = evaluate(api, job_id)

    reply = put(api, student, {"evaluation_id": evaluation_id})

    assert (reply.status_code, reply.json()["code"]) == (409, "not_ready")


def test_the_evaluation_of_another_job_is_refused(api, student):
    other = api.new_job()
    api.run_until(other, "score")
    evaluation_id = evaluate(api, other)

    reply = put(api, student, {"evaluation_id": evaluation_id})

    assert reply.status_code == 422
    assert other in reply.json()["errors"][0]["reason"]


def test_all_versions_stay_and_are_listed_newest_first(api, student):
    bodies = [{"thresholds": {**OTHER, BEE: value}} for value in (0.2, 0.4, 0.6)]
    kept = [put(api, student, body).json() for body in bodies]
    address = f"{student}/thresholds/versions"

    page = api.get(address, params={"limit": 2}).json()
    rest = api.get(address, params={"limit": 2, "cursor": page["next_cursor"]}).json()

    listed = [*page["data"], *rest["data"]]
    assert [one["version"] for one in listed] == [4, 3, 2, 1]
    assert listed[:3] == kept[::-1]
    assert rest["next_cursor"] is None
    assert [one["created_at"] for one in listed] == sorted(
        (one["created_at"] for one in listed), reverse=True
    )


@pytest.mark.parametrize("body", [{"thresholds": OTHER}, {"version": 1}], ids=str)
def test_the_same_change_again_makes_no_version(api, student, body):
    first, again = put(api, student, body), put(api, student, body)
    other = put(api, student, {"thresholds": {**OTHER, BEE: 0.9}})
    back = put(api, student, body)

    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["etag"] == first.headers["etag"] == '"v2"'
    assert [other.json()["version"], back.json()["version"]] == [3, 4]


def test_a_client_that_has_the_version_gets_304(api, student):
    etag = api.get(f"{student}/thresholds").headers["etag"]

    same = api.get(f"{student}/thresholds", headers={"If-None-Match": etag})
    put(api, student, {"thresholds": OTHER})
    later = api.get(f"{student}/thresholds", headers={"If-None-Match": etag})

    assert (same.status_code, later.status_code) == (304, 200)


def test_a_change_of_an_older_version_is_refused_with_the_present_one(api, student):
    etag = api.get(f"{student}/thresholds").headers["etag"]
    first = put(api, student, {"thresholds": OTHER}, **{"If-Match": etag})

    second = put(api, student, {"thresholds": {**OTHER, BEE: 0.9}}, **{"If-Match": etag})

    assert first.status_code == 200
    assert (second.status_code, second.json()["code"]) == (412, "thresholds_changed")
    assert second.headers["etag"] == first.headers["etag"] == '"v2"'
    assert "version 2" in second.json()["detail"]
    assert api.get(f"{student}/thresholds").json() == first.json()


@pytest.mark.parametrize(("if_match", "status"), [('"v0", "v1"', 200), ("*", 200), ('W/"v1"', 412)])
def test_if_match_is_a_list_of_strong_tags(api, student, if_match, status):
    assert put(api, student, {"version": 1}, **{"If-Match": if_match}).status_code == status


def test_of_users_at_once_one_wins_and_the_others_are_told(api, student):
    values = [round(0.1 * i, 1) for i in range(1, 7)]

    answers = at_once(
        *(
            lambda value=value: put(
                api, student, {"thresholds": {**OTHER, BEE: value}}, **{"If-Match": '"v1"'}
            )
            for value in values
        )
    )

    assert sorted(answer.status_code for answer in answers) == [200, *[412] * 5]
    (won,) = [answer.json() for answer in answers if answer.status_code == 200]
    assert api.get(f"{student}/thresholds").json() == won


def test_of_users_at_once_who_name_no_version_no_change_is_lost(api, student):
    values = [round(0.1 * i, 1) for i in range(1, 7)]

    answers = at_once(
        *(
            lambda value=value: put(api, student, {"thresholds": {**OTHER, BEE: value}})
            for value in values
        )
    )

    listed = api.get(f"{student}/thresholds/versions").json()["data"]
    assert [answer.status_code for answer in answers] == [200] * 6
    assert [one["version"] for one in listed] == [7, 6, 5, 4, 3, 2, 1]
    assert sorted(one["thresholds"][BEE] for one in listed[:-1]) == values


def test_the_downloaded_student_carries_the_thresholds_in_force(api, student, tmp_path):
    before = api.get(f"{student}/weights")
    put(api, student, {"thresholds": OTHER})

    after = api.get(f"{student}/weights", headers={"If-None-Match": before.headers["etag"]})

    path = tmp_path / "student.safetensors"
    path.write_bytes(after.content)
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()[HEADER])
        assert file.get_tensor("w").tolist() == list(range(1000))
    assert header["thresholds"] == [None, 0.1, 0.95]
    assert (header["threshold_basis"], header["thresholds_version"]) == ("manual", 2)
    digest = hashlib.sha256(after.content).hexdigest()
    assert after.headers["etag"] == f'"{digest}"' != before.headers["etag"]
    assert before.headers["cache-control"] == "private, no-cache"
    found = api.get(student).json()
    assert found["weights"]["sha256"] == digest
    assert (found["thresholds"], found["threshold_basis"]) == (OTHER, "manual")
    assert found["thresholds_version"] == 2


def test_a_student_of_the_first_version_is_as_the_job_made_it(api, student):
    own = api.folder.student(student.rpartition("/")[2])

    assert api.get(f"{student}/weights").content == (own / "student.safetensors").read_bytes()


def test_ranges_of_a_changed_student_fit_together(api, student):
    put(api, student, {"thresholds": OTHER})
    whole = api.get(f"{student}/weights").content
    length = int.from_bytes(whole[:8], "little") + 8

    parts = [
        api.get(f"{student}/weights", headers={"Range": f"bytes={start}-{stop - 1}"})
        for start, stop in [(0, 5), (5, length - 3), (length - 3, length + 3), (length + 3, 10**9)]
    ]

    assert [part.status_code for part in parts] == [206] * 4
    assert b"".join(part.content for part in parts) == whole
    assert load(whole)["w"].shape == (1000,)


def test_every_artifact_of_the_student_follows(api, job_id, student, tmp_path):
    artifacts = f"/v1/jobs/{job_id}/artifacts"
    put(api, student, {"thresholds": OTHER})

    for row in api.get(artifacts).json()["data"]:
        reply = api.get(f"{artifacts}/{row['name']}")
        assert hashlib.sha256(reply.content).hexdigest() == row["sha256"]
        assert len(reply.content) == row["bytes"]
        (tmp_path / row["name"]).write_bytes(reply.content)

    about = layout_of(tmp_path / "student.onnx").header
    card = json.loads((tmp_path / "model-card.json").read_text())
    listed = json.loads((tmp_path / "student.json").read_text())
    assert (about["thresholds"], about["thresholds_version"]) == ([None, 0.1, 0.95], 2)
    assert (listed["thresholds"], listed["thresholds_version"]) == ([None, 0.1, 0.95], 2)
    assert [entry["threshold"] for entry in card["classes"]] == [None, 0.1, 0.95]
    assert card["thresholds"]["basis"] == "manual"
    assert "version 2: set by hand" in (tmp_path / "model-card.md").read_text()


def test_a_student_without_exports_can_be_changed_too(api):
    job_id = api.new_job()
    api.run_until(job_id, "score")
    student = f"/v1/students/stu_{job_id.removeprefix('job_')}"

    assert put(api, student, {"thresholds": OTHER}).status_code == 200

    names = {row["name"] for row in api.get(f"/v1/jobs/{job_id}/artifacts").json()["data"]}
    assert {"student.safetensors", "student.json"} <= names
    assert not names & {"student.onnx", "model-card.md"}


@pytest.mark.parametrize(
    ("body", "pointer", "said"),
    [
        ({}, "", "one of thresholds, evaluation_id and version"),
        ({"thresholds": OTHER, "version": 1}, "", "and no other"),
        ({"evaluation_id": "eval_0", "version": 1}, "", "and no other"),
        ({"evaluation_id": "eval_0"}, "/evaluation_id", "there is no evaluation 'eval_0'"),
        ({"evaluation_id": "../x"}, "/evaluation_id", "there is no evaluation '../x'"),
        ({"evaluation_id": 1}, "/evaluation_id", "is 1"),
        ({"thresholds": {**OTHER, "zebr": 0.5}}, "/thresholds/zebr", "the nearest are 'zebra'"),
        ({"thresholds": {**OTHER, "a/b": 0.5}}, "/thresholds/a~1b", "is no class"),
        ({"thresholds": {ANT: 0.5}}, "/thresholds", r"lacks 'zebra', 'bee; \\ honey'; every"),
        ({"thresholds": {}}, "/thresholds", "lacks 'zebra'"),
        ({"thresholds": {**OTHER, BEE: 1.5}}, f"/thresholds/{BEE}", "less than or equal to 1"),
        ({"thresholds": {**OTHER, BEE: -0.1}}, f"/thresholds/{BEE}", "is -0.1"),
        ({"thresholds": {**OTHER, BEE: "0.5"}}, f"/thresholds/{BEE}", "is '0.5'"),
        ({"thresholds": {**OTHER, BEE: True}}, f"/thresholds/{BEE}", "is True"),
        ({"thresholds": {**OTHER, f" {BEE}": 0.2}}, f"/thresholds/ {BEE}", "twice"),
        ({"thresholds": 0.5}, "/thresholds", "is 0.5"),
        ({"version": 2}, "/version", "there are versions 1 to 1, is 2"),
        ({"version": 0}, "/version", "greater than or equal to 1"),
        ({"version": "1"}, "/version", "is '1'"),
        ({"threshold": {}}, "/threshold", "is not a field"),
    ],
)
def test_wrong_thresholds_are_refused_by_field(api, student, body, pointer, said):
    reply = put(api, student, body)

    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_request")
    told = {error["pointer"]: error["reason"] for error in reply.json()["errors"]}
    assert said in told[pointer]
    assert api.get(f"{student}/thresholds").json()["version"] == 1


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_refused(api, student, number):
    text = json.dumps({"thresholds": {**OTHER, BEE: 0.125}}).replace("0.125", number)

    reply = api.put(
        f"{student}/thresholds", content=text, headers={"Content-Type": "application/json"}
    )

    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_request")
    assert reply.json()["errors"][0]["pointer"] == f"/thresholds/{BEE}"


@pytest.mark.parametrize("version", [0, 3, 10**9, 10**300, "x"])
def test_rows_at_a_version_that_is_not_there_are_refused(api, job_id, student, version):
    put(api, student, {"thresholds": OTHER})

    reply = api.get(f"/v1/jobs/{job_id}/labels", params={"thresholds_version": version})

    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == "/query/thresholds_version"


def test_a_version_has_no_meaning_for_another_stage(api, job_id):
    query = {"stage": "pseudo", "thresholds_version": 1}

    reply = api.get(f"/v1/jobs/{job_id}/labels", params=query)

    assert reply.status_code == 422
    assert "stage student" in reply.json()["errors"][0]["reason"]


@pytest.mark.parametrize("student_id", ["stu_0", "job_1", "..", "stu_" + "0" * 22])
def test_a_student_that_is_not_there_has_no_thresholds(api, student_id):
    path = f"/v1/students/{student_id}/thresholds"

    assert api.get(path).status_code == 404
    assert api.get(f"{path}/versions").status_code == 404
    assert api.put(path, json={"version": 1}).status_code == 404


def test_a_damaged_version_is_not_used(api, job_id, student):
    put(api, student, {"thresholds": OTHER})
    folder = api.folder.job(job_id) / "thresholds" / "000002"
    (folder / "thresholds.json").write_text("{}")

    for path in (f"{student}/thresholds", f"/v1/jobs/{job_id}/labels", f"{student}/weights"):
        reply = api.get(path)
        assert (reply.status_code, reply.json()["code"]) == (500, "artifact_corrupt")
    assert first_row(api, job_id, thresholds_version=1)["labels"] == [ZEBRA, ANT]


@pytest.fixture
def damaged(api, job_id, student):
    """A student whose version in force, the second, is damaged."""
    put(api, student, {"thresholds": OTHER})
    (api.folder.job(job_id) / "thresholds" / "000002" / "thresholds.json").write_text("{}")
    return student


@pytest.mark.parametrize("body", [{"version": 1}, {"thresholds": OTHER}])
def test_a_damaged_version_gives_way_to_another(api, job_id, damaged, body):
    reply = put(api, damaged, body, **{"If-Match": '"v2"'})

    assert (reply.status_code, reply.json()["version"]) == (200, 3)
    for path in (damaged, f"/v1/jobs/{job_id}/labels", f"/v1/jobs/{job_id}/artifacts"):
        assert api.get(path).status_code == 200


def test_calls_that_a_damaged_version_spoils_say_so_in_their_description(api, job_id, damaged):
    described = api.get("/openapi.json").json()["paths"]
    student_id = damaged.rpartition("/")[2]

    for path in (
        *("/v1/students", "/v1/students/{student_id}", "/v1/students/{student_id}/weights"),
        *("/v1/jobs/{job_id}/artifacts", "/v1/jobs/{job_id}/labels"),
    ):
        reply = api.get(path.format(job_id=job_id, student_id=student_id))

        assert (reply.status_code, reply.json()["code"]) == (500, "artifact_corrupt")
        assert "`artifact_corrupt`" in described[path]["get"]["responses"]["500"]["description"]
