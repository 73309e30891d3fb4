"""Answers as objects: lists, tables, what notebooks show, and where the key comes from."""

import json

import pytest

from ccd_client import Client, PackageMissing, WorkFailed
from ccd_client.credentials import service_key, service_url
from ccd_client.models import JobFields, Key, LabelRow
from ccd_client.tables import Rows, arrow_table, label_columns, needed
from scripted import JOB, says

ROWS = [
    LabelRow(image_id="img_1", path="a.jpg", scores={"cat": 0.9, "path": 0.1}, labels=["cat"]),
    LabelRow(image_id="img_2", path="b.jpg", scores={"cat": 0.2, "path": 0.3}, labels=[]),
]


def page(*names, cursor=None):
    return says({"data": [{**JOB, "id": name} for name in names], "next_cursor": cursor})


def test_a_list_is_read_page_by_page(scripted, client):
    scripted.will(page("job_1", "job_2", cursor="c"), page(cursor="d"), page("job_3"))

    assert [job.id for job in client.jobs.list()] == ["job_1", "job_2", "job_3"]
    assert [request.path.partition("cursor=")[2] for request in scripted.requests] == ["", "c", "d"]


def test_the_first_few_cost_no_more_than_they_are(scripted, client):
    scripted.will(page("job_1", "job_2", cursor="c"))

    assert [job.id for job in client.jobs.list().take(2)] == ["job_1", "job_2"]
    assert [request.path for request in scripted.requests] == ["/v1/jobs?limit=2"]


def test_filters_of_labels_go_to_the_service(scripted, client):
    scripted.will(says(JOB), says({"data": [], "next_cursor": None}))

    client.jobs.get("job_1").labels(
        "debiased", class_="a cat", min_score=0.4, disagree=["global", "student"], views=True
    ).all()

    query = scripted.requests[1].path.partition("?")[2]
    assert query == (
        "stage=debiased&class=a+cat&min_score=0.4&disagree=global%2Cstudent&views=true&limit=1000"
    )


def test_several_classes_go_one_by_one_whatever_is_in_their_names(scripted, client):
    scripted.will(says(JOB), says({"data": [], "next_cursor": None}))

    client.jobs.get("job_1").labels(class_=["cat", "a,b"]).all()

    assert "class=cat&class=a%2Cb&" in scripted.requests[1].path


def test_fields_of_a_newer_service_are_kept():
    job = JobFields.read({**JOB, "colour": "red", "status": "paused"})

    assert job.colour == "red"
    assert job.status == "paused"


def test_work_that_ended_badly_is_raised_when_asked_for(scripted, client):
    error = {"code": "no_images", "phase": "check", "message": "nothing to see"}
    scripted.will(says({**JOB, "status": "failed", "terminal": True, "error": error}))
    job = client.jobs.get("job_1").wait()

    with pytest.raises(WorkFailed, match="job_1 failed in check, no_images: nothing to see") as e:
        job.check()
    assert e.value.work is job


def test_label_columns_keep_apart_what_is_called_alike():
    assert label_columns(ROWS) == {
        "image_id": ["img_1", "img_2"],
        "path": ["a.jpg", "b.jpg"],
        "labels": [["cat"], []],
        "thresholds_version": [None, None],
        "score:cat": [0.9, 0.2],
        "score:path": [0.1, 0.3],
    }


def test_label_rows_are_an_arrow_table():
    pytest.importorskip("pyarrow")

    assert arrow_table(ROWS).column("score:cat").to_pylist() == [0.9, 0.2]


def test_a_package_that_is_missing_is_named_with_what_to_do():
    with pytest.raises(PackageMissing, match="pip install surely_not_there"):
        needed("surely_not_there", "to_moon()")


NASTY = "<script>alert('1')</script>"


def test_notebooks_run_nothing_that_users_wrote():
    job = JobFields.read({**JOB, "name": NASTY, "metadata": {NASTY: NASTY}, NASTY: NASTY})

    for shown in (job._repr_html_(), Rows([job])._repr_html_()):
        assert "<script" not in shown
        assert "&lt;script&gt;" in shown


def test_notebooks_and_prints_show_no_secret():
    key = Key(id="key_1", name="mine", secret="key_1.s3cr3t")

    assert "s3cr3t" not in key._repr_html_() + repr(key) + str(key)
    assert key.secret == "key_1.s3cr3t"


def test_whether_a_service_is_ready_is_asked_without_the_key(scripted):
    scripted.will(says({}))
    with Client(scripted.url, "key_1.secret") as client:
        assert client.is_ready()
        client.usage()

    sent = [request.headers.get("authorization") for request in scripted.requests]
    assert sent == [None, "Bearer key_1.secret"]


def test_the_key_is_the_one_given_else_of_the_environment_else_of_the_file(monkeypatch, tmp_path):
    url = "http://host:8000"
    assert service_key(url) is None

    (tmp_path / "credentials.json").write_text(json.dumps({f"{url}/": "of-file"}))
    assert service_key(url) == "of-file"
    assert service_key("http://other:8000") is None

    monkeypatch.setenv("CCD_API_KEY", "of-environment")
    assert service_key(url) == "of-environment"
    assert service_key(url, "given") == "given"


def test_a_credentials_file_that_is_broken_is_none(tmp_path):
    (tmp_path / "credentials.json").write_text("{")

    assert service_key("http://host:8000") is None


def test_the_address_is_the_one_given_else_of_the_environment(monkeypatch):
    assert service_url() == "http://127.0.0.1:8000"

    monkeypatch.setenv("CCD_URL", "http://host:1/")
    assert service_url() == "http://host:1"
    assert service_url("http://given:2/") == "http://given:2"


def test_the_key_is_sent_and_never_shown(scripted):
    scripted.will(says(JOB))
    with Client(scripted.url, key="key_1.secret") as client:
        client.jobs.get("job_1")

        assert scripted.requests[0].headers["authorization"] == "Bearer key_1.secret"
        assert "secret" not in repr(client)
