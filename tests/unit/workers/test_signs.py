"""What is told of a worker that was lost, and when it counts as hung."""

import psutil
import pytest

from app.cams import RENDER
from app.evaluations import EVALUATE
from app.submit import CHECK, PREDICT, REGISTER
from models.config import PRESETS
from workers.phases import plan_of
from workers.settings import Settings
from workers.signs import MAX_LINE, Signs, signs_now, worker_lost
from workers.stalls import STALL_SECONDS, USUAL_SECONDS, stall_seconds


def test_every_phase_that_is_submitted_or_planned_has_a_limit_of_its_own():
    planned = plan_of(PRESETS["tiny"], 10, 5)

    for phase in (*planned, CHECK, EVALUATE, PREDICT, REGISTER, RENDER):
        assert phase.name in STALL_SECONDS


def test_one_setting_replaces_all_limits():
    usual, own = Settings(), Settings(stall_seconds=7)

    assert stall_seconds("check", usual) == STALL_SECONDS["check"]
    assert stall_seconds("a phase of later days", usual) == USUAL_SECONDS
    assert {stall_seconds(phase, own) for phase in STALL_SECONDS} == {7}


def test_signs_survive_their_way_through_redis():
    signs = Signs(5, ("a", "b"))

    assert Signs.from_json(signs.to_json()) == signs
    assert Signs.from_json(None) == Signs()


def test_signs_tell_the_peak_of_memory_in_bytes_and_lines_cut_short():
    held = bytearray(100_000_000)
    signs = signs_now(("x" * 1000,))

    assert len(held) <= signs.peak_bytes < psutil.virtual_memory().total
    assert signs.log == ("x" * MAX_LINE,)


@pytest.mark.parametrize(
    ("signs", "message"),
    [
        (Signs(), "The worker was lost in each of 3 attempts at job_1/embed/000002."),
        (
            Signs(3_140_000_000, ("10:00:01 error unit.stalled",)),
            (
                "The worker was lost in each of 3 attempts at job_1/embed/000002. When it was last "
                "heard its process had taken up to 3.1 GB of memory. The last lines of its log: "
                "10:00:01 error unit.stalled"
            ),
        ),
    ],
)
def test_a_lost_worker_is_told_with_what_is_known(signs, message):
    error = worker_lost("job_1/embed/000002", 3, signs)

    assert (error.code, error.phase, error.message) == ("worker_lost", "embed", message)
