"""ETags of single objects, changes that name a version, downloads that are cut and go on."""

from base64 import b64encode
from hashlib import sha256

import pytest

from workers.jobs import JobError, Lane
from workers.worker import Worker


@pytest.fixture
def job_id(api):
    job_id = api.new_job()
    api.run_until(job_id, "score")
    return job_id


@pytest.fixture
def student(job_id):
    return f"/v1/students/stu_{job_id.removeprefix('job_')}"


def change_thresholds(api, student):
    reply = api.put(f"{student}/thresholds", json={"version": 1})
    assert reply.status_code == 200


def objects_of(api, job_id, student):
    """The address of one object of each kind."""
    dataset_id = api.store.get(job_id).request["dataset_id"]
    export = api.post(f"/v1/jobs/{job_id}/exports", json={"format": "csv"}).json()
    prediction = api.post(f"{student}/predictions", json={"dataset_id": dataset_id}).json()
    truth = {"truth": ("truth.csv", b"path,labels\na.jpg,zebra\n")}
    evaluation = api.post(f"/v1/jobs/{job_id}/evaluations", files=truth).json()
    return [
        f"/v1/datasets/{dataset_id}",
        f"/v1/jobs/{job_id}",
        f"/v1/jobs/{job_id}/images/img_0",
        student,
        f"{student}/thresholds",
        f"/v1/exports/{export['id']}",
        f"/v1/predictions/{prediction['id']}",
        f"/v1/evaluations/{evaluation['id']}",
    ]


def test_every_single_object_has_a_strong_etag_and_304(api, job_id, student):
    for address in objects_of(api, job_id, student):
        first = api.get(address)
        etag = first.headers["etag"]
        same = api.get(address, headers={"If-None-Match": f'"x", {etag}'})
        other = api.get(address, headers={"If-None-Match": '"x"'})

        assert first.status_code == 200, first.text
        assert etag[0] == etag[-1] == '"', address
        assert (same.status_code, same.content) == (304, b""), address
        assert same.headers["etag"] == etag
        assert (other.status_code, other.content) == (200, first.content), address
        assert "no-cache" in first.headers["cache-control"]


def test_the_etag_follows_whatever_the_answer_shows(api, job_id, student):
    shown = (student, f"/v1/jobs/{job_id}/images/img_0", f"{student}/thresholds")
    before = [api.get(address).headers["etag"] for address in shown]

    change_thresholds(api, student)

    after = [api.get(address).headers["etag"] for address in shown]
    assert [a == b for a, b in zip(before, after, strict=True)] == [False] * 3


def test_an_export_is_another_version_once_it_is_done(api, job_id):
    address = f"/v1/jobs/{job_id}/exports"
    export = f"/v1/exports/{api.post(address, json={'format': 'csv'}).json()['id']}"
    queued = api.get(export).headers["etag"]
    claim = api.store.claim(Lane.IO, worker="hand", nonce="n0")
    api.store.fail(claim, _failure())

    done = api.get(export, headers={"If-None-Match": queued})
    stale = api.delete(export, headers={"If-Match": queued})
    kept = api.get(export)
    gone = api.delete(export, headers={"If-Match": done.headers["etag"]})

    assert done.status_code == 200
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    assert stale.headers["etag"] == done.headers["etag"]
    assert (kept.status_code, gone.status_code) == (200, 200)


def _failure():
    return JobError(code="x", phase="export_labels", message="x")


def test_a_dataset_is_deleted_at_the_version_that_was_read(api):
    dataset = f"/v1/datasets/{api.new_dataset()}"
    etag = api.get(dataset).headers["etag"]

    weak = api.delete(dataset, headers={"If-Match": f"W/{etag}"})
    kept = api.get(dataset).status_code
    strong = api.delete(dataset, headers={"If-Match": etag})

    assert (weak.status_code, weak.json()["code"]) == (412, "precondition_failed")
    assert kept == 200
    assert strong.is_success
    assert api.get(dataset).status_code == 404


def downloads_of(api, job_id, student):
    reply = api.post(f"/v1/jobs/{job_id}/exports", json={"format": "jsonl"})
    export = reply.json()["id"]
    _work(api)
    return [
        f"{student}/weights",
        f"/v1/jobs/{job_id}/artifacts/score-0.safetensors",
        f"/v1/exports/{export}/file",
    ]


def _work(api):
    Worker(
        Lane.IO,
        settings=api.settings,
        store=api.store,
        name="io@test",
        is_draining=lambda: False,
        ring=lambda *_: None,
    ).run_until_empty()


@pytest.mark.parametrize("cut", [1, 50, 99])
def test_a_download_that_was_cut_goes_on_where_it_ended(api, job_id, student, cut):
    for address in downloads_of(api, job_id, student):
        whole = api.get(address).content
        with api.stream("GET", address) as reply:
            begun = next(reply.iter_bytes(cut))  # and the connection is closed
            etag = reply.headers["etag"]
        headers = {"Range": f"bytes={len(begun)}-", "If-Range": etag}
        rest = api.get(address, headers=headers)

        assert (reply.status_code, rest.status_code) == (200, 206), address
        assert len(begun) == cut
        assert begun + rest.content == whole
        assert rest.headers["repr-digest"] == _digest(begun + rest.content)


def test_a_file_that_changed_meanwhile_comes_whole(api, job_id, student):
    before = api.get(f"{student}/weights")
    change_thresholds(api, student)

    headers = {"Range": "bytes=10-", "If-Range": before.headers["etag"]}
    after = api.get(f"{student}/weights", headers=headers)

    assert after.status_code == 200
    assert after.content != before.content
    assert after.headers["repr-digest"] == _digest(after.content)


def test_the_digest_is_that_of_the_whole_file_whatever_is_sent(api, job_id, student):
    address = f"{student}/weights"
    whole = api.get(address)
    replies = [
        whole,
        api.get(address, headers={"Range": "bytes=5-9"}),
        api.head(address),
        api.head(address, headers={"Range": "bytes=5-9"}),
    ]

    assert [reply.status_code for reply in replies] == [200, 206, 200, 200]
    assert {reply.headers["repr-digest"] for reply in replies} == {_digest(whole.content)}
    assert replies[3].headers["content-length"] == str(len(whole.content))


def test_a_download_may_demand_the_version_that_it_began_with(api, job_id, student):
    etag = api.head(f"{student}/weights").headers["etag"]
    headers = {"If-Match": etag, "Range": "bytes=3-"}
    same = api.get(f"{student}/weights", headers=headers)
    change_thresholds(api, student)

    other = api.get(f"{student}/weights", headers=headers)

    assert same.status_code == 206
    assert (other.status_code, other.json()["code"]) == (412, "precondition_failed")


def test_a_stream_of_labels_says_that_it_knows_no_parts(api, job_id):
    headers = {"Accept": "text/csv", "Range": "bytes=0-3"}
    reply = api.get(f"/v1/jobs/{job_id}/labels", headers=headers)

    assert reply.status_code == 200
    assert reply.headers["accept-ranges"] == "none"


def _digest(content):
    return f"sha-256=:{b64encode(sha256(content).digest()).decode()}:"
