"""Filters and orders of the labels of a job over HTTP; what they find, test_selection.py proves.

The student's scores, in the user's order zebra, =ant, bee (thresholds 0.3, 0.5, never):
img_0 .9 .9 .1, img_1 .5 .5 .5, img_2 .2 .49 0, img_3 .3 0 1, img_4 as img_0.
"""

import csv
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app import labels
from tests.serving import wait_until

BEE = "bee; \\ honey"
NDJSON = {"Accept": "application/x-ndjson"}


@pytest.fixture
def job_id(api):
    job_id = api.new_job()
    api.run_until(job_id, "score")
    return job_id


def found(api, job_id, query):
    reply = api.get(f"/v1/jobs/{job_id}/labels", params=query)
    assert reply.status_code == 200, reply.text
    return [int(row["image_id"].removeprefix("img_")) for row in reply.json()["data"]]


@pytest.mark.parametrize(
    ("query", "images"),
    [
        ({"class": "=ant"}, [0, 1, 4]),
        ({"class": ["=ant", "zebra"]}, [0, 1, 4]),
        ({"class": BEE}, []),  # without a threshold it is never a label
        ({"class": BEE, "min_score": 0.5}, [1, 3]),
        ({"class": "zebra", "min_score": 0.3, "max_score": 0.5}, [1, 3]),
        ({"min_score": 0.9}, [0, 3, 4]),
        ({"label_count": 0}, [2]),
        ({"label_count": 1}, [3]),
        ({"label_count": 2, "class": "zebra"}, [0, 1, 4]),
        ({"sort": "path"}, [0, 1, 2, 3, 4]),
        ({"sort": "score:zebra"}, [2, 3, 1, 0, 4]),
        ({"sort": f"-score:{BEE}"}, [3, 1, 0, 4, 2]),
        # All three at 0.5 are a bit each; 0.9 and 0.1 are 0.47 bits; 0 and 1 are none.
        ({"sort": "-uncertainty"}, [1, 2, 0, 4, 3]),
        ({"sort": "uncertainty", "class": "=ant"}, [0, 4, 1]),
        ({"stage": "global", "class": "zebra", "min_score": 0.7}, [0, 3, 4]),
        ({"stage": "local", "sort": f"-score:{BEE}"}, [3, 0, 4, 1, 2]),
        ({"stage": "debiased", "class": "zebra"}, [0, 4]),
    ],
    ids=str,
)
def test_a_query_finds_its_images(api, job_id, query, images):
    assert found(api, job_id, query) == images


def test_stages_that_disagree_are_compared_label_by_label(api, job_id):
    # pseudo: img_0 and img_4 =ant, img_1 bee, img_2 zebra, img_3 none.
    assert found(api, job_id, {"disagree": "teacher,student"}) == [0, 1, 2, 3, 4]
    # debiased: zebra and bee; none; none; =ant and bee; zebra and bee.
    assert found(api, job_id, {"disagree": "debiased,student", "label_count": 0}) == []
    assert found(api, job_id, {"disagree": "student,debiased", "stage": "pseudo"}) == [0, 1, 3, 4]


def test_the_thresholds_asked_for_decide_about_disagreement(api, job_id):
    student = f"/v1/students/stu_{job_id.removeprefix('job_')}/thresholds"
    new = {"zebra": None, "=ant": 0.8, BEE: None}
    assert api.put(student, json={"thresholds": new}).status_code == 200
    query = {"disagree": "student,pseudo", "stage": "global"}

    # Now img_0 and img_4 have =ant alone, as the teacher says.
    assert found(api, job_id, query) == [1, 2]
    assert found(api, job_id, {**query, "thresholds_version": 1}) == [0, 1, 2, 3, 4]


def test_pages_of_a_query_hold_every_row_once(api, job_id):
    query = {"sort": "-uncertainty", "limit": 2, "min_score": 0.4}
    ids = []
    while query.get("cursor", True):
        page = api.get(f"/v1/jobs/{job_id}/labels", params=query).json()
        assert page["total"] == 5
        ids += [row["image_id"] for row in page["data"]]
        query["cursor"] = page["next_cursor"]

    assert ids == ["img_1", "img_2", "img_0", "img_4", "img_3"]


def test_the_pages_of_a_query_keep_the_thresholds_of_the_first(api, job_id):
    labels = f"/v1/jobs/{job_id}/labels"
    query = {"class": "zebra", "limit": 2}
    first = api.get(labels, params=query).json()
    student = f"/v1/students/stu_{job_id.removeprefix('job_')}/thresholds"
    never = {"zebra": None, "=ant": None, BEE: None}
    assert api.put(student, json={"thresholds": never}).status_code == 200

    second = api.get(labels, params={**query, "cursor": first["next_cursor"]}).json()

    assert [row["image_id"] for row in first["data"] + second["data"]] == [
        *("img_0", "img_1", "img_3", "img_4")
    ]
    assert {row["thresholds_version"] for row in second["data"]} == {1}
    assert found(api, job_id, {"class": "zebra"}) == []


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"sort": "uncertainty"},
        {"sort": "-uncertainty", "class": "zebra"},
        {"sort": "-uncertainty", "stage": "pseudo"},
    ],
    ids=str,
)
def test_a_cursor_of_another_query_is_refused(api, job_id, other):
    labels = f"/v1/jobs/{job_id}/labels"
    page = api.get(labels, params={"sort": "-uncertainty", "limit": 2}).json()

    reply = api.get(labels, params={**other, "cursor": page["next_cursor"]})

    assert reply.status_code == 422
    assert "of another query" in reply.json()["detail"]


