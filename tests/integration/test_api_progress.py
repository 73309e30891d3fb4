"""The metrics of a job by epoch, and its log."""

import pytest

from tests.store_calls import WARNING, claim, live, live_whole, lose
from workers.job_log import LOG, keep_log
from workers.jobs import JobError
from workers.reaper import Reaper

BROKEN = JobError("out_of_memory", "check", "Memory ran out.", "Take a smaller batch.")


def log_of(api, job_id, **query):
    reply = api.get(f"/v1/jobs/{job_id}/logs", params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()


def events_of(api, job_id, **query):
    return [line["event"] for line in log_of(api, job_id, **query)["data"]]


def reaper_of(api):
    return Reaper(
        api.store,
        api.settings,
        ring=lambda *_: None,
        sweep=lambda _: None,
        keep_end=lambda *_: True,
        keep_log=lambda *args: keep_log(api.folder, *args),
    )


def test_metrics_are_points_by_epoch(api):
    job_id = api.new_job()
    before = api.get(f"/v1/jobs/{job_id}/metrics").json()
    live_whole(api.store)

    reply = api.get(f"/v1/jobs/{job_id}/metrics").json()

    assert before == {"data": [{"name": "loss", "points": []}, {"name": "map", "points": []}]}
    assert [metric["name"] for metric in reply["data"]] == ["loss", "map"]
    values = [[point["value"] for point in metric["points"]] for metric in reply["data"]]
    assert values == [[0.5, 0.25], [0.25, None]]  # JSON has no NaN
    point = reply["data"][0]["points"][1]
    assert (point["phase"], point["epoch"]) == ("train", 1)
    assert api.get(f"/v1/jobs/{job_id}").json()["created_at"] <= point["at"]
    one = api.get(f"/v1/jobs/{job_id}/metrics", params={"name": "map"}).json()
    assert one["data"] == reply["data"][1:]


def test_epochs_from_before_times_were_kept_have_none(api):
    job_id = api.new_job()
    live_whole(api.store)
    api.store.redis.hset(f"ccd:record:{job_id}", "fact:curve_at", "[1000]")

    [loss, _] = api.get(f"/v1/jobs/{job_id}/metrics").json()["data"]

    assert [point["at"] for point in loss["points"]] == [None, "1970-01-01T00:00:01.000Z"]


def test_an_unknown_metric_is_refused(api):
    job_id = api.new_job()

    reply = api.get(f"/v1/jobs/{job_id}/metrics", params={"name": "f1"})

    assert reply.status_code == 422
    assert "'loss' or 'map'" in reply.json()["detail"]
    assert api.get("/v1/jobs/job_0/metrics").json()["code"] == "job_not_found"


def test_the_log_tells_what_became_of_each_unit_and_phase(api):
    job_id = api.new_job()
    live_whole(api.store)

    lines = log_of(api, job_id)["data"]

    assert [line["event"] for line in lines[:7]] == [
        *("phase.started", "unit.started", "unit.ended", "warning"),
        *("phase.ended", "phase.started", "unit.started"),
    ]
    assert lines[3]["fields"] == WARNING
    assert (lines[3]["level"], lines[3]["phase"], lines[3]["unit"]) == ("warning", "check", 0)
    assert lines[2]["fields"].keys() == {"images", "reused", "seconds"}
    assert lines[4]["fields"].keys() == {"seconds"}
    assert (lines[-1]["event"], lines[-1]["phase"]) == ("job.succeeded", None)
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)


def test_lost_and_failed_units_are_in_the_log(api):
    job_id = api.new_job()
    lose(api.store, claim(api.store))
    api.store.give_back(claim(api.store))
    api.store.fail(claim(api.store), BROKEN)

    lines = log_of(api, job_id)["data"]

    assert [(line["event"], line["attempt"]) for line in lines[1:]] == [
        *(("unit.started", 1), ("unit.lost", 1)),
        *(("unit.started", 2), ("unit.given_back", 2)),
        *(("unit.started", 2), ("unit.failed", 2)),
        ("job.failed", None),
    ]
    assert lines[-1]["fields"] == {"code": BROKEN.code, "message": BROKEN.message}
    assert events_of(api, job_id, level="warning") == ["unit.lost", "unit.failed", "job.failed"]
    assert events_of(api, job_id, level="error") == ["unit.failed", "job.failed"]


def test_the_log_is_followed_by_its_cursor_to_the_end(api):
    job_id = api.new_job()
    cursor, seen = None, []
    steps = live(api.store)

    for _ in range(200):
        next(steps, None)
        page = log_of(api, job_id, limit=3, **({"cursor": cursor} if cursor else {}))
        seen += page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert seen == log_of(api, job_id)["data"]
    assert seen[-1]["event"] == "job.succeeded"


def test_the_log_of_a_job_that_is_over_is_kept_on_disk_alone(api):
    job_id = api.new_job()
    live_whole(api.store)
    before = log_of(api, job_id)

    reaper_of(api).run_once()

    assert api.store.lines(job_id) == []
    assert api.store.unwritten() == []
    assert (api.folder.job(job_id) / LOG).exists()
    assert log_of(api, job_id) == before


def test_a_disk_that_takes_nothing_leaves_the_log_where_it_is(api, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("workers.job_log.write_json", full)
    job_id = api.new_job()
    live_whole(api.store)
    before = log_of(api, job_id)
    reaper_of(api).run_once()

    assert api.store.unwritten() == [job_id]
    assert log_of(api, job_id) == before


@pytest.mark.parametrize("query", [{"level": "debug"}, {"cursor": "x"}, {"limit": 0}])
def test_wrong_queries_of_the_log_are_refused(api, query):
    job_id = api.new_job()

    reply = api.get(f"/v1/jobs/{job_id}/logs", params=query)

    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_request")
