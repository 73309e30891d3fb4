"""Artifacts and students over HTTP: listed, downloaded whole and in part."""

import hashlib
import json

import pytest
from safetensors.torch import load


def student_of(api):
    """A student's address and its bytes."""
    job_id = api.new_job()
    api.run_until(job_id, "score")
    student_id = "stu_" + job_id.removeprefix("job_")
    content = (api.folder.student(student_id) / "student.safetensors").read_bytes()
    return f"/v1/students/{student_id}", content


def test_artifacts_appear_as_their_phases_end(api):
    job_id = api.new_job()
    artifacts = f"/v1/jobs/{job_id}/artifacts"
    queued = api.get(artifacts).json()["data"]
    api.run_until(job_id, "train")
    training = api.get(artifacts).json()["data"]

    api_steps = dict(api._steps(job_id))
    for phase in ("localize", "update", "score"):
        api_steps[phase]()
    done = api.get(artifacts).json()

    lists = ["manifest.parquet", "skipped.ndjson"]
    epochs = ["debias-0.safetensors", "train-0.safetensors"]
    assert [row["name"] for row in queued] == lists
    assert [row["name"] for row in training] == lists + epochs
    assert sorted(row["name"] for row in done["data"]) == sorted(
        [
            *("student.safetensors", "student.json", *lists, *epochs),
            *("localize-0.safetensors", "localize-1.safetensors"),
            *("score-0.safetensors", "update-0.safetensors"),
        ]
    )
    assert done["next_cursor"] is None


def test_what_the_export_leaves_keeps_its_name(api):
    job_id = api.new_job()
    api.run_until(job_id, "score")
    before = {row["name"] for row in api.get(f"/v1/jobs/{job_id}/artifacts").json()["data"]}

    api.export(job_id)

    rows = {row["name"]: row for row in api.get(f"/v1/jobs/{job_id}/artifacts").json()["data"]}
    added = {name: row["media_type"] for name, row in rows.items() if name not in before}
    assert added == {
        "student.onnx": "application/octet-stream",
        "model-card.md": "text/markdown",
        "model-card.json": "application/json",
    }
    card = api.get(f"/v1/jobs/{job_id}/artifacts/model-card.md")
    assert card.text == "# As exported"


def test_every_artifact_is_what_its_entry_says(api):
    job_id = api.new_job()
    api.run_until(job_id, "score")
    api.export(job_id)

    for row in api.get(f"/v1/jobs/{job_id}/artifacts").json()["data"]:
        reply = api.get(f"/v1/jobs/{job_id}/artifacts/{row['name']}")

        assert len(reply.content) == row["bytes"]
        assert hashlib.sha256(reply.content).hexdigest() == row["sha256"]
        assert reply.headers["content-type"].partition(";")[0] == row["media_type"]
        assert reply.headers["etag"] == f'"{row["sha256"]}"'
        assert row["name"] in reply.headers["content-disposition"]
        assert reply.headers["content-disposition"].startswith("attachment")


def test_weights_are_a_safetensors_file(api):
    student, content = student_of(api)

    reply = api.get(f"{student}/weights")

    assert reply.content == content
    assert load(reply.content)["w"].tolist() == list(range(1000))


@pytest.mark.parametrize(
    ("range_", "part"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=10-19", slice(10, 20)),
        ("bytes=10-", slice(10, None)),
        ("bytes=-7", slice(-7, None)),
        ("bytes=-999999", slice(None)),
        ("bytes=5-999999", slice(5, None)),
        (f"bytes=5-{'9' * 99}", slice(5, None)),
    ],
)
def test_a_range_gets_its_bytes(api, range_, part):
    student, content = student_of(api)

    reply = api.get(f"{student}/weights", headers={"Range": range_})

    start, stop, _ = part.indices(len(content))
    assert (reply.status_code, reply.content) == (206, content[part])
    assert reply.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(content)}"
    assert reply.headers["content-length"] == str(stop - start)


@pytest.mark.parametrize(
    "range_",
    ["bytes=0-1,4-5", "lines=1-2", "bytes=" + ",".join(["0-5"] * 50), "bytes=" + "1-2," * 10_000],
    ids=lambda range_: range_[:20],
)
def test_ranges_that_are_not_served_get_the_whole_file(api, range_):
    student, content = student_of(api)

    reply = api.get(f"{student}/weights", headers={"Range": range_})

    assert (reply.status_code, reply.content) == (200, content)


