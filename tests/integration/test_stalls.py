"""A unit that hangs or kills its worker: found in time, and told with what was last seen."""

from contextlib import suppress

import pytest

from tests.serving import wait_until
from tests.store_calls import claim, lose, submit, worker_of
from workers import phases
from workers.jobs import Lane, Phase, Status
from workers.settings import Settings
from workers.units import Finished
from workers.worker import EXIT_FENCED, EXIT_STALLED, Halted, Heartbeat

QUICK = {"heartbeat_seconds": 0.01, "lease_seconds": 60}


@pytest.fixture
def ends():
    """Where a heartbeat says that it would end the process, and how."""
    return []


@pytest.fixture
def last_lines(monkeypatch):
    """A log whose last lines are kept, without a second set of handlers for the whole run."""
    lines = []
    monkeypatch.setattr("workers.worker.recent_lines", lambda **_: tuple(lines))
    monkeypatch.setattr(
        "workers.worker.logger.error", lambda event, **told: lines.append(f"{event} {told}")
    )
    return lines


def heartbeat(store, held, ends, **settings):
    chosen = Settings(**QUICK, **settings)
    return Heartbeat(store, held, chosen, is_draining=lambda: False, end_process=ends.append)


def test_a_unit_without_progress_ends_its_process(store, ends):
    submit(store)
    with heartbeat(store, claim(store), ends, stall_seconds=0.05):
        wait_until(lambda: EXIT_STALLED in ends)


def test_progress_puts_the_limit_off(store, ends):
    submit(store)
    beat = heartbeat(store, claim(store), ends, stall_seconds=30)
    beat._moved_at -= 31
    beat.on_batch(1)
    with beat:
        wait_until(lambda: store.get("job_1").progress.done == 1)
    assert ends == []


def test_a_unit_that_has_counted_its_images_tells_how_many_there_are(store, ends):
    submit(store, phases=[Phase("register", Lane.METHOD)])
    beat = heartbeat(store, claim(store), ends)
    beat.on_batch(5, 20)
    with beat:
        wait_until(lambda: store.get("job_1").progress.percent == 25)


def test_a_phase_has_the_limit_of_the_table(store, ends):
    submit(store, phases=[Phase("check", Lane.METHOD)])
    with heartbeat(store, claim(store), ends) as beat:
        beat._moved_at -= 3600
        version = store.get("job_1").version
        wait_until(lambda: store.get("job_1").version > version + 2)
        assert ends == []
        beat._moved_at -= 3601
        wait_until(lambda: EXIT_STALLED in ends)


def test_a_refused_nonce_ends_the_process(store, ends):
    submit(store)
    held = claim(store)
    lose(store, held)
    with heartbeat(store, held, ends):
        wait_until(lambda: EXIT_FENCED in ends)


@pytest.mark.parametrize("is_lost", [False, True])
def test_only_who_still_has_the_last_unit_writes_how_the_job_ended(
    store, monkeypatch, tmp_path, is_lost
):
    def run_unit(unit, *_, **__):
        if is_lost:
            lose(store, unit)
        return Finished("embed-0", 1)

    monkeypatch.setattr(phases, "run_unit", run_unit)
    submit(store, phases=[Phase("embed", Lane.METHOD)])

    worker_of(store, Settings(data=tmp_path), Lane.METHOD).run(claim(store))

    assert (tmp_path / "jobs" / "job_1" / "result.json").exists() is not is_lost


def test_a_unit_that_always_hangs_fails_with_what_was_last_seen(store, ends, last_lines):
    submit(store, phases=[Phase("embed", Lane.METHOD)])
    for _ in range(3):
        held = claim(store)
        with heartbeat(store, held, ends, stall_seconds=0.05):
            wait_until(lambda: EXIT_STALLED in ends)
        ends.clear()
        status = lose(store, held)

    error = store.get("job_1").error
    assert (status, error.code, error.phase) == (Status.FAILED, "worker_lost", "embed")
    assert "GB of memory" in error.message
    assert "unit.stalled {'seconds': 0.05}" in error.message


def test_a_cancel_is_heard_with_the_next_beat(store, ends):
    submit(store)
    with heartbeat(store, claim(store), ends) as beat:
        store.cancel("job_1")
        wait_until(lambda: beat.is_cancelled)


def test_a_cancel_that_was_heard_stands_though_redis_forgets_it(store, monkeypatch, tmp_path):
    def run_unit(unit, _outputs, _bench, on_batch):
        store.cancel("job_1")
        with suppress(Halted):
            wait_until(lambda: on_batch(1))
        store.redis.hset("ccd:record:job_1", "status", "running")
        version = store.get("job_1").version
        wait_until(lambda: store.get("job_1").version > version + 2)
        on_batch(1)

    monkeypatch.setattr(phases, "run_unit", run_unit)
    submit(store, phases=[Phase("check", Lane.METHOD)])

    worker_of(store, Settings(data=tmp_path, **QUICK), Lane.METHOD).run(claim(store))

    assert store.get("job_1").status is Status.CANCELLED
