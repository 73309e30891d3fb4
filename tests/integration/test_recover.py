"""`ccd recover`: an emptied Redis is filled again from the data folder."""

from dataclasses import replace
from functools import partial

import httpx
import pytest
from typer.testing import CliRunner

from app.cli import app
from app.recover_command import report
from demo.world import CLASSES, write_world
from tests.store_calls import claim, position, worker_of
from workers.files import DataFolder
from workers.jobs import JobError, Kind, Lane, Phase, Status, from_rfc3339, made_ms, new_id, rfc3339
from workers.outcomes import REQUEST, RESULT, keep_end, write_end, write_request
from workers.reaper import Reaper
from workers.recovery import recover
from workers.settings import Settings
from workers.store import Store

STAGES = ("global", "debiased", "local", "pseudo", "student")
IMAGES = 8


@pytest.fixture
def settings(redis_url, tmp_path):
    (tmp_path / "scenes").mkdir()
    return Settings(
        data=tmp_path / "data",
        redis_url=redis_url,
        allowed_roots=[tmp_path],
        threads=1,
        shard_images=5,
        reap_seconds=600,
    )


@pytest.fixture
def folder(settings):
    folder = DataFolder(settings.data)
    folder.create()
    return folder


def work(store, settings):
    """Everything that is to be done."""
    for _ in range(2):
        for lane in Lane:
            worker_of(store, settings, lane).run_until_empty()


def post(client, path, body):
    reply = client.post(path, json=body)
    assert reply.status_code == 202, reply.text
    return reply.json()["id"]


def seen(client, ids):
    """All that a user sees of these records, but for what Redis alone knew."""
    records = {path: client.get(path).json() for path in ids}
    for record in records.values():
        record.get("progress", {}).pop("updated_at", None)
    return records


def listed(client):
    paths = ("/v1/jobs", "/v1/datasets")
    return {path: [row["id"] for row in client.get(path).json()["data"]] for path in paths}


def label_bytes(client, job_id):
    found = {}
    for stage in STAGES:
        for kind in ("application/x-ndjson", "text/csv"):
            reply = client.get(
                f"/v1/jobs/{job_id}/labels", params={"stage": stage}, headers={"Accept": kind}
            )
            assert reply.status_code == 200, reply.text
            found[stage, kind] = reply.content
    return found


