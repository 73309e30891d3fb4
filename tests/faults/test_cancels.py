"""A cancel is heard in every state and every phase, and afterwards nothing is published."""

import signal
import time

import pytest

from tests.faults.test_killed_phases import MIDDLE, long_but_for
from tests.faults.worlds import JOB, PHASES
from workers.files import DataFolder
from workers.jobs import Status
from workers.outcomes import CANCELLED
from workers.worker import EXIT_LATE


@pytest.mark.parametrize("phase", long_but_for("train", phases=PHASES[1:]))
def test_a_cancelled_job_stops_in_the_middle_of_a_phase(new_world, phase):
    world = new_world(before=phase)
    world.submit()
    hand = world.hand(f"{MIDDLE[phase]}=stop")
    world.watch_until(hand.is_stopped)

    assert world.store.cancel(JOB) is Status.CANCELLING
    hand.signal(signal.SIGCONT)
    job = world.finish()
    published = world.published()

    assert job.status is Status.CANCELLED
    assert hand.drain() == 0
    assert world.published() == published
    assert world.attempts("lost") == {}
    assert world.store.live_nonces() == set()


def test_a_cancelled_job_ends_though_its_unit_does_not_listen(new_world):
    """As one that fetches weights: there is no batch at which it could hear of it."""
    world = new_world(before="report")
    world.submit()
    hand = world.hand("unit.started@/check/=hang", stop_seconds=0.5)
    world.watch_until(lambda: "fault.met" in hand.said)

    assert world.store.cancel(JOB) is Status.CANCELLING
    world.watch_until(hand.is_dead)

    assert world.job().status is Status.CANCELLED
    assert hand.process.exitcode == EXIT_LATE
    assert world.attempts("lost") == {}
    assert world.store.live_nonces() == set()


@pytest.mark.long
def test_a_worker_that_was_told_to_stop_takes_the_next_job(world, golden):
    world.submit()
    hand = world.hand("unit.batch@job_1/train=stop")
    world.watch_until(hand.is_stopped)
    world.store.cancel(JOB)
    hand.signal(signal.SIGCONT)
    world.finish()

    world.submit("job_2")
    world.succeed("job_2")

    assert hand.ends == []
    assert world.job().status is Status.CANCELLED


def test_a_queued_job_is_cancelled_within_a_second_and_never_runs(world):
    world.submit()

    started = time.monotonic()
    assert world.store.cancel(JOB) is Status.CANCELLED
    assert time.monotonic() - started < 1

    # Workers come only now, and take what is behind it in the queue.
    world.hand()
    world.submit("job_2", teacher="local-dir:/nowhere")
    assert world.finish("job_2").error.phase == "check"
    assert world.job().status is Status.CANCELLED
    assert world.job().started_at is None
    assert world.store.outputs(JOB) == {}


@pytest.mark.long
def test_a_job_that_was_cancelled_without_workers_does_not_run_when_they_come(world):
    world.submit()
    hand = world.hand("unit.batch@job_1/train=kill")
    world.watch_until(hand.is_dead)
    world.hands.clear()
    world.store.cancel(JOB)  # nobody is there to hear it
    assert world.job().status is Status.CANCELLING
    published = world.published()

    world.hand()
    job = world.finish()

    assert job.status is Status.CANCELLED
    later = world.published()
    assert later.pop(world.folder.job(JOB).relative_to(world.folder.root) / CANCELLED)
    assert later == published
    assert DataFolder(world.folder.root).is_complete(world.folder.dataset("ds_1"))
