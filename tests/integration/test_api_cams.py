"""Class activation maps over HTTP: asked for, waited for, made once, refused; a hand does the work.

Columns of the files are ant, bee, zebra; the user's order is zebra, ant, bee.
"""

import os
import threading
import time

import pytest

from app import cams
from tests.serving import wait_until
from tests.store_calls import at_once
from workers.cams import Cam
from workers.jobs import DEFAULT_PROJECT, JobError, Kind, Lane
from workers.store import RecordNotFound

PNG = b"\x89PNG drawn by hand"
AT_ONCE = {"Prefer": "wait=0"}
PATIENT = {"Prefer": "wait=20"}


@pytest.fixture
def job_id(api):
    """A job with a student; no map is there yet, though every test's student is the same."""
    for folder in api.folder.of(Kind.CAM, "").iterdir():
        api.folder.discard(folder)
    job_id = api.new_job()
    api.run_until(job_id, "score")
    return job_id


@pytest.fixture
def image(job_id):
    return f"/v1/jobs/{job_id}/images/img_0"


def ask(api, image, name="zebra", headers=AT_ONCE, **query):
    return api.get(f"{image}/cam", params={"class": name, **query}, headers=headers)


def claim(api):
    return api.store.claim(Lane.IO, worker="hand", nonce="n1")


def draw(api, content=PNG):
    """Make the next map that waits; its request."""
    held = wait_until(lambda: claim(api), seconds=15)
    request = held.record.request["cam"]
    name = Cam(**request).name
    api.folder.produce_at(
        api.folder.of(Kind.CAM, name),
        lambda staging: (staging / f"cam.{request['format']}").write_bytes(content),
        nonce=held.nonce,
    )
    api.store.complete(held, output=name, done=1)
    return held.record.request


def fail(api, code, message="a.jpg: it went wrong", hint=None):
    api.store.fail(claim(api), JobError(code, "cam", message, hint))


def test_a_map_that_is_not_made_yet_is_promised(api, image):
    reply = ask(api, image, "ZEBRA")

    assert reply.status_code == 202
    assert reply.json() == {
        "image_id": "img_0",
        "class": "zebra",
        "format": "png",
        "status": "queued",
    }
    assert int(reply.headers["retry-after"]) > 0
    assert reply.headers["link"] == f'<{image}>; rel="describedby"'
    draw(api)
    assert api.get(reply.headers["location"]).content == PNG


def test_a_map_that_is_there_is_a_picture_to_look_at(api, image):
    ask(api, image)
    draw(api)

    reply = ask(api, image)

    assert (reply.status_code, reply.content) == (200, PNG)
    assert reply.headers["content-type"] == "image/png"
    assert reply.headers["content-disposition"].startswith("inline")
    assert reply.headers["vary"] == "Accept"
    assert api.get(reply.headers["link"].split(">")[0][1:]).json()["image_id"] == "img_0"


def test_a_client_that_has_the_map_gets_304(api, image):
    ask(api, image)
    draw(api)
    etag = ask(api, image).headers["etag"]

    reply = ask(api, image, headers={"If-None-Match": etag})

    assert (reply.status_code, reply.content) == (304, b"")


def test_a_client_waits_unless_it_says_otherwise(api, image):
    replies = []
    asking = threading.Thread(target=lambda: replies.append(ask(api, image, headers={})))

    asking.start()
    draw(api)
    asking.join()

    assert [reply.content for reply in replies] == [PNG]


def test_many_that_ask_at_once_make_one_map(api, image):
    replies = []
    asking = threading.Thread(
        target=lambda: replies.extend(at_once(*[lambda: ask(api, image, headers=PATIENT)] * 6))
    )

    asking.start()
    draw(api)
    asking.join()

    assert [reply.content for reply in replies] == [PNG] * 6
    assert claim(api) is None


def test_a_second_call_queues_nothing(api, image):
    ask(api, image)
    draw(api)
    before = set(api.store.redis.keys("ccd:record:*"))

    assert ask(api, image).status_code == 200
    assert claim(api) is None
    assert set(api.store.redis.keys("ccd:record:*")) == before


