"""An error of the service, as Python sees it."""

import pytest

from ccd_client import (
    BadRequest,
    BadSetting,
    Client,
    Conflict,
    Forbidden,
    Gone,
    InvalidRequest,
    NotFound,
    PreconditionFailed,
    ServerFault,
    StorageFull,
    TooManyRequests,
    Unauthorized,
    UnexpectedAnswer,
)
from scripted import Answer, says

PROBLEM = {
    "type": "/v1/problems/invalid_request",
    "title": "The request has wrong fields",
    "status": 422,
    "detail": "/classes: is empty",
    "code": "invalid_request",
    "request_id": "req_7",
    "errors": [
        {"pointer": "/classes", "reason": "is empty"},
        {"pointer": "", "reason": "needs either dataset_id or source"},
    ],
}


def problem(client):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what it is, is the question
        client.jobs.create(dataset="ds_1", classes=[])
    return caught.value


@pytest.mark.parametrize("given", ["", None, 7])
def test_what_can_be_no_id_is_told_at_once(scripted, client, given):
    with pytest.raises(ValueError, match=f"not empty, is {given!r}"):
        client.jobs.get(given)

    assert scripted.requests == []


def test_only_an_error_of_the_service_is_explained(client):
    with pytest.raises(ValueError, match="a Problem that was caught, is 'job_not_found'"):
        client.explain("job_not_found")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (405, BadRequest),
        (409, Conflict),
        (410, Gone),
        (412, PreconditionFailed),
        (413, BadRequest),
        (422, InvalidRequest),
        (429, TooManyRequests),
        (500, ServerFault),
        (507, StorageFull),
    ],
)
def test_each_status_has_its_class(scripted, client, status, kind):
    scripted.will(says({**PROBLEM, "status": status}, status))

    assert type(problem(client)) is kind


def test_a_problem_tells_all_that_the_service_said(scripted, client):
    scripted.will(says(PROBLEM, 422))

    found = problem(client)

    assert (found.status, found.code, found.request_id) == (422, "invalid_request", "req_7")
    assert found.detail == "/classes: is empty"
    assert str(found) == "/classes: is empty; needs either dataset_id or source"
    assert found.errors[0].pointer == "/classes"


def test_a_page_of_a_proxy_is_a_problem_too(scripted, client):
    scripted.will(Answer(500, b"<h1>oops</h1>", {"Content-Type": "text/html"}))

    assert str(problem(client)) == "HTTP status 500"


def test_a_missing_key_comes_with_what_to_do(scripted, client):
    scripted.will(says({"code": "unauthorized", "detail": "no key was sent"}, 401))

    assert "CCD_API_KEY" in problem(client).hint


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[1, 2]", b'{"id": 7}'])
def test_what_is_no_service_is_told(scripted, client, body):
    scripted.will(Answer(200, body))

    assert type(problem(client)) is UnexpectedAnswer


def test_a_key_is_not_carried_to_another_address(scripted, client):
    scripted.will(says({}, 307, Location="https://elsewhere/"))

    assert "https://elsewhere/" in str(problem(client))
    assert len(scripted.requests) == 1


@pytest.mark.parametrize("key", ["two words", "schlüssel", "line\nbreak"])
def test_a_key_that_no_header_can_hold_is_refused_without_being_repeated(key):
    with pytest.raises(BadSetting) as caught:
        Client("http://127.0.0.1:1", key=key)

    assert key not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://host", "nonsense", "http://host:port"])
def test_an_address_that_is_none_is_refused_at_once(url):
    with pytest.raises(BadSetting), Client(url) as client:
        client.jobs.get("job_1")


def test_an_id_may_hold_anything(scripted, client):
    scripted.will(says({"code": "job_not_found"}, 404))

    with pytest.raises(NotFound):
        client.jobs.get("../keys?x=1#é")

    assert scripted.requests[0].path == "/v1/jobs/..%2Fkeys%3Fx%3D1%23%C3%A9"


def test_classes_are_not_one_text(client):
    with pytest.raises(BadSetting, match="list of names"):
        client.jobs.create(dataset="ds_1", classes="cat,dog")


@pytest.mark.parametrize("images", [{}, {"dataset": "ds_1", "folder": "/photos"}])
def test_images_come_from_one_place(client, images):
    with pytest.raises(BadSetting, match="one of dataset, folder and source"):
        client.jobs.create(classes=["cat"], **images)
