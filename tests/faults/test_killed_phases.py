"""A worker process that dies in any phase, at any moment: the job ends with the same bytes."""

import signal

import pytest

from tests.faults.worlds import PHASES, result_of

#: Where a phase is in the middle of its work: after a batch, or with its output not yet there.
MIDDLE = {
    "register": "unit.batch@register:9",
    "check": "unit.started@check",
    "embed": "unit.batch@embed:4",
    "debias": "publish.after_data@debias",
    "warm_up": "unit.batch@warm_up:2",
    "localize": "unit.batch@localize:2",
    "update": "publish.after_data@update",
    "train": "unit.batch@train:5",
    "score": "unit.batch@score:2",
    "export": "unit.batch@export:2",
    "report": "unit.batch@report:2",
}


def long_but_for(*short, phases=PHASES):
    """Parameters: these phases always, all others in the long run."""
    return [
        pytest.param(phase, marks=() if phase in short else pytest.mark.long) for phase in phases
    ]


@pytest.mark.parametrize("phase", long_but_for("train"))
def test_a_kill_in_a_phase_costs_its_unit_and_no_byte(new_world, golden, phase):
    world = new_world(before=phase)
    world.submit()
    hand = world.hand(f"{MIDDLE[phase]}=kill")
    world.watch_until(hand.is_dead)
    done = world.published()

    world.succeed()

    assert hand.ends == [-signal.SIGKILL]
    assert world.attempts("lost") == {phase: 1}
    assert result_of(world).differences(golden.result) == []
    again = world.published()
    assert {path for path, written in done.items() if again.get(path, written) != written} == set()