def test_the_worker_is_told_all_it_needs(api, job_id, image):
    ask(api, image, "bee; \\ honey", max_side=16)

    request = draw(api)

    digest = job_id.removeprefix("job_")
    assert request["student_id"] == f"stu_{digest}"
    assert request["dataset_id"] == api.store.get(job_id).request["dataset_id"]
    assert request["content"] == 0
    # bee is the second column; the image of 20 x 10 pixels has to fit into 16.
    assert request["cam"] | {"student_sha256": ""} == {
        "student_sha256": "",
        "image_sha256": "0" * 64,
        "channel": 1,
        "width": 16,
        "height": 8,
        "format": "png",
    }


@pytest.mark.parametrize(
    ("accept", "query", "format_"),
    [
        ("*/*", {}, "png"),
        ("image/avif,image/webp,*/*;q=0.8", {}, "png"),
        ("application/octet-stream", {}, "npy"),
        ("application/octet-stream", {"format": "png"}, "png"),
        ("image/png", {"format": "npy"}, "npy"),
    ],
)
def test_the_client_chooses_the_form(api, image, accept, query, format_):
    ask(api, image, headers={"Accept": accept, **AT_ONCE}, **query)

    assert draw(api)["cam"]["format"] == format_
    reply = ask(api, image, headers={"Accept": accept, **AT_ONCE}, **query)
    assert f"img_0-zebra.{format_}" in reply.headers["content-disposition"]


def test_the_same_picture_at_another_size_limit_is_the_same_map(api, image):
    ask(api, image)
    draw(api)

    # The image has 20 x 10 pixels: no limit from there on changes anything.
    assert ask(api, image, max_side=20).content == PNG
    assert ask(api, image, max_side=4096).content == PNG
    assert ask(api, image, max_side=19).status_code == 202


def test_two_files_of_the_same_bytes_share_a_map(api, job_id, image):
    ask(api, image)
    draw(api)

    assert ask(api, f"/v1/jobs/{job_id}/images/img_4").content == PNG


@pytest.mark.parametrize(
    ("query", "pointer", "said"),
    [
        ({}, "/query/class", "required"),
        ({"class": "zebar"}, "/query/class", "the nearest are 'zebra'"),
        ({"class": ""}, "/query/class", "its classes are 'zebra', '=ant'"),
        ({"class": "x" * 5000}, "/query/class", "its classes are"),
        ({"class": "zebra", "format": "gif"}, "/query/format", "'gif'"),
        ({"class": "zebra", "max_side": "15"}, "/query/max_side", "16"),
        ({"class": "zebra", "max_side": "4097"}, "/query/max_side", "4096"),
    ],
)
def test_a_wrong_question_is_refused_by_field(api, image, query, pointer, said):
    reply = api.get(f"{image}/cam", params=query)

    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_request")
    assert reply.json()["errors"][0]["pointer"] == pointer
    assert said in reply.json()["errors"][0]["reason"]
    assert len(reply.json()["detail"]) < 300


def test_what_is_not_there_has_no_map(api, image):
    for place, code in [
        ("/v1/jobs/job_0/images/img_0", "job_not_found"),
        (image.replace("img_0", "img_9"), "image_not_found"),
    ]:
        reply = ask(api, place)
        assert (reply.status_code, reply.json()["code"]) == (404, code)


def test_a_job_without_a_student_has_no_maps(api):
    job_id = api.new_job()
    api.run_until(job_id, "update")

    reply = ask(api, f"/v1/jobs/{job_id}/images/img_0")

    assert (reply.status_code, reply.json()["code"]) == (409, "not_ready")
    assert "phase score" in reply.json()["detail"]


def test_maps_go_with_their_dataset(api, job_id, image):
    ask(api, image)
    draw(api)
    dataset_id = api.store.get(job_id).request["dataset_id"]
    api.delete(f"/v1/datasets/{dataset_id}").raise_for_status()

    reply = ask(api, image)

    assert (reply.status_code, reply.json()["code"]) == (410, "dataset_deleted")