def test_a_range_past_the_end_is_416_with_the_size(api):
    student, content = student_of(api)

    reply = api.get(f"{student}/weights", headers={"Range": f"bytes={len(content)}-"})

    assert (reply.status_code, reply.json()["code"]) == (416, "range_not_satisfiable")
    assert reply.headers["content-range"] == f"bytes */{len(content)}"


@pytest.mark.parametrize(
    "range_",
    [
        *("bytes=", "bytes=-", "bytes=a-b", "bytes=5-1", "bytes=1", "bytes=--5", "bytes=1-2-3"),
        f"bytes={'9' * 5000}-",
    ],
    ids=lambda range_: range_[:20],
)
def test_a_range_that_cannot_be_read_is_400(api, range_):
    student, _ = student_of(api)

    reply = api.get(f"{student}/weights", headers={"Range": range_})

    assert (reply.status_code, reply.json()["code"]) == (400, "bad_range")


def test_a_range_of_another_version_gets_the_whole_file(api):
    student, content = student_of(api)
    etag = api.head(f"{student}/weights").headers["etag"]

    same = api.get(f"{student}/weights", headers={"Range": "bytes=0-1", "If-Range": etag})
    other = api.get(f"{student}/weights", headers={"Range": "bytes=0-1", "If-Range": '"x"'})

    assert (same.status_code, same.content) == (206, content[:2])
    assert (other.status_code, other.content) == (200, content)


def test_a_client_that_has_the_file_gets_304(api):
    student, _ = student_of(api)
    etag = api.head(f"{student}/weights").headers["etag"]

    reply = api.get(f"{student}/weights", headers={"If-None-Match": f"W/{etag}"})

    assert (reply.status_code, reply.content) == (304, b"")
    assert reply.headers["etag"] == etag


def test_head_tells_the_size_and_sends_nothing(api):
    student, content = student_of(api)

    reply = api.head(f"{student}/weights")

    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["content-length"] == str(len(content))
    assert reply.headers["accept-ranges"] == "bytes"


def test_a_damaged_student_is_not_served(api):
    student, content = student_of(api)
    path = api.folder.student(student.rpartition("/")[2]) / "student.safetensors"
    path.write_bytes(content[:-1] + b"\xff")

    reply = api.get(f"{student}/weights")

    assert (reply.status_code, reply.json()["code"]) == (500, "artifact_corrupt")


def test_a_student_whose_file_is_gone_is_not_found(api):
    student, _ = student_of(api)
    api.folder.discard(api.folder.student(student.rpartition("/")[2]))

    reply = api.get(f"{student}/weights")

    assert (reply.status_code, reply.json()["code"]) == (404, "artifact_not_found")


def test_an_artifact_that_is_not_there_is_not_found(api):
    job_id = api.new_job()

    for name in ("student.safetensors", "request.json", "..%2frequest.json"):
        reply = api.get(f"/v1/jobs/{job_id}/artifacts/{name}")
        assert reply.status_code == 404


def test_a_student_tells_its_classes_and_thresholds_in_the_users_order(api):
    student, content = student_of(api)

    found = api.get(student).json()

    assert list(found["thresholds"].items()) == [
        ("zebra", 0.3),
        ("=ant", 0.5),
        ("bee; \\ honey", None),
    ]
    assert found["threshold_basis"] == "pseudo_f1"
    assert found["classes"][0] == {"name": "zebra", "prompts": []}
    assert (found["preset"], found["teacher"]) == ("tiny", "bundled:tiny")
    assert found["weights"]["bytes"] == len(content)
    assert json.dumps(found)


def test_students_are_those_of_jobs_that_succeeded(api):
    first, _ = student_of(api)
    waiting = [api.new_job() for _ in range(2)]
    for job_id in waiting:
        api.post(f"/v1/jobs/{job_id}/cancel")
    second, _ = student_of(api)

    page = api.get("/v1/students", params={"limit": 1}).json()
    rest = api.get("/v1/students", params={"cursor": page["next_cursor"]}).json()

    ids = [row["id"] for row in (*page["data"], *rest["data"])]
    assert ids == [second.rpartition("/")[2], first.rpartition("/")[2]]


def test_a_job_that_is_not_over_has_no_student(api):
    job_id = api.new_job()

    reply = api.get(f"/v1/students/stu_{job_id.removeprefix('job_')}")

    assert (reply.status_code, reply.json()["code"]) == (404, "student_not_found")
