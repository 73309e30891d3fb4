"""What wrong input gets: always a problem, always the field, never a 500."""

import json

import httpx
import pytest

from workers.paths import SERVICES_OWN

JOB = {"dataset_id": "ds_0", "classes": ["cat", "dog"], "preset": "tiny"}
FOLDER = {"kind": "folder", "path": "/nowhere"}


def job(**changes):
    return {**JOB, **changes}


def without(body, field):
    return {key: value for key, value in body.items() if key != field}


#: (body, pointer of the first wrong field, part of its reason)
WRONG_JOBS = {
    "no classes": (job(classes=[]), "/classes", "1 to 1,000"),
    "classes missing": (without(JOB, "classes"), "/classes", "required"),
    "classes null": (job(classes=None), "/classes", "not a list"),
    "classes as one text": (job(classes="cat,dog"), "/classes", "not a list"),
    "too many classes": (job(classes=[f"c{i}" for i in range(1001)]), "/classes", "1,001"),
    "one class without background": (job(classes=["cat"]), "/classes", "at least 2 classes"),
    "class repeated": (job(classes=["cat", "dog", "cat"]), "/classes/2", "/classes/0"),
    "class repeated in capitals": (job(classes=["dog", "DOG"]), "/classes/1", "/classes/0"),
    "class repeated with sz": (job(classes=["strasse", "STRA\u00dfE"]), "/classes/1", "same class"),
    "class repeated decomposed": (job(classes=["\u00e9", "e\u0301"]), "/classes/1", "same class"),
    "class repeated as an object": (job(classes=["a", {"name": " A "}]), "/classes/1", "same"),
    "class empty": (job(classes=["cat", ""]), "/classes/1", "empty"),
    "class of spaces": (job(classes=["  "]), "/classes/0", "empty"),
    "class too long": (job(classes=["a", "b", "c", "x" * 101]), "/classes/3", "101 characters"),
    "class with NUL": (job(classes=["a\0b"]), "/classes/0", "U+0000"),
    "class with a line break": (job(classes=["a\nb"]), "/classes/0", "U+000A"),
    "class with a bidi mark": (job(classes=["a", "b\u202ec"]), "/classes/1", "U+202E"),
    "class with an isolate": (job(classes=["\u2066a\u2069"]), "/classes/0", "U+2066"),
    "class with a half character": (job(classes=["a", "\ud800"]), "/classes/1", "U+D800"),
    "class with an invisible space": (job(classes=["a\u200bb"]), "/classes/0", "U+200B"),
    "class as a number": (job(classes=["cat", 7]), "/classes/1", "neither"),
    "class without name": (job(classes=[{"prompts": []}]), "/classes/0/name", "missing"),
    "class with an unknown field": (
        job(classes=[{"name": "a", "color": 1}]),
        "/classes/0/color",
        "not a field",
    ),
    "class name as a number": (job(classes=[{"name": 3}]), "/classes/0/name", "not text"),
    "prompts as text": (
        job(classes=[{"name": "a", "prompts": "x"}]),
        "/classes/0/prompts",
        "not a list",
    ),
    "prompt with two places": (
        job(classes=[{"name": "a", "prompts": ["ok {}", "{} {}"]}]),
        "/classes/0/prompts/1",
        "more than one",
    ),
    "prompt with a control character": (
        job(classes=[{"name": "a", "prompts": ["\x1b[2J"]}]),
        "/classes/0/prompts/0",
        "U+001B",
    ),
    "too many prompts": (
        job(classes=[{"name": "a", "prompts": ["p"] * 101}]),
        "/classes/0/prompts",
        "101 prompts",
    ),
    "unknown field": (job(color="red"), "/color", "not a field"),
    "field with a slash": (job(**{"a/b~c": 1}), "/a~1b~0c", "not a field"),
    "unknown preset": (job(preset="best"), "/preset", "is 'best'"),
    "preset as a number": (job(preset=1), "/preset", "is 1"),
    "unknown config": (job(config={"alhpa": 1}), "/config/alhpa", "did you mean alpha"),
    "alpha too large": (job(config={"alpha": 1.4}), "/config/alpha", "[0, 1], is 1.4"),
    "alpha as text": (job(config={"alpha": "1"}), "/config/alpha", "is '1'"),
    "alpha as a switch": (job(config={"alpha": True}), "/config/alpha", "is True"),
    "alpha NaN": (job(config={"alpha": float("nan")}), "/config/alpha", "is nan"),
    "alpha infinite": (job(config={"alpha": float("inf")}), "/config/alpha", "is inf"),
    "epochs negative": (job(config={"train_epochs": -1}), "/config/train_epochs", "is -1"),
    "teacher null": (job(config={"teacher": None}), "/config/teacher", "is None"),
    "teacher in a forbidden folder": (
        job(config={"teacher": "local-dir:/etc"}),
        "/config/teacher",
        "CCD_ALLOWED_ROOTS",
    ),
    "student weights in a forbidden file": (
        job(config={"student_weights": "/etc/passwd"}),
        "/config/student_weights",
        "CCD_ALLOWED_ROOTS",
    ),
    "config as a list": (job(config=[1]), "/config", "dictionary"),
    "both sources": (job(source=FOLDER), "", "not both"),
    "no source": (without(JOB, "dataset_id"), "", "either"),
    "source of an unknown kind": (
        {**without(JOB, "dataset_id"), "source": {"kind": "ftp", "path": "/x"}},
        "/source/kind",
        "'folder', 'folders', 'list', is 'ftp'",
    ),
    "source without path": (
        {**without(JOB, "dataset_id"), "source": {"kind": "folder"}},
        "/source/path",
        "required",
    ),
    "metadata that is no text": (job(metadata={"a": 1}), "/metadata/a", "is 1"),
    "metadata too large": (job(metadata={"a": "x" * 501}), "/metadata", "502 characters"),
    "metadata with half a character": (
        job(metadata={"a": "\ud800"}),
        "/metadata",
        "half a character",
    ),
    "config with half a character": (
        job(config={"teacher": "\ud800"}),
        "/config/teacher",
        "printable",
    ),
    "name too long": (job(name="x" * 201), "/name", "201 characters"),
    "name with an escape": (job(name="\x1b[2J"), "/name", "U+001B"),
    "a list for a body": ([JOB], "", "dictionary"),
}