def test_an_emptied_redis_serves_what_it_served_before(
    settings, folder, store, running_server, tmp_path
):
    write_world(tmp_path / "scenes", count=IMAGES, seed=6)
    (tmp_path / "empty").mkdir()
    small = {"warm_up_epochs": 1, "train_epochs": 1, "batch_size": 4}
    source = {"kind": "folder", "path": str(tmp_path / "scenes")}
    with (
        running_server(settings) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        order = {"classes": CLASSES[:3], "preset": "tiny", "config": small, "metadata": {"a": "1"}}
        job = post(client, "/v1/jobs", {"source": source, "name": "mine", **order})
        failing = post(
            client,
            "/v1/datasets",
            {"source": {"kind": "folder", "path": str(tmp_path / "empty")}},
        )
        work(store, settings)
        student = client.get(f"/v1/jobs/{job}").json()["student_id"]
        dataset = client.get(f"/v1/jobs/{job}").json()["dataset_id"]
        prediction = post(client, f"/v1/students/{student}/predictions", {"dataset_id": dataset})
        work(store, settings)
        order["dataset_id"] = dataset
        cancelled = post(client, "/v1/jobs", order)
        assert client.post(f"/v1/jobs/{cancelled}/cancel").status_code == 200
        waiting = post(client, "/v1/jobs", order)
        ids = [
            *(f"/v1/jobs/{id}" for id in (job, cancelled, waiting)),
            *(f"/v1/datasets/{id}" for id in (dataset, failing)),
            f"/v1/predictions/{prediction}",
        ]
        before, labels = seen(client, ids), label_bytes(client, job)
        listed_before = listed(client)
        artifacts = client.get(f"/v1/jobs/{job}/artifacts").json()
        files = sorted(path for path in folder.root.rglob("*") if path.is_file())

        store.redis.flushall()
        assert client.get(f"/v1/jobs/{job}").status_code == 404
        told = recover(store, folder, apply=False)
        assert store.redis.dbsize() == 0
        done = recover(store, folder, apply=True)

        assert told == done
        assert done.lost == done.gaps == {}
        assert done.restored == {
            (Kind.JOB, Status.SUCCEEDED): 1,
            (Kind.JOB, Status.CANCELLED): 1,
            (Kind.JOB, Status.QUEUED): 1,
            (Kind.DATASET, Status.SUCCEEDED): 1,
            (Kind.DATASET, Status.FAILED): 1,
            (Kind.PREDICTION, Status.SUCCEEDED): 1,
        }
        after = seen(client, ids)
        assert_same(before, after)
        assert label_bytes(client, job) == labels
        assert listed(client) == listed_before
        assert client.get(f"/v1/jobs/{job}/artifacts").json() == artifacts
        assert files == sorted(path for path in folder.root.rglob("*") if path.is_file())

        again = recover(store, folder, apply=True)
        assert not again.restored
        assert again.there == {Kind.JOB: 3, Kind.DATASET: 2, Kind.PREDICTION: 1}

        made = {path.name: path.stat().st_mtime_ns for path in folder.phases.iterdir()}
        work(store, settings)
        assert client.get(f"/v1/jobs/{waiting}").json()["status"] == "succeeded"
        assert label_bytes(client, waiting) == labels
        # All but its own card and its own report, which names the job, was there.
        assert {
            path.name.partition("-")[0]
            for path in folder.phases.iterdir()
            if made.get(path.name) != path.stat().st_mtime_ns
        } <= {"export", "report"}


def assert_same(before, after):
    """Two times are those of the disk: when the id was made, when the end was written."""
    for path, record in before.items():
        found, wanted = dict(after[path]), dict(record)
        for name in ("created_at", "finished_at"):
            time, expected = found.pop(name), wanted.pop(name)
            assert (time is None) == (expected is None)
            assert time is None or abs(from_rfc3339(time) - from_rfc3339(expected)) < 60_000
        assert found == wanted


# Records made by hand


EMBED = Phase("embed", Lane.METHOD)


def keep(folder, kind=Kind.JOB, id="job_1", waits_for=None, phases=(EMBED,)):
    write_request(
        folder.of(kind, id),
        kind=kind,
        id=id,
        request={"id": id},
        phases=tuple(phases),
        waits_for=waits_for,
        request_id="req_1",
        priority=3,
        submitter="ann",
        passes=7,
    )


def test_what_had_not_ended_is_queued_in_its_old_place(folder, store):
    first = second = new_id("job")
    while made_ms(second) == made_ms(first):
        second = new_id("job")
    keep(folder, id=second)
    keep(folder, id=first)

    recover(store, folder, apply=True)

    record = store.get(first)
    assert (record.status, record.request_id, record.priority) == (Status.QUEUED, "req_1", 3)
    assert record.submitter == "ann"
    assert record.created_at == rfc3339(made_ms(first))
    assert [claim(store).record.id, claim(store).record.id] == [first, second]


def test_a_record_in_redis_is_left_as_it_is(folder, store):
    keep(folder)
    store.create(Kind.JOB, "job_1", request={"mine": 1}, phases=[Phase("embed", Lane.METHOD)])
    held = claim(store)
    before = store.redis.hgetall("ccd:record:job_1")

    found = recover(store, folder, apply=True)

    assert found.there == {Kind.JOB: 1}
    assert store.redis.hgetall("ccd:record:job_1") == before
    assert store.renew(held, done=0) == "ok"


def test_what_waits_is_restored_with_what_it_waits_for(folder, store):
    keep(folder, Kind.DATASET, "ds_1", phases=[Phase("register", Lane.IO)])
    keep(folder, id="job_1", waits_for="ds_1")
    folder.of(Kind.DATASET, "ds_torn").mkdir()
    keep(folder, id="job_2", waits_for="ds_torn")

    for apply in (False, True):
        found = recover(store, folder, apply=apply)
        assert found.restored == {(Kind.DATASET, Status.QUEUED): 1, (Kind.JOB, Status.QUEUED): 1}
        assert found.lost.keys() == {folder.of(Kind.DATASET, "ds_torn"), folder.job("job_2")}
        assert "needs ds_torn" in found.lost[folder.job("job_2")]

    assert claim(store) is None
    store.complete(claim(store, Lane.IO), output="", done=20)
    assert store.queue(Lane.METHOD, ["job_1"]).turns["ann"].asked == 7 * 20
    assert claim(store).record.id == "job_1"


def test_what_waits_for_a_failed_one_fails_with_it(folder, store):
    error = JobError("no_images", "register", "The folder holds no image.")
    keep(folder, Kind.DATASET, "ds_1", phases=[Phase("register", Lane.IO)])
    keep(folder, id="job_1", waits_for="ds_1")
    recover(store, folder, apply=True)
    write_end(folder, store.get("ds_1"), {}, status=Status.FAILED, error=error)
    store.redis.flushall()

    for apply in (False, True):
        found = recover(store, folder, apply=apply)
        assert found.restored == {(Kind.DATASET, Status.FAILED): 1, (Kind.JOB, Status.FAILED): 1}
    assert store.get("job_1").error == error
    assert position(store, "job_1") is None


def test_what_had_ended_before_its_dataset_was_deleted_comes_back_as_failed(folder, store):
    keep(folder, id="job_1", waits_for="ds_gone")

    for apply in (False, True):
        found = recover(store, folder, apply=apply)
        assert found.restored == {(Kind.JOB, Status.FAILED): 1}
        assert found.lost == {}
    ended = store.get("job_1")
    assert (ended.status, ended.error.code) == (Status.FAILED, "dataset_deleted")
    assert position(store, "job_1") is None
    assert claim(store) is None


def test_a_cancel_that_redis_forgot_is_repeated_for_what_waits_first(folder, store):
    keep(folder, Kind.DATASET, "ds_1", phases=[Phase("register", Lane.IO)])
    keep(folder, id="job_2", waits_for="ds_1")
    recover(store, folder, apply=True)
    for id in ("ds_1", "job_2"):
        write_end(folder, store.get(id), {}, status=Status.CANCELLED)

    recover(store, folder, apply=False)
    assert store.get("job_2").status is Status.QUEUED
    recover(store, folder, apply=True)
    assert [store.get(id).status for id in ("ds_1", "job_2")] == [Status.CANCELLED] * 2


def test_a_cancel_stands_above_the_result_that_the_last_unit_wrote(folder, store):
    keep(folder)
    recover(store, folder, apply=True)
    record = store.get("job_1")
    write_end(folder, record, {}, status=Status.CANCELLED)
    write_end(folder, record, {}, status=Status.SUCCEEDED)
    store.redis.flushall()

    recover(store, folder, apply=True)

    assert store.get("job_1").status is Status.CANCELLED


def test_one_that_lost_its_worker_too_often_does_not_come_back_to_life(
    folder, settings, redis_client
):

    store = Store(redis_client, max_attempts=1, backoff_seconds=(0,))
    keep(folder)
    recover(store, folder, apply=True)
    lost = claim(store)
    store.release(lost.worker)
    clock = iter(range(0, 10_000, 1000)).__next__
    reaper = Reaper(
        store,
        settings,
        ring=lambda *_: None,
        sweep=lambda _: None,
        keep_end=partial(keep_end, folder),
        clock=lambda: float(clock()),
    )
    reaper.run_once()
    reaper.run_once()
    before = store.get("job_1")
    assert before.status is Status.FAILED
    store.redis.flushall()

    recover(store, folder, apply=True)

    after = store.get("job_1")
    assert (after.status, after.error) == (Status.FAILED, before.error)


def unreadable(name):
    """Opening it is an error of the system, whoever asks."""

    def spoil(own):
        (own / name).unlink(missing_ok=True)
        (own / name).mkdir()

    return spoil


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda own: (own / REQUEST).unlink(), "has no request.json"),
        (lambda own: (own / REQUEST).write_text("{"), "cannot be read"),
        (unreadable(REQUEST), "it cannot be read: [Errno 21]"),
        (unreadable(RESULT), "it cannot be read: [Errno 21]"),
        (lambda own: (own / REQUEST).write_text("{}"), "'kind'"),
        (lambda own: (own / RESULT).write_text('{"status": "succeeded"}'), "'error'"),
        (lambda own: own.rename(own.with_name("job_9")), "is that of job_1"),
    ],
)
def test_a_folder_that_makes_no_record_is_named_with_the_reason(folder, store, spoil, reason):
    keep(folder)
    keep(folder, id="job_2")
    spoil(folder.job("job_1"))

    found = recover(store, folder, apply=True)

    assert found.restored == {(Kind.JOB, Status.QUEUED): 1}
    assert [reason in why for why in found.lost.values()] == [True]