@pytest.mark.parametrize(
    ("happened", "status", "told"),
    [
        ("input_changed", 409, "input_changed"),
        ("dataset_deleted", 410, "dataset_deleted"),
        ("disk_full", 507, "disk_full"),
        ("worker_lost", 500, "cam_failed"),
        ("out_of_memory", 500, "cam_failed"),
        ("internal_error", 500, "cam_failed"),
        ("not_ready", 500, "cam_failed"),
    ],
)
def test_a_failure_is_told_with_its_reason(api, image, happened, status, told):
    ask(api, image)
    fail(api, happened)

    reply = ask(api, image)

    assert (reply.status_code, reply.json()["code"]) == (status, told)
    assert reply.json()["detail"] == "a.jpg: it went wrong"


@pytest.mark.parametrize("message", ["it went wrong", "it went wrong."])
@pytest.mark.parametrize("hint", ["Do this.", "do this."])
def test_a_reason_and_the_next_step_are_two_sentences(api, image, message, hint):
    ask(api, image)
    fail(api, "disk_full", message, hint)

    assert ask(api, image).json()["detail"] == "it went wrong. Do this."


def test_a_failed_map_is_tried_again_when_its_record_is_forgotten(api, image):
    ask(api, image)
    fail(api, "internal_error")
    (record_id,) = (key.rpartition(":")[2] for key in api.store.redis.keys("ccd:record:cam_*"))

    api.store.redis.delete(f"ccd:record:{record_id}")

    assert ask(api, image).status_code == 202


def test_a_map_that_was_swept_away_is_made_again(api, image):
    ask(api, image)
    draw(api)
    for folder in api.folder.of(Kind.CAM, "").iterdir():
        api.folder.discard(folder)

    assert ask(api, image).status_code == 202
    draw(api, PNG + b"again")
    assert ask(api, image).content == PNG + b"again"


def test_no_more_than_so_many_maps_wait(api, job_id, image, monkeypatch):
    monkeypatch.setattr(cams, "MAX_WAITING", 3)
    others = [ask(api, image, max_side=side).status_code for side in (16, 17, 18)]

    refused = ask(api, image)
    known = ask(api, image, max_side=17)
    draw(api)

    assert others == [202, 202, 202]
    assert (refused.status_code, refused.json()["code"]) == (503, "too_many_cams")
    assert int(refused.headers["retry-after"]) > 0
    assert known.status_code == 202
    assert ask(api, image).status_code == 202


def test_a_map_is_asked_for_in_the_name_of_a_project(api, image):
    ask(api, image)
    [record] = api.store.list(Kind.CAM)[0]

    cam = Cam(**record.request["cam"])

    assert record.id == cam.record_id(DEFAULT_PROJECT)
    with pytest.raises(RecordNotFound):
        api.store.get(cam.record_id("theirs"))


def test_any_number_of_maps_leaves_no_record_behind(api, image, monkeypatch):
    monkeypatch.setattr(cams, "KEEP_SECONDS", 0.05)
    before = set(api.store.redis.keys("ccd:*"))
    for side in (16, 17, 18, 19, 20):
        ask(api, image, max_side=side)
        draw(api)
    ask(api, image, "=ant")
    fail(api, "internal_error")

    wait_until(lambda: set(api.store.redis.keys("ccd:*")) - before <= {"ccd:bell:io"})

    assert api.store.count(Kind.CAM) == 0
    assert not list(api.folder.root.glob("cams/cam_*"))


def test_a_map_comes_before_other_work_that_waits(api, image):
    source = {"kind": "folder", "path": str(api.root)}
    api.post("/v1/datasets", json={"source": source}).raise_for_status()
    ask(api, image)

    assert claim(api).phase == "cam"


def test_a_map_that_is_looked_at_counts_as_used(api, image):
    ask(api, image)
    draw(api)
    folder = max(api.folder.of(Kind.CAM, "").iterdir(), key=lambda path: path.stat().st_mtime)
    os.utime(folder, (1, 1))

    ask(api, image)

    assert time.time() - folder.stat().st_mtime < 60