@pytest.mark.parametrize("case", WRONG_JOBS)
def test_a_wrong_field_of_a_job_is_named(api, case):
    body, pointer, reason = WRONG_JOBS[case]

    reply = api.post(
        "/v1/jobs", content=json.dumps(body), headers={"Content-Type": "application/json"}
    )

    assert_problem(reply, 422, "invalid_request")
    found = {error["pointer"]: error["reason"] for error in reply.json()["errors"]}
    assert reason in found[pointer], found
    assert api.get("/v1/jobs").json()["data"] == []


#: (body, status, code)
WRONG_BODIES = {
    "empty": (b"", 422, "invalid_request"),
    "broken off": (b'{"a": ', 400, "malformed_request"),
    "not UTF-8": (b'{"a": "\xff"}', 400, "malformed_request"),
    "nested without end": (b"[" * 100_000, 400, "malformed_request"),
    "a number without end": (b'{"a": ' + b"9" * 5000 + b"}", 400, "malformed_request"),
    "over the cap": (b'{"a": "' + b"x" * 1_048_576 + b'"}', 413, "body_too_large"),
}


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/datasets"])
@pytest.mark.parametrize("case", WRONG_BODIES)
def test_a_body_that_is_no_request_is_refused(api, case, path):
    body, status, code = WRONG_BODIES[case]
    if (case, path) == ("empty", "/v1/datasets"):
        status, code = 400, "malformed_request"

    reply = api.post(path, content=body, headers={"Content-Type": "application/json"})

    assert_problem(reply, status, code)


def test_a_body_without_a_length_is_counted(api):
    chunks = (b"x" * 100_000 for _ in range(20))

    reply = api.post("/v1/jobs", content=chunks, headers={"Content-Type": "application/json"})

    assert_problem(reply, 413, "body_too_large")


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/datasets"])
@pytest.mark.parametrize("kind", ["text/plain", "application/xml", None])
def test_only_json_and_files_are_read(api, path, kind):
    headers = {"Content-Type": kind} if kind else {}

    reply = api.post(path, content=b"{}", headers=headers)

    assert_problem(reply, 415, "unsupported_media_type")