def test_results_that_are_gone_are_told(folder, store):
    keep(folder)
    recover(store, folder, apply=True)
    outputs = {("embed", 0): "embed-gone"}
    write_end(folder, store.get("job_1"), outputs, status=Status.SUCCEEDED)
    store.redis.flushall()
    lines = []

    found = recover(store, folder, apply=True)
    report(found, lines.append, applied=True)

    assert store.outputs("job_1") == outputs
    assert lines == [
        "restored    job         succeeded  1",
        "of job_1 1 folders with results are gone, such as embed-gone",
    ]


def test_twenty_thousand_results_fit_through_the_script(folder, store):
    phases = [Phase("embed", Lane.METHOD, units=20_000)]
    keep(folder, phases=[replace(phases[0], units=1)])
    recover(store, folder, apply=True)
    record = replace(store.get("job_1"), phases=tuple(phases))
    outputs = {("embed", unit): f"embed-{unit}" for unit in range(20_000)}
    write_end(folder, record, outputs, status=Status.SUCCEEDED)
    store.redis.flushall()

    recover(store, folder, apply=True)

    assert store.outputs("job_1") == outputs


def test_the_command_tells_first_and_does_then(folder, settings, store):
    keep(folder)
    environment = {"CCD_DATA": str(settings.data), "CCD_REDIS_URL": settings.redis_url}

    told = CliRunner().invoke(app, ["recover"], env=environment)
    assert (told.exit_code, store.redis.dbsize()) == (0, 0)
    assert "ccd recover --apply" in told.output

    done = CliRunner().invoke(app, ["recover", "--apply"], env=environment)
    assert (done.exit_code, store.get("job_1").status) == (0, Status.QUEUED)
    unreadable(REQUEST)(folder.job("job_1"))
    keep(folder, id="job_2")
    done = CliRunner().invoke(app, ["recover", "--apply"], env=environment)
    assert (done.exit_code, store.get("job_2").status) == (1, Status.QUEUED)
    assert f"no record of {folder.job('job_1')}: it cannot be read" in done.output


def test_without_a_redis_it_says_so(tmp_path):
    environment = {"CCD_DATA": str(tmp_path), "CCD_REDIS_URL": "redis://127.0.0.1:1"}
    assert CliRunner().invoke(app, ["recover"], env=environment).exit_code == 3


def test_an_id_tells_when_it_was_made():
    id = new_id("job")

    made = made_ms(id)

    assert made is not None
    assert from_rfc3339(rfc3339(made)) == made
    assert made_ms("job_1") is None
    assert made_ms("job_" + "o" * 22) is None
