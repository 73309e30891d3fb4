"""Rate, remaining time and form of a record."""

import pytest

from workers.jobs import JobError, Lane, Phase, Status
from workers.records import read_phases, read_record, write_phases

PHASES = [
    Phase("check", Lane.METHOD, weight=0),
    Phase("embed", Lane.METHOD, units=4, weight=30, items=400),
    Phase("train", Lane.METHOD, units=8, sequential=True, weight=60),
]


def fields(**changes: object) -> dict[str, str]:
    """A running record, 20 s into `embed`, half of which is done: 100 images reused, 100 new."""
    present = {
        "id": "job_1",
        "kind": "job",
        "status": "running",
        "request": "{}",
        "phases": write_phases(PHASES),
        "priority": 0,
        "version": 7,
        "created_ms": 0,
        "started_ms": 1000,
        "updated_ms": 61_001,
        "phase": 1,
        "units_done": 2,
        "units_reused": 1,
        "items_done": 200,
        "items_reused": 100,
        "busy_ms": 20_000,
        "done": 200,
        "total": 400,
        "fraction": 0.5,
        "percent": 16.66,
    } | changes
    return {name: str(value) for name, value in present.items()}


def test_the_rate_leaves_out_what_was_reused():
    assert read_record(fields()).progress.rate_per_second == 100 / 20


def test_the_remaining_time_follows_the_weights():
    # A quarter of embed, weight 7.5, took 20 s; half of embed and all of train, weight 75, remain.
    assert read_record(fields()).progress.eta_seconds == pytest.approx(200)


def test_in_the_last_phase_the_remaining_time_is_what_is_left_over_the_rate():
    last = fields(phase=2, units_done=2, units_reused=0, done=50, total=200, fraction=0.25)

    progress = read_record(last | {"items_reused": "0"}).progress
    assert progress.rate_per_second == 50 / 20
    assert progress.eta_seconds == pytest.approx((200 - 50) / (50 / 20))


@pytest.mark.parametrize(
    "changes",
    [
        {"busy_ms": 2999},  # too short
        {"units_reused": 2, "items_reused": 200},  # nothing but reuse
        {"items_reused": 200},  # of what is in work no image is done yet
        {"status": "cancelling"},
        {"status": "succeeded"},
        {"status": "cancelled"},
    ],
)
def test_without_enough_to_go_by_there_is_neither_rate_nor_remaining_time(changes):
    progress = read_record(fields(**changes)).progress

    assert (progress.rate_per_second, progress.eta_seconds) == (None, None)


def test_a_phase_of_weight_0_tells_no_remaining_time():
    assert read_record(fields(phase=0, units_reused=0)).progress.eta_seconds is None


def test_the_fields_read_back_as_a_record():
    record = read_record(
        fields(note='{"loss": 0.5}', waits_for="ds_1") | {"fact:n": "3", "fact:names": '["é"]'}
    )

    assert (record.id, record.status, record.phase) == ("job_1", Status.RUNNING, "embed")
    assert record.facts == {"n": 3, "names": ["é"]}
    assert (record.waits_for, record.version, record.error) == ("ds_1", 7, None)
    assert record.progress.note == {"loss": 0.5}
    assert (record.created_at, record.finished_at) == ("1970-01-01T00:00:00.000Z", None)
    assert record.started_at == "1970-01-01T00:00:01.000Z"
    assert record.updated_at == record.progress.updated_at == "1970-01-01T00:01:01.001Z"


def test_a_record_that_nobody_started_has_no_phase():
    unstarted = fields(status="queued", busy_ms=0)
    del unstarted["started_ms"], unstarted["phase"]

    record = read_record(unstarted)
    assert (record.phase, record.progress.phase, record.progress.phase_index) == (None, None, 0)


def test_an_error_reads_back_with_all_its_parts():
    error = '{"code": "no_images", "phase": "register", "message": "m", "hint": null}'

    record = read_record(fields(status="failed", error=error))
    assert record.error == JobError("no_images", "register", "m", None, retryable=False)


def test_phases_read_back_as_they_were_written():
    assert read_phases(write_phases(PHASES)) == tuple(PHASES)
