"""Workers that are stopped, hang, are drained or run out of memory are noticed, and harm nobody."""

import re
import signal

import pytest

from tests.faults.test_killed_phases import MIDDLE, long_but_for
from tests.faults.worlds import result_of
from workers.jobs import Status
from workers.worker import EXIT_FENCED, EXIT_LATE, EXIT_STALLED


def take_over(world, faults):
    """A worker that a signal stops until another has done its job: it, and what is published."""
    world.submit()
    held = world.hand(faults, name="held")
    world.watch_until(held.is_stopped)
    world.end_lease(held)
    world.hand(name="other")
    world.succeed()
    published = world.published()
    held.signal(signal.SIGCONT)
    return held, published


@pytest.mark.long
@pytest.mark.parametrize("phase", ["embed", "train"])
def test_a_worker_that_comes_back_too_late_ends_itself(new_world, golden, phase):
    world = new_world(before=phase)

    held, published = take_over(
        world, f"unit.batch@/{phase}/000000=stop,unit.batch@/{phase}/000000:2=hang"
    )

    world.watch_until(held.is_dead)
    assert held.process.exitcode == EXIT_FENCED
    assert "claim.lost" in held.said
    assert world.attempts("lost") == {phase: 1}
    assert world.published() == published
    assert result_of(world).differences(golden.result) == []


def test_a_worker_that_comes_back_while_another_has_its_unit_ends_itself(new_world, golden):
    world = new_world(before="train")
    world.submit()
    point = "unit.batch@/train/000000"
    held = world.hand(f"{point}=stop,{point}:2=hang", name="held")
    world.watch_until(held.is_stopped)
    world.end_lease(held)
    other = world.hand(f"{point}:3=stop", name="other")
    world.live_until(other.is_stopped)

    held.signal(signal.SIGCONT)
    world.watch_until(held.is_dead)

    assert held.process.exitcode == EXIT_FENCED
    other.signal(signal.SIGCONT)
    world.succeed()
    assert world.attempts("lost") == {"train": 1}
    assert result_of(world).differences(golden.result) == []


@pytest.mark.long
def test_a_worker_that_comes_back_while_it_publishes_throws_its_copy_away(new_world, golden):
    world = new_world(before="score")

    held, published = take_over(world, "publish.before_rename@phases/score-=stop")

    world.watch_until(lambda: held.is_dead() or "lost to another worker" in held.said)
    assert world.published() == published
    assert world.attempts("done")["score"] == 1
    assert result_of(world).differences(golden.result) == []


@pytest.mark.long
def test_a_worker_that_comes_back_at_the_end_of_a_job_does_not_write_that_end_again(
    new_world, golden
):
    world = new_world(before="report")

    held, published = take_over(world, "publish.after_rename@phases/report-=stop")

    world.watch_until(lambda: held.is_dead() or "lost to another worker" in held.said)
    assert world.published() == published
    assert result_of(world).differences(golden.result) == []


@pytest.mark.parametrize("phase", long_but_for("embed"))
def test_a_drained_worker_ends_by_itself_and_no_attempt_is_counted(new_world, golden, phase):
    world = new_world(before=phase)
    world.submit()
    hand = world.hand(f"{MIDDLE[phase]}=stop")
    world.watch_until(hand.is_stopped)

    assert hand.drain() == 0
    world.succeed()

    assert world.attempts("lost") == {}
    assert hand.ends == [0]
    assert result_of(world).differences(golden.result) == []


def test_a_drained_worker_gives_back_a_unit_that_does_not_listen(new_world, golden):
    world = new_world(before="report")
    world.submit()
    hand = world.hand("unit.started@/check/=hang", stop_seconds=0.5)
    world.watch_until(lambda: "fault.met" in hand.said)

    assert hand.drain() == EXIT_LATE
    assert world.store.live_nonces() == set()
    world.succeed()

    assert world.attempts("given_back") == {"check": 1}
    assert world.attempts("lost") == {}
    assert result_of(world).differences(golden.result) == []


@pytest.mark.long
def test_a_worker_that_hangs_ends_itself_and_the_next_one_goes_on(world, golden):
    world.submit()
    hand = world.hand("unit.batch@/train/:2=hang", stall_seconds=8)

    world.succeed()

    assert hand.ends == [EXIT_STALLED]
    assert "unit.stalled" in hand.said
    assert world.attempts("lost") == {"train": 1}
    assert result_of(world).differences(golden.result) == []


@pytest.mark.long
def test_a_unit_that_always_hangs_fails_its_job_and_says_that_it_hung(world):
    world.submit()
    hand = world.hand("unit.batch@/train/:2=hang:always", stall_seconds=6)

    job = world.finish()

    assert (job.status, job.error.code, job.error.phase) == (Status.FAILED, "worker_lost", "train")
    assert "unit.stalled seconds=6" in job.error.message
    assert hand.ends[:3] == [EXIT_STALLED] * 3


@pytest.mark.long
@pytest.mark.parametrize("phase", ["embed", "train"])
def test_memory_that_a_limit_refuses_once_is_made_do_with(new_world, phase):
    world = new_world(before=phase)
    world.submit()
    hand = world.hand(f"unit.batch@/{phase}/=eat", memory_bytes=600 << 20)

    job = world.succeed()

    assert f"batch_halved/{phase}/0" in job.facts
    assert hand.ends == []


@pytest.mark.long
@pytest.mark.parametrize("phase", ["embed", "train"])
def test_memory_that_a_limit_refuses_again_fails_the_job_by_name(new_world, phase):
    world = new_world(before=phase)
    world.submit()
    # The second batch that is told is none: the half begins. The third is its first.
    point = f"unit.batch@/{phase}/"
    hand = world.hand(f"{point}:1=eat,{point}:3=eat", memory_bytes=600 << 20)

    error = world.finish().error

    assert (error.code, error.phase) == ("out_of_memory", phase)
    assert "and with half of it: MemoryError" in error.message
    assert re.search(r"has taken up to [0-9.]+ GB", error.message)
    assert "batch" in error.hint
    assert hand.ends == []  # it lives, and has room again


@pytest.mark.long
def test_a_worker_that_is_killed_for_its_memory_leaves_word_of_how_much_it_had(new_world):
    world = new_world(before="train")
    world.submit()
    hand = world.hand("unit.batch@/train/=eat:always")
    limit = 1500 << 20  # with torch it has some 600 MB, and eats 2 GB

    def is_over():  # as a kernel does that has none left
        if hand.resident_bytes() > limit:
            hand.kill()
        return world.job().status.is_final

    world.live_until(is_over)

    error = world.job().error
    assert (error.code, error.phase) == ("worker_lost", "train")
    [told] = re.findall(r"taken up to ([0-9.]+) GB of memory", error.message)
    assert 1 < float(told) < 3
    assert "a smaller batch_size" in error.hint
    assert hand.ends[:3] == [-signal.SIGKILL] * 3