def test_a_job_takes_no_files(api):
    reply = api.post("/v1/jobs", files={"files": ("a", b"x" * 2_000_000)})

    assert reply.status_code in {413, 415}


@pytest.mark.parametrize(
    "fields",
    [
        {"files": {"archive": ("a.zip", b"")}, "data": {"color": "red"}},
        {"files": {"images": ("a.jpg", b"")}},
        {"files": [("archive", ("a.zip", b"")), ("files", ("a.jpg", b""))]},
        {"files": [("archive", ("a.zip", b"")), ("archive", ("b.zip", b""))]},
        {"files": {"files": ("a.jpg", b"")}, "data": {"name": "x" * 5000}},
        {"files": {"files": ("a.jpg", b"")}, "data": {"name": "a\x07"}},
        {"files": {"files": ("a.jpg", b"")}, "data": {"max_bad_fraction": "nan"}},
        {"files": {"files": ("a.jpg", b"")}, "data": {"max_bad_fraction": "2"}},
        {"files": {"files": ("a.jpg", b"")}, "data": {"name": ["a", "b"]}},
    ],
)
def test_a_wrong_field_of_an_upload_is_named(api, fields):
    reply = api.post("/v1/datasets", **fields)

    assert_problem(reply, 422, "invalid_request")
    assert reply.json()["errors"]


def test_every_path_that_may_not_be_read_gets_one_answer(api, tmp_path):
    (api.root / "file.txt").write_text("x")
    (api.root / "link").symlink_to(tmp_path)
    paths = [
        "/etc",
        "/no/such/folder",
        str(api.root / ".." / ".." / ".."),
        str(api.root / "missing"),
        str(api.root / "file.txt"),
        str(api.root / "link"),
        "relative",
        "/etc/\0",
    ]

    replies = [
        api.post("/v1/datasets", json={"source": {"kind": "folder", "path": path}})
        for path in paths
    ]

    assert {reply.status_code for reply in replies} == {403}
    assert {reply.json()["code"] for reply in replies} == {"path_not_allowed"}
    assert len({reply.json()["detail"] for reply in replies}) == 1


UNKNOWN = {
    "/v1/datasets/ds_0": "dataset_not_found",
    "/v1/datasets/ds_0/images": "dataset_not_found",
    "/v1/datasets/ds_0/skipped": "dataset_not_found",
    "/v1/jobs/job_0": "job_not_found",
    "/v1/jobs/job_0/labels": "job_not_found",
    "/v1/jobs/job_0/artifacts": "job_not_found",
    "/v1/jobs/job_0/artifacts/x": "job_not_found",
    "/v1/jobs/ds_0": "job_not_found",
    "/v1/jobs/job_*": "job_not_found",
    "/v1/jobs/job_%0A%00": "job_not_found",
    "/v1/jobs/job_%FF%ED%A0%80": "job_not_found",
    f"/v1/jobs/job_{'x' * 5000}": "job_not_found",
    "/v1/students/stu_0": "student_not_found",
    "/v1/students/job_0": "student_not_found",
    "/v1/students/stu_..%2F..": "not_found",
    "/v1/students/stu_0/weights": "student_not_found",
    "/v1/predictions/pred_0": "prediction_not_found",
    "/v1/nothing": "not_found",
    "/problems/nothing": "not_found",
    "/": "not_found",
}


@pytest.mark.parametrize("path", UNKNOWN)
def test_what_is_not_there_is_not_found(api, path):
    assert_problem(api.get(path), 404, UNKNOWN[path])


def test_a_record_is_found_under_its_own_noun_alone(api):
    job_id = api.new_job()

    assert_problem(api.get(f"/v1/datasets/{job_id}"), 404, "dataset_not_found")
    assert_problem(api.post("/v1/jobs", json=job(dataset_id=job_id)), 404, "dataset_not_found")


@pytest.mark.parametrize("list", ["/v1/jobs", "/v1/datasets", "/v1/students"])
@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "-1"},
        {"limit": "1e3"},
        {"limit": "many"},
        {"cursor": "x"},
        {"cursor": "é"},
        {"cursor": "YXQ6MTA"},
        {"cursor": "x" * 1000},
    ],
)
def test_a_wrong_page_is_refused(api, list, query):
    reply = api.get(list, params=query)

    assert_problem(reply, 422, "invalid_request")
    assert reply.json()["errors"][0]["pointer"] == f"/query/{next(iter(query))}"