def test_a_cursor_of_another_version_is_refused(api, job_id):
    labels = f"/v1/jobs/{job_id}/labels"
    page = api.get(labels, params={"limit": 2}).json()
    student = f"/v1/students/stu_{job_id.removeprefix('job_')}/thresholds"
    assert api.put(student, json={"version": 1}).status_code == 200

    query = {"cursor": page["next_cursor"], "thresholds_version": 2}

    assert api.get(labels, params=query).status_code == 422


def test_streams_hold_what_pages_hold(api, job_id):
    labels = f"/v1/jobs/{job_id}/labels"
    query = {"sort": "-uncertainty", "min_score": 0.6}
    page = api.get(labels, params=query).json()["data"]

    lines = api.get(labels, params=query, headers=NDJSON).text.splitlines()
    table = api.get(labels, params=query, headers={"Accept": "text/csv"}).text

    assert [json.loads(line) for line in lines] == page
    rows = list(csv.DictReader(io.StringIO(table, newline="")))
    assert [row["image_id"] for row in rows] == [row["image_id"] for row in page] != []


@pytest.mark.parametrize("query", [{}, {"sort": "-uncertainty"}])
def test_a_stream_begins_at_its_cursor_and_ends_at_its_limit(api, job_id, query):
    labels = f"/v1/jobs/{job_id}/labels"
    whole = api.get(labels, params=query).json()["data"]
    cursor = api.get(labels, params={**query, "limit": 1}).json()["next_cursor"]

    def streamed(**more):
        lines = api.get(labels, params={**query, **more}, headers=NDJSON).text.splitlines()
        return [json.loads(line) for line in lines]

    assert streamed() == whole
    assert streamed(limit=2) == whole[:2]
    assert streamed(cursor=cursor) == whole[1:]
    assert streamed(cursor=cursor, limit=3) == whole[1:4]
    table = api.get(labels, params={**query, "limit": 2}, headers={"Accept": "text/csv"}).text
    rows = list(csv.DictReader(io.StringIO(table, newline="")))
    assert [row["image_id"] for row in rows] == [row["image_id"] for row in whole[:2]]


@pytest.mark.parametrize(
    ("query", "pointer", "told"),
    [
        ({"class": "zebr"}, "class", "'zebr' is no class of this job; the nearest are 'zebra'"),
        ({"class": ""}, "class", "its classes are"),
        ({"class": "zebra", "stage": "global"}, "class", "needs min_score or max_score"),
        ({"label_count": 1, "stage": "local"}, "label_count", "stage local has no labels"),
        ({"label_count": -1}, "label_count", "greater than or equal to 0"),
        ({"label_count": 10**30}, "label_count", "less than or equal to 10000"),
        ({"min_score": 1.1}, "min_score", "less than or equal to 1"),
        ({"min_score": "nan"}, "min_score", ""),
        ({"min_score": 0.5, "max_score": 0.4}, "min_score", "must not be over max_score"),
        ({"sort": "size"}, "sort", "must be path, uncertainty"),
        ({"sort": "-path"}, "sort", "is '-path'"),
        ({"sort": ""}, "sort", "must be path"),
        ({"sort": "score:"}, "sort", "its classes are"),
        ({"sort": "-score:ants"}, "sort", "the nearest are '=ant'"),
        ({"disagree": "student"}, "disagree", "two different stages"),
        ({"disagree": "teacher,pseudo"}, "disagree", "two different stages"),
        ({"disagree": "global,student"}, "disagree", "two different stages"),
        ({"disagree": "a,b,c"}, "disagree", "is 'a,b,c'"),
        ({"disagree": "x" * 300}, "disagree", "at most 200"),
        ({"thresholds_version": 9}, "thresholds_version", "there are versions 1 to 1"),
        ({"cursor": "YXQ6NQ"}, "cursor", "is no next_cursor"),  # at:5, of another list
        ({"cursor": "aW46MToyOnplYnJh"}, "thresholds_version", "versions 1 to 1"),  # in:1:2:zebra
        ({"cursor": "aW46LTE6MTp4"}, "cursor", "is no next_cursor"),  # in:-1:1:x
    ],
    ids=str,
)
def test_a_query_that_cannot_be_answered_says_why(api, job_id, query, pointer, told):
    reply = api.get(f"/v1/jobs/{job_id}/labels", params=query)

    assert reply.status_code == 422, reply.text
    assert reply.json()["errors"][0]["pointer"].startswith(f"/query/{pointer}")
    assert told in reply.json()["detail"]


def test_a_stage_to_compare_with_has_to_be_there(api):
    job_id = api.new_job()
    api.run_until(job_id, "update")

    reply = api.get(
        f"/v1/jobs/{job_id}/labels", params={"stage": "pseudo", "disagree": "teacher,student"}
    )

    assert (reply.status_code, reply.json()["code"]) == (409, "not_ready")
    assert "phase score" in reply.json()["detail"]


def test_calls_that_are_quick_wait_for_none_that_search(api, api_server, job_id, monkeypatch):
    go, search = threading.Event(), labels.find_images
    monkeypatch.setattr(labels, "find_images", lambda *args: go.wait(30) and search(*args))
    queries = [{"max_score": n / 100} for n in range(50)]  # more than there are common threads

    with ThreadPoolExecutor(len(queries)) as pool:
        searches = [pool.submit(found, api, job_id, query) for query in queries]
        try:
            wait_until(lambda: len(api_server.server.server_state.tasks) >= len(queries))
            assert api.get(f"/v1/jobs/{job_id}/labels", timeout=5).status_code == 200
        finally:
            go.set()
        assert all(isinstance(search.result(), list) for search in searches)
