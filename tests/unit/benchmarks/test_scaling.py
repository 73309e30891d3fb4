import json
from pathlib import Path

import pytest

from benchmarks.scaling.costs import (
    SHARD_IMAGES,
    SHARDED,
    Shape,
    bytes_per_image,
    flops_per_image,
    folders,
    hours,
    passes,
    redis_bytes,
    units,
)
from benchmarks.scaling.page import COSTS, DOCUMENT, document, duration, size
from models.config import PRESETS
from workers.phases import plan_of

ROOT = Path(__file__).parents[3]
CONFIG = PRESETS["offline"]
#: Every pass of every phase costs an image a thousandth of an hour.
SECONDS = {"embed": 3.6, "warm_up": 3.6, "train": 3.6, "threshold": 3.6}


def test_the_page_is_what_the_measured_costs_make_it():
    costs = json.loads((ROOT / COSTS).read_text())

    assert (ROOT / DOCUMENT).read_text() == document(costs)


def test_bytes_follow_the_shapes():
    # Rows of 2 classes have 8 bytes; a view has a box of 16, a class of 4 and a row.
    found = bytes_per_image(Shape(classes=2, features=10, views=1.5))

    assert found == {
        "embed": 40,
        "debias": 16,
        "localize": 8 + 8 + 1.5 * (16 + 4 + 8),
        "update": 8,
        "score": 8,
    }


def test_a_thousand_images_at_a_thousandth_of_an_hour_take_an_hour_a_pass():
    found = hours(SECONDS, CONFIG, images=1000, workers=1)

    # The class threshold looks at every image once more.
    assert found == pytest.approx(
        {"embed": 1, "warm_up": CONFIG.warm_up_epochs + 1, "train": CONFIG.train_epochs}
    )


def test_workers_share_the_sharded_phases_alone():
    one, eight = (hours(SECONDS, CONFIG, 10_000, workers) for workers in (1, 8))

    assert eight["embed"] == pytest.approx(one["embed"] / 8)
    assert eight["train"] == one["train"]


def test_the_class_threshold_looks_at_no_more_images_than_its_sample():
    without = SECONDS | {"threshold": 0}
    few, many = (
        hours(SECONDS, CONFIG, images, 1)["warm_up"] - hours(without, CONFIG, images, 1)["warm_up"]
        for images in (10_000, 10_000_000)
    )

    assert few == pytest.approx(many)


def test_the_sharded_phases_are_those_with_more_units_for_more_images():
    few, many = ({p.name: p.units for p in plan_of(PRESETS["tiny"], n, 10)} for n in (10, 1000))

    assert tuple(name for name in few if many[name] > few[name]) == SHARDED


def test_training_goes_over_the_images_once_an_epoch():
    often = passes(PRESETS["tiny"])
    plan = {phase.name: phase for phase in plan_of(PRESETS["tiny"], 1, 1)}

    assert often["train"] == plan["train"].units
    assert often["warm_up"] == plan["warm_up"].units - 1, "the last one finds the class threshold"


def test_operations_count_each_epoch_and_each_view():
    counted = {"teacher": 10, "cam": 2, "student": 1}
    config = PRESETS["tiny"]

    assert flops_per_image(config, counted, views=2) == {
        "embed": 10,
        "warm_up": 3 * config.warm_up_epochs,  # once forward, backward twice as much
        "localize": 22,
        "train": 6 * config.train_epochs,  # on two views
        "score": 1,
    }


def test_units_are_whole():
    assert [units(n) for n in (1, SHARD_IMAGES, SHARD_IMAGES + 1)] == [1, 1, 2]


def test_more_images_make_two_folders_for_each_shard_more():
    few, many = (folders(shards * SHARD_IMAGES, PRESETS["tiny"]) for shards in (10, 20))

    assert many - few == 2 * 10


def test_redis_holds_an_output_and_an_open_unit_for_each_shard():
    assert redis_bytes({"units": 5, "output": 100, "open_unit": 300, "told": 7}) == 2007


@pytest.mark.parametrize(
    ("bytes_", "told"), [(1500, "1.5 kB"), (2e6, "2 MB"), (3.21e9, "3.21 GB"), (4e13, "40 TB")]
)
def test_sizes_are_told_in_the_unit_that_suits(bytes_, told):
    assert size(bytes_) == told


@pytest.mark.parametrize(
    ("hours_", "told"), [(1 / 3600, "1 s"), (0.5, "30.0 min"), (36, "36.0 h"), (480, "20.0 days")]
)
def test_times_are_told_in_the_unit_that_suits(hours_, told):
    assert duration(hours_) == told
