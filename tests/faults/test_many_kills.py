"""Killed again and again: a job ends with the same bytes, and a deadly one ends the third time."""

import signal

import pytest

from tests.faults.worlds import PHASES, result_of
from workers.jobs import Status

#: What a unit passes on its way, in order. One life of a process ends at the first that is armed,
#: so all that are armed have their turn.
WAY = (
    "unit.started@/{0}/",
    "unit.batch@/{0}/",
    "publish.before_data@phases/{0}-",
    "publish.after_data@phases/{0}-",
    "publish.before_manifest@phases/{0}-",
    "publish.before_rename@phases/{0}-",
    "publish.after_rename@phases/{0}-",
    "unit.published@/{0}/",
    "unit.recorded@/{0}/",
)
WITHOUT_BATCHES = {"check", "debias", "update"}
WITHOUT_FOLDERS = {"check"}
KILLS_A_PHASE = 3


def way_of(phase):
    for step in WAY:
        is_missing = ("batch" in step and phase in WITHOUT_BATCHES) or (
            "publish." in step and phase in WITHOUT_FOLDERS
        )
        if not is_missing:
            yield step.format(phase)


@pytest.mark.long
def test_thirty_kills_change_no_byte(new_world, golden, chance):
    world = new_world(max_attempts=100)
    world.submit()
    steps = [
        step for phase in PHASES[1:] for step in chance.sample([*way_of(phase)], KILLS_A_PHASE)
    ]
    hand = world.hand(",".join(f"{step}=kill" for step in steps))

    world.succeed()
    world.live_until(lambda: len(hand.ends) == 30)  # the last may fall behind the end of the job

    assert set(hand.ends) == {-signal.SIGKILL}
    assert result_of(world).differences(golden.result) == []


def test_a_job_that_kills_every_worker_fails_the_third_time_and_the_next_one_runs(world, golden):
    world.submit()
    hand = world.hand("unit.batch@job_1/embed=kill:always")

    job = world.finish()

    assert (job.status, job.error.code, job.error.phase) == (Status.FAILED, "worker_lost", "embed")
    assert "the worker was lost in each of 3 attempts at job_1/embed/0" in job.error.message.lower()
    assert "GB of memory" in job.error.message
    # Two units of `embed` wait for workers, and each is given up by itself.
    assert 3 <= len(hand.ends) <= 5
    assert set(hand.ends) == {-signal.SIGKILL}

    world.submit("job_2")
    world.succeed("job_2")
    assert result_of(world, "job_2").differences(golden.result, of_this_job=False) == []
