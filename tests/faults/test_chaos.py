"""A minute of the script that kills a part of a real service every few seconds."""

import psutil
import pytest

from benchmarks import chaos
from benchmarks.chaos import Harm, Killer, run

SECONDS = 60


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_no_job_comes_to_harm_while_parts_of_the_service_are_killed(tmp_path, fault_seed):
    told = run(tmp_path, seed=fault_seed, seconds=SECONDS)

    assert told.kills.total() >= SECONDS / 10
    assert told.jobs >= 2


class Bystander:
    """What the killer knows of a service, of which it finds no part."""

    def __init__(self, folder):
        self.data = folder / "data"
        self.process = psutil.Process()


def test_a_part_that_nothing_would_kill_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(chaos, "START_SECONDS", 0.0)
    monkeypatch.setattr(chaos, "TARGETS", {"unicorn": ["no such command line"]})

    with (
        pytest.raises(Harm, match="no process is a unicorn"),
        Killer(Bystander(tmp_path), seed=0, seconds=1, pause=(0, 0)),
    ):
        pass


def test_kills_that_end_early_are_no_success(tmp_path, monkeypatch):
    monkeypatch.setattr(chaos, "TARGETS", {})
    killer = Killer(Bystander(tmp_path), seed=0, seconds=60, pause=(0, 0))
    monkeypatch.setattr(killer, "_kill_on", lambda: 1 / 0)

    with pytest.raises(Harm, match="division by zero"), killer:
        pass
