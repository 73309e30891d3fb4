"""Events of a job: each once, whatever becomes of the connection."""

import asyncio
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccd_client import AsyncClient, Client, NotFound, Patience, WaitTimedOut
from ccd_client.events import EventReader
from scripted import HANGS_UP, JOB, QUICK, Answer, says

DONE = {**JOB, "status": "succeeded", "terminal": True}


def stream(*events):
    """A stream of (seq, type, data)."""
    lines = ["retry: 3000\n\n"]
    for seq, kind, content in events:
        event = {"type": kind, "job_id": "job_1", "seq": seq, "data": content}
        lines.append(f": alive\nid: {seq}\nevent: {kind}\ndata: {json.dumps(event)}\n\n")
    return Answer(200, "".join(lines).encode(), {"Content-Type": "text/event-stream"})


FIRST = stream((1, "job.snapshot", JOB), (2, "job.phase", {"phase": "embed"}))
THEN = stream((2, "job.phase", {"phase": "embed"}), (3, "job.progress", {}), (4, "job.done", DONE))


@pytest.fixture
def job(scripted, client):
    scripted.will(says(JOB))
    job = client.jobs.get("job_1")
    scripted.requests.clear()
    return job


def test_every_event_comes_once_over_a_broken_connection(scripted, job):
    scripted.will(FIRST, HANGS_UP, THEN)
    seen = []

    job.wait(on_event=lambda event: seen.append(event.seq))

    assert seen == [1, 2, 3, 4]
    assert job.status == "succeeded"


def test_a_stream_is_taken_up_after_the_last_event(scripted, job):
    scripted.will(stream((1, "job.snapshot", JOB), (7, "job.state", {})), THEN)
    list(zip(range(2), job.events(), strict=False))

    scripted.will(stream((7, "job.state", {})), stream((8, "job.done", DONE)))
    seen = [event.seq for event in job.events(after=7)]

    assert scripted.requests[-1].headers["last-event-id"] == "7"
    assert seen == [8]


def test_a_stream_that_was_read_to_its_end_has_nothing_more(scripted, job):
    scripted.will(Answer(204, b""))

    assert list(job.events(after=9)) == []


def test_a_job_may_be_quiet_for_longer_than_the_patience_lasts(scripted):
    quiet = Answer(200, b": alive\n\n", {"Content-Type": "text/event-stream"})
    scripted.will(says(JOB), *[quiet] * 6, stream((1, "job.done", DONE)))
    patience = Patience(seconds=0.05, first_pause_seconds=0.03, longest_pause_seconds=0.03)

    with Client(scripted.url, patience=patience) as client:
        assert client.jobs.get("job_1").wait(on_event=lambda _: None).is_good


def test_an_answer_that_is_no_stream_means_polling(scripted, job):
    scripted.will(says({"data": []}), says(DONE))

    assert [event.type for event in job.events()] == ["job.snapshot", "job.done"]


def test_what_is_gone_begins_anew(scripted, job):
    scripted.will(stream((None, "resync", {}), (5, "job.snapshot", JOB), (6, "job.done", DONE)))

    assert [event.type for event in job.events(after=9)] == ["resync", "job.snapshot", "job.done"]


def test_a_service_without_events_is_polled(scripted, job, monkeypatch):
    monkeypatch.setattr("ccd_client._sync.following.POLL_SECONDS", 0.01)
    running = {**JOB, "status": "running", "phase": "embed", "progress": {"done": 1}}
    scripted.will(says({"code": "not_found"}, 404), says(JOB), says(running), says(DONE))
    seen = []

    job.wait(on_event=lambda event: seen.append(event.type))

    assert seen[0] == "job.snapshot"
    assert seen.count("job.done") == 1
    assert {"job.state", "job.phase", "job.progress"} <= set(seen)
    assert job.is_good


def test_a_job_that_is_not_there_has_no_events(scripted, job):
    scripted.will(says({"code": "job_not_found"}, 404))

    with pytest.raises(NotFound):
        list(job.events())


def test_waiting_ends_at_the_timeout(scripted, job):
    scripted.will(says({"code": "not_found"}, 404), says(JOB))

    with pytest.raises(WaitTimedOut, match=r"after 0\.05 seconds"):
        job.wait(timeout=0.05, on_event=lambda _: None)
    with pytest.raises(WaitTimedOut):
        job.wait(timeout=0.05)


def test_a_timeout_is_told_as_one_also_without_patience(scripted):
    scripted.will(says(JOB), HANGS_UP)
    patience = Patience(seconds=0)

    with (
        Client(scripted.url, patience=patience) as client,
        pytest.raises(WaitTimedOut, match="goes on still"),
    ):
        client.jobs.get("job_1").wait(timeout=0, on_event=lambda _: None)


def test_the_asynchronous_half_hears_the_same(scripted):
    scripted.will(says(JOB), FIRST, HANGS_UP, THEN)

    async def seen():
        async with AsyncClient(scripted.url, patience=QUICK) as client:
            job = await client.jobs.get("job_1")
            return [event.seq async for event in job.events()]

    assert asyncio.run(seen()) == [1, 2, 3, 4]


TEXT = "".join(
    f'id: {seq}\r\ndata: {{"type": "t", "seq": {seq},\ndata: "data": {{"a": "\u2028é"}}}}\n\n'
    for seq in (1, 2, 3)
).encode()


@given(st.lists(st.integers(0, len(TEXT)), max_size=8))
def test_events_are_the_same_however_the_bytes_come(cuts):
    reader = EventReader()
    edges = [0, *sorted(cuts), len(TEXT)]

    found = [event for start, end in pairwise(edges) for event in reader.feed(TEXT[start:end])]

    assert [event.seq for event in found] == [1, 2, 3]
    assert all(event.data == {"a": "\u2028é"} for event in found)


def test_an_event_that_broke_off_is_not_mixed_with_the_next_stream():
    reader = EventReader()
    assert list(reader.feed(b'id: 4\ndata: {"type": "lost"')) == []

    reader.open()

    assert [e.type for e in reader.feed(b'id: 4\ndata: {"type": "whole"}\n\n')] == ["whole"]
