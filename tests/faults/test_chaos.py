"""A minute of the script that kills a part of a real service every few seconds."""

import pytest

from benchmarks.chaos import run

SECONDS = 60


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_no_job_comes_to_harm_while_parts_of_the_service_are_killed(tmp_path, fault_seed):
    told = run(tmp_path, seed=fault_seed, seconds=SECONDS)

    assert told.kills.total() >= SECONDS / 10
    assert told.jobs >= 2
