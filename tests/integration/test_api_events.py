"""Watching a job: server-sent events and the long poll, on a real store."""

import random
import threading
import time
from itertools import islice

import httpx
import pytest

from app import event_stream
from tests.serving import wait_until
from tests.store_calls import SHORT_PLAN, WARNING, claim, live, live_whole
from tests.streams import Stream
from tests.valkeys import mortal_valkey
from workers.events import TOLD
from workers.files import DataFolder
from workers.jobs import JobError, Kind, Lane, Phase
from workers.outcomes import write_request
from workers.recovery import recover
from workers.settings import Settings
from workers.store import open_store

BROKEN = JobError("no_images", "check", "The folder holds no image.")


def live_at_a_sign(store, sign):
    """The same, a step at each sign, or without one after a moment."""
    for _ in live(store):
        sign.wait(0.02)
        sign.clear()


def url_of(api, job_id):
    return f"{api.base_url}/v1/jobs/{job_id}/events"


def told(api, job_id, **query):
    reply = api.get(f"/v1/jobs/{job_id}/events", params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()["data"]


def job_of(api, job_id):
    return api.get(f"/v1/jobs/{job_id}").json()


def test_a_job_that_cannot_be_read_ends_no_other_jobs_stream(api):
    odd, good = api.new_job(), api.new_job()

    with Stream(url_of(api, odd)) as first, Stream(url_of(api, good)) as second:
        assert "job.snapshot" in [*islice(first.blocks(), 2)][1]
        blocks = second.blocks()
        assert "job.snapshot" in [*islice(blocks, 2)][1]
        api.store.redis.hset(f"ccd:record:{odd}", "phases", '[{"lane": "io", "newer": 1}]')
        api.store.redis.xadd(f"ccd:events:{odd}", {"odd": 1}, id="1000000-0")
        api.store.redis.publish(TOLD, odd)
        assert api.post(f"/v1/jobs/{good}/cancel").is_success

        assert any("job.done" in block for block in islice(blocks, 6))


def test_a_stream_begins_with_the_job_as_it_is(api):
    job_id = api.new_job()

    with Stream(url_of(api, job_id)) as stream:
        blocks = stream.blocks()
        assert next(blocks) == "retry: 3000"
        first = next(blocks)

    assert (stream.status, stream.headers["content-type"]) == (
        200,
        "text/event-stream; charset=utf-8",
    )
    assert stream.headers["cache-control"] == "no-cache"
    assert stream.headers["x-accel-buffering"] == "no"
    [snapshot] = told(api, job_id)
    assert first.startswith("event: job.snapshot\n")
    assert first.endswith("\nid: 0")
    assert (snapshot["type"], snapshot["job_id"], snapshot["seq"]) == ("job.snapshot", job_id, 0)
    assert snapshot["data"] == job_of(api, job_id)


def test_a_watcher_sees_everything_that_happens_in_its_order(api):
    job_id = api.new_job()

    with Stream(url_of(api, job_id)) as stream:
        events = stream.events()
        assert next(events)[1]["type"] == "job.snapshot"
        live_whole(api.store)
        seen = list(events)  # it ends by itself

    assert [int(id) for id, _ in seen] == [event["seq"] for _, event in seen]
    assert [event["seq"] for _, event in seen] == list(range(1, len(seen) + 1))
    data = [(event["type"], event["data"]) for _, event in seen]
    assert data[:2] == [
        ("job.state", {"status": "running", "previous": "queued"}),
        ("job.phase", {"phase": "check", "phase_index": 0, "phase_count": 1}),
    ]
    assert ("job.warning", WARNING) in data
    assert [d["phase"] for kind, d in data if kind == "job.phase"] == ["check", "embed", "train"]
    metrics = [d for kind, d in data if kind == "job.metric"]
    assert metrics[0] == {"name": "loss", "phase": "train", "epoch": 0, "value": 0.5}
    assert [point["value"] for point in metrics] == [0.5, 0.25, 0.25, None]
    assert data[-2] == ("job.state", {"status": "succeeded", "previous": "running"})
    assert data[-1] == ("job.done", job_of(api, job_id))


def test_progress_is_told_as_the_job_has_it(api):
    job_id = api.new_job()
    held = claim(api.store)
    api.store.renew(held, done=1, total=4)

    events = told(api, job_id, after=0)

    [progress] = [event["data"] for event in events if event["type"] == "job.progress"]
    assert progress.keys() == job_of(api, job_id)["progress"].keys()
    assert (progress["phase"], progress["done"], progress["total"]) == ("check", 1, 4)


def test_progress_is_told_once_a_second_at_most(api):
    job_id = api.new_job()
    held = claim(api.store)
    for done in range(20):
        api.store.renew(held, done=done, total=100)

    types = [event["type"] for event in told(api, job_id, after=0)]

    assert types.count("job.progress") < 10


def test_who_has_seen_the_end_is_not_served_again(api):
    job_id = api.new_job()
    live_whole(api.store)

    with Stream(url_of(api, job_id)) as stream:
        seen = list(stream.events())
    last = seen[-1][0]

    assert [event["type"] for _, event in seen] == ["job.snapshot", "job.done"]
    assert seen[0][1]["data"] == seen[1][1]["data"]
    again = {"Accept": "text/event-stream", "Last-Event-ID": last}
    assert api.get(f"/v1/jobs/{job_id}/events", headers=again).status_code == 204
    assert told(api, job_id, after=last) == []
    with Stream(url_of(api, job_id), last_event_id=int(last) - 1) as stream:
        assert [event["type"] for _, event in stream.events()] == ["job.done"]


def test_the_long_poll_has_the_same_events(api):
    job_id = api.new_job()
    after, polled = 0, []

    for _ in live(api.store):
        reply = api.get(f"/v1/jobs/{job_id}/events", params={"after": after}).json()
        polled += reply["data"]
        after = reply["last_seq"]

    assert polled == told(api, job_id, after=0)
    assert polled[-1]["type"] == "job.done"


def test_the_long_poll_waits_for_an_event_and_no_longer(api):
    job_id = api.new_job()
    started = time.monotonic()
    threading.Timer(0.2, claim, [api.store]).start()

    events = told(api, job_id, after=0, wait=30)

    assert events[0]["type"] == "job.state"
    assert time.monotonic() - started < 10
    seq = told(api, job_id)[0]["seq"]
    assert told(api, job_id, after=seq, wait=1) == []


@pytest.mark.parametrize("status", ["cancelled", "failed"])
def test_a_job_that_ends_otherwise_is_done_too(api, status):
    job_id = api.new_job()
    if status == "failed":
        api.store.fail(claim(api.store), BROKEN)
    else:
        api.store.cancel(job_id)

    last = told(api, job_id, after=0)[-1]

    assert (last["type"], last["data"]["status"]) == ("job.done", status)
    assert last["data"]["error"] == job_of(api, job_id)["error"]


def test_events_that_are_gone_are_answered_with_the_job_as_it_is(api):
    job_id = api.new_job()
    claim(api.store)
    api.store.redis.xtrim(f"ccd:events:{job_id}", maxlen=1, approximate=False)

    events = told(api, job_id, after=0)
    never = told(api, job_id, after=77)

    assert [event["type"] for event in events] == ["resync", "job.snapshot"]
    assert events[0]["data"] == {"after": 0}
    assert {event["seq"] for event in events} == {2}
    assert [event["type"] for event in never] == ["resync", "job.snapshot"]
    with Stream(url_of(api, job_id), last_event_id=0) as stream:
        seen = stream.events()
        assert [next(seen)[0], next(seen)[0]] == [None, "2"]


def test_a_record_from_before_there_were_events_can_be_watched(api):
    job_id = api.new_job()
    live_whole(api.store)
    api.store.redis.hdel(f"ccd:record:{job_id}", "seq")
    api.store.redis.delete(f"ccd:events:{job_id}")

    with Stream(url_of(api, job_id)) as stream:
        seen = list(stream.events())

    assert [(id, event["type"]) for id, event in seen] == [("0", "job.snapshot"), ("1", "job.done")]
    assert told(api, job_id, after=1) == []


@pytest.mark.parametrize("seed", range(8))
def test_whoever_is_cut_off_at_any_byte_sees_every_event_once(api, seed):
    chance = random.Random(seed)
    job_id = api.new_job()
    go = threading.Event()
    worker = threading.Thread(target=live_at_a_sign, args=[api.store, go])
    seen, last = [], None

    while not seen or seen[-1]["type"] != "job.done":
        with Stream(url_of(api, job_id), last_event_id=last) as stream:
            for last, event in stream.events(cut=chance.randrange(1, 3000)):  # noqa: B007
                seen.append(event)
                if len(seen) == 1:
                    worker.start()
                if chance.random() < 0.5:
                    go.set()
    worker.join()

    assert seen[0]["type"] == "job.snapshot"
    assert seen[1:] == told(api, job_id, after=seen[0]["seq"])


def test_many_watchers_of_many_jobs_see_what_is_theirs(api):
    jobs = [api.new_job() for _ in range(3)]
    streams = [Stream(url_of(api, job_id)) for job_id in jobs * 5]
    events = [stream.events() for stream in streams]
    for one in events:
        next(one)

    for _ in jobs:
        live_whole(api.store)

    for job_id, one in zip(jobs * 5, events, strict=True):
        seen = [event for _, event in one]
        assert seen == told(api, job_id, after=0)
    for stream in streams:
        stream.__exit__()


def test_the_stream_of_a_job_that_is_deleted_ends(api, monkeypatch):
    monkeypatch.setattr(event_stream, "KEEP_ALIVE_SECONDS", 0.02)
    job_id = api.new_job()
    with Stream(url_of(api, job_id)) as stream:
        events = stream.events()
        next(events)
        api.store.cancel(job_id)
        api.store.delete(job_id)

        assert {event["type"] for _, event in events} <= {"job.state", "job.done"}
    assert api.get(f"/v1/jobs/{job_id}/events").status_code == 404


def test_a_silent_stream_tells_that_it_lives(api, monkeypatch):
    monkeypatch.setattr(event_stream, "KEEP_ALIVE_SECONDS", 0.05)
    job_id = api.new_job()

    with Stream(url_of(api, job_id)) as stream:
        blocks = stream.blocks()
        assert [next(blocks) for _ in range(4)][2:] == [": alive", ": alive"]


def test_who_takes_nothing_is_dropped_and_the_others_go_on(api, monkeypatch, capsys):
    job_id = api.new_job()
    held = claim(api.store)
    long = {"code": "long", "classes": [], "message": "x" * 500_000}

    with Stream(url_of(api, job_id)) as other:
        events = other.events()
        next(events)
        monkeypatch.setattr(event_stream, "MOST_SEND_SECONDS", 0.2)  # of those that come now
        slow = Stream(url_of(api, job_id))
        facts = {"warnings": [long | {"classes": [str(n)]} for n in range(20)]}
        api.store.complete(held, output="c", done=1, facts=facts, plan=SHORT_PLAN)
        seen = [next(events)[1]["type"] for _ in range(20)]

        assert seen == ["job.warning"] * 20
        wait_until(lambda: "stream.dropped" in capsys.readouterr().out)
        with slow, pytest.raises(ConnectionError):
            for _ in slow.events():
                pass  # what had been sent before, then the end


def test_a_wrong_last_event_id_is_refused(api):
    job_id = api.new_job()

    for wrong in ("x", "-1", str(2**60)):
        reply = api.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": wrong})
        assert (reply.status_code, reply.json()["code"]) == (422, "invalid_request")
    assert api.get(f"/v1/jobs/{job_id}/events", params={"wait": 61}).status_code == 422
    assert api.get("/v1/jobs/job_0/events").json()["code"] == "job_not_found"


# ---------------------------------------------------------------------- a service of one's own


@pytest.fixture
def mortal(tmp_path, running_server):
    """(its Valkey, the address of its API, its store, its data) with a job `job_1`."""
    with mortal_valkey() as valkey:
        settings = Settings(
            data=tmp_path / "data", redis_url=valkey.url, allowed_roots=[tmp_path], reap_seconds=600
        )
        with running_server(settings) as server:
            store, data = open_store(settings), DataFolder(settings.data)
            submit(store, data)
            yield valkey, server, store, data


def submit(store, data):
    request = {
        "dataset_id": "ds_1",
        "name": None,
        "classes": [],
        "preset": "tiny",
        "config": {},
        "metadata": {},
    }
    check = (Phase("check", Lane.METHOD),)
    own = {"kind": Kind.JOB, "id": "job_1", "request": request, "phases": check}
    write_request(data.job("job_1"), **own, waits_for=None, request_id=None)
    store.create(Kind.JOB, "job_1", request=request, phases=check)


def test_a_redis_that_goes_and_comes_back_loses_no_event(mortal):
    valkey, server, store, _ = mortal

    with Stream(f"{server.url}/v1/jobs/job_1/events") as stream:
        events = stream.events()
        next(events)
        steps = live(store)
        next(steps)
        first = [next(events)[1] for _ in range(2)]
        wait_until(store.redis.bgrewriteaof)
        wait_until(lambda: not store.redis.info("persistence")["aof_rewrite_in_progress"])
        valkey.kill()
        valkey.start()
        for _ in steps:
            pass
        seen = [*first, *(event for _, event in events)]

    reply = httpx.get(f"{server.url}/v1/jobs/job_1/events", params={"after": 0})
    assert seen == reply.json()["data"]


def test_after_a_redis_that_was_emptied_the_job_is_told_anew(mortal):
    _, server, store, data = mortal

    with Stream(f"{server.url}/v1/jobs/job_1/events") as stream:
        events = stream.events()
        next(events)
        claim(store)
        assert [next(events)[1]["seq"] for _ in range(2)] == [1, 2]
        store.redis.flushall()
        recover(store, data, apply=True)
        live_whole(store)
        seen = [event for _, event in events]

    types = [event["type"] for event in seen]
    assert types[:2] == ["resync", "job.snapshot"]
    assert types[-1] == "job.done"
    seqs = [event["seq"] for event in seen[1:]]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))


def test_after_a_redis_that_was_emptied_who_follows_a_log_misses_nothing(mortal):
    _, server, store, data = mortal
    address = f"{server.url}/v1/jobs/job_1/logs"
    claim(store)
    cursor = httpx.get(address).json()["next_cursor"]

    store.redis.flushall()
    recover(store, data, apply=True)
    live_whole(store)

    whole = httpx.get(address).json()["data"]
    assert whole
    assert httpx.get(address, params={"cursor": cursor}).json()["data"] == whole


def test_streams_end_at_once_when_the_server_stops(mortal):
    _, server, _, _ = mortal
    with Stream(f"{server.url}/v1/jobs/job_1/events") as stream:
        events = stream.events()
        next(events)
        started = time.monotonic()
        server.server.should_exit = True

        assert list(events) == []
        server.thread.join(10)
        assert time.monotonic() - started < 1.5