@pytest.mark.parametrize(
    ("method", "path", "field", "told"),
    [
        ("GET", "/v1/jobs", "limits", "the nearest are 'limit'"),
        ("GET", "/v1/jobs/job_0/labels", "threshold_version", "'thresholds_version'"),
        ("GET", "/v1/exports/exp_0/file", "raw", "it takes none"),
        ("HEAD", "/v1/exports/exp_0/file", "raw", ""),
        ("POST", "/v1/jobs", "dry_run", "it takes none"),
        ("POST", "/v1/datasets", "a/b~c", "it takes none"),
        ("GET", "/v1/datasets", "x" * 5000, "its fields are 'limit'"),
    ],
)
def test_an_unknown_field_of_a_query_is_refused(api, method, path, field, told):
    reply = api.request(method, path, params={field: "1"})

    assert reply.status_code == 422
    if method != "HEAD":
        assert_problem(reply, 422, "invalid_request")
        escaped = field[:100].replace("~", "~0").replace("/", "~1")
        assert reply.json()["errors"][0]["pointer"] == f"/query/{escaped}"
        assert told in reply.json()["detail"]


def test_a_query_of_many_unknown_fields_is_told_of_a_few(api):
    reply = api.get("/v1/jobs", params={f"f{i}": "" for i in range(2000)})

    assert_problem(reply, 422, "invalid_request")
    assert len(reply.json()["errors"]) == 5


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/problems", "/openapi.json"])
def test_who_asks_whether_it_lives_may_add_what_he_likes(api, path):
    assert api.get(path, params={"at": "1"}).status_code == 200


@pytest.mark.parametrize("cursor", ["x", "é", "YXQ6LTE", "YXQ6eA", "bm86MQ", "=", "YXQ6MTA="])
def test_a_wrong_page_of_rows_is_refused_or_empty(api, cursor):
    dataset_id = api.new_dataset()

    for part in ("images", "skipped"):
        reply = api.get(f"/v1/datasets/{dataset_id}/{part}", params={"cursor": cursor})
        assert reply.status_code == 422 or reply.json()["data"] == []


@pytest.mark.parametrize("query", [{"stage": "best"}, {"views": "maybe"}, {"limit": 0}])
def test_a_wrong_question_for_labels_is_refused(api, query):
    reply = api.get(f"/v1/jobs/{api.new_job()}/labels", params=query)

    assert_problem(reply, 422, "invalid_request")
    assert reply.json()["errors"][0]["pointer"] == f"/query/{next(iter(query))}"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/jobs", "GET, POST"),
        ("PUT", "/v1/jobs/job_0", "DELETE, GET"),
        ("POST", "/v1/students/stu_0/weights", "GET, HEAD"),
        ("GET", "/v1/jobs/job_0/cancel", "POST"),
        ("POST", "/livez", "GET"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(api, method, path, allowed):
    reply = api.request(method, path)

    assert_problem(reply, 405, "method_not_allowed")
    assert reply.headers["allow"] == allowed


def assert_problem(reply: httpx.Response, status: int, code: str) -> None:
    """A whole problem, and the one expected."""
    assert reply.headers["content-type"] == "application/problem+json", reply.text
    problem = reply.json()
    assert (reply.status_code, problem["code"]) == (status, code), problem
    assert problem["status"] == status
    assert problem["type"] == f"/problems/{code}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == reply.headers["x-request-id"]
    assert "Traceback" not in reply.text


def test_what_a_job_names_may_not_lie_in_a_data_folder(api):
    theirs = api.root.parent / "other-service"
    (theirs / "jobs").mkdir(parents=True)
    (theirs / SERVICES_OWN).touch()
    body = {"source": {"kind": "folder", "path": str(api.root)}, "classes": ["a", "b"]}

    for name, value in (
        ("student_weights", str(theirs / "jobs" / "w.pth")),
        ("teacher", f"local-dir:{theirs}/jobs"),
    ):
        reply = api.post("/v1/jobs", json={**body, "config": {name: value}})

        assert reply.status_code == 422
        assert reply.json()["errors"][0]["pointer"] == f"/config/{name}"
