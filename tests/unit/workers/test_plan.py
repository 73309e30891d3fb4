"""What a job is going to do: its phases, and the share of the work that each is."""

import pytest

from models.config import PRESETS
from workers.jobs import Lane
from workers.phases import MAX_SHARDS, plan_of, shard_size
from workers.stages import passes_of


def shares(num_images):
    plan = plan_of(PRESETS["tiny"], num_images, shard_images=1000)
    total = sum(phase.weight for phase in plan)
    return {phase.name: phase.weight / total for phase in plan}


def test_the_method_comes_first_then_the_exports_and_the_report():
    plan = plan_of(PRESETS["tiny"], 10, shard_images=1000)

    assert [phase.name for phase in plan if phase.lane is Lane.METHOD] == [
        *("embed", "debias", "warm_up", "localize", "update", "train", "score")
    ]
    assert [phase.name for phase in plan[7:]] == ["export", "report"]


def test_the_check_of_an_export_is_little_of_a_large_job():
    # 48 passes, beside a pass of each of 10,000 images to score them.
    large = shares(10_000)

    assert large["export"] == pytest.approx(large["score"] * 48 / 10_000)


def test_few_images_are_checked_as_often_as_there_are_batch_sizes():
    assert shares(4)["export"] == pytest.approx(3 * shares(4)["score"])


@pytest.mark.parametrize("preset", PRESETS)
def test_the_plan_looks_at_each_image_as_often_as_is_told_beforehand(preset):
    plan = plan_of(PRESETS[preset], 10, shard_images=3)

    looks = sum(phase.items for phase in plan if phase.lane is Lane.METHOD)
    assert looks == 10 * passes_of(PRESETS[preset])


@pytest.mark.parametrize(
    ("num_images", "size"),
    [
        (0, 1000),
        (1000 * MAX_SHARDS, 1000),
        (1000 * MAX_SHARDS + 1, 1001),
        (10_000 * MAX_SHARDS, 10_000),
    ],
)
def test_a_large_job_has_larger_units_and_no_more_of_them(num_images, size):
    assert shard_size(num_images, wanted=1000) == size
    assert -(-num_images // size) <= MAX_SHARDS
