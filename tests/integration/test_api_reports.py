"""The health report over HTTP: the page, its figures, and what a browser may do with it."""

import pytest

from app.reports import ALONE

PAGE = "<!doctype html><title>a</title><style>b {}</style><script>1</script>"
POLICY = "default-src 'none'; script-src 'sha256-AAAA'"


def reported(api):
    job_id = api.new_job()
    api.run_until(job_id, "score")
    api.report(job_id, {"report.html": PAGE, "health.json": '{"a": 1}', "policy.txt": POLICY})
    return job_id


def test_the_page_is_shown_and_may_run_its_own_style_and_script_alone(api):
    reply = api.get(f"/v1/jobs/{reported(api)}/report")

    assert (reply.status_code, reply.text) == (200, PAGE)
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.headers["content-disposition"].startswith("inline")
    assert reply.headers["content-security-policy"] == f"{POLICY}; {ALONE}"
    assert "frame-ancestors 'none'" in ALONE
    assert "allow-same-origin" not in ALONE
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_the_page_as_an_artifact_is_saved_and_never_shown(api):
    reply = api.get(f"/v1/jobs/{reported(api)}/artifacts/report.html")

    assert reply.text == PAGE
    assert reply.headers["content-disposition"].startswith("attachment")
    assert reply.headers["content-security-policy"].startswith("default-src 'none'")
    assert "script-src" not in reply.headers["content-security-policy"]


def test_the_figures_are_json(api):
    job_id = reported(api)

    reply = api.get(f"/v1/jobs/{job_id}/health")

    assert (reply.status_code, reply.json()) == (200, {"a": 1})
    assert reply.headers["content-type"] == "application/json"
    assert api.get(f"/v1/jobs/{job_id}/artifacts/health.json").json() == {"a": 1}


@pytest.mark.parametrize("what", ["report", "health"])
def test_a_client_that_has_it_is_told_so(api, what):
    address = f"/v1/jobs/{reported(api)}/{what}"
    etag = api.get(address).headers["etag"]

    assert api.get(address, headers={"If-None-Match": etag}).status_code == 304
    assert api.head(address).headers["etag"] == etag


@pytest.mark.parametrize("what", ["report", "health"])
def test_a_report_that_is_not_made_yet_names_its_phase(api, what):
    reply = api.get(f"/v1/jobs/{api.new_job()}/{what}")

    assert (reply.status_code, reply.json()["code"]) == (409, "not_ready")
    assert "phase report" in reply.json()["detail"]


@pytest.mark.parametrize("what", ["report", "health"])
def test_a_report_that_could_not_be_made_is_told_so(api, what):
    job_id = api.new_job()
    api.run_until(job_id, "score")
    api.report(job_id, {})

    reply = api.get(f"/v1/jobs/{job_id}/{what}")

    assert (reply.status_code, reply.json()["code"]) == (404, "artifact_not_found")
    assert "warnings" in reply.json()["detail"]
    names = [row["name"] for row in api.get(f"/v1/jobs/{job_id}/artifacts").json()["data"]]
    assert "report.html" not in names


def test_a_damaged_report_is_not_shown(api):
    job_id = reported(api)
    folder = api.folder.phase(api.store.outputs(job_id)["report", 0])
    (folder / "report.html").write_text(PAGE.replace("a", "b"))

    assert api.get(f"/v1/jobs/{job_id}/report").json()["code"] == "artifact_corrupt"


def test_there_is_no_report_of_a_job_that_is_not_there(api):
    assert api.get("/v1/jobs/job_none/report").json()["code"] == "job_not_found"
