"""The arithmetic of docs/scaling.md: what a job needs, from what an image and a unit cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models.config import DistillConfig
from models.distill import THRESHOLD_SAMPLE
from workers.phases import COST_STEP, shard_size
from workers.settings import Settings

#: What takes time with the number of images, in the order of a job.
PHASES = ("register", "embed", "debias", "warm_up", "localize", "update", "train", "score")
#: Units of these phases are shards of the images, for as many workers as there are.
SHARDED = ("embed", "localize")
#: Images of a unit unless set otherwise.
SHARD_IMAGES: int = Settings.model_fields["shard_images"].default
#: An assumption, not a measurement: a third of the 312e12 operations a second that an A100 is sold
#: with (half precision, dense). What is reckoned with it says so.
ASSUMED_FLOPS = 1e14

FLOAT, INT, LONG = 4, 4, 8


@dataclass(frozen=True)
class Shape:
    """What the size of a job's files depends on.

    Attributes:
        classes: of the job.
        features: length of the teacher's vectors.
        views: local views an image has on average.
    """

    classes: int
    features: int
    views: float


def bytes_per_image(shape: Shape) -> dict[str, float]:
    """Phase -> bytes that the tensors of its published files have for one image."""
    row = FLOAT * shape.classes
    view = 4 * INT + INT + row  # a box, the class that gave it, what the teacher says
    return {
        "embed": FLOAT * shape.features,
        "debias": 2 * row,
        "localize": row + LONG + shape.views * view,
        "update": row,
        "score": row,
    }


def passes(config: DistillConfig) -> dict[str, int]:
    """Phase -> how often it goes over all images, where that is not once."""
    return {"warm_up": config.warm_up_epochs, "train": config.train_epochs}


def hours(
    seconds: Mapping[str, float], config: DistillConfig, images: int, workers: int
) -> dict[str, float]:
    """Phase -> hours it takes, where each worker is as fast as the one that was measured.

    Args:
        seconds: phase -> of one image in one pass; `threshold` is the last unit of `warm_up`, which
            looks at a sample.
        config: whose epochs count.
        images: of the job.
        workers: that share what can be shared.
    """
    often = passes(config)
    found = {
        phase: seconds[phase] * images * often.get(phase, 1) / 3600
        for phase in PHASES
        if phase in seconds
    }
    found["warm_up"] += seconds["threshold"] * min(images, THRESHOLD_SAMPLE) / 3600
    return {p: spent / (workers if p in SHARDED else 1) for p, spent in found.items()}


def flops_per_image(
    config: DistillConfig, flops: Mapping[str, float], views: float
) -> dict[str, float]:
    """Phase -> floating-point operations for one image, all epochs together.

    A training step is a pass forward and, backward, twice as much.

    Args:
        config: whose epochs count.
        flops: as `benchmarks.scaling.flops` counts them.
        views: local views of an image.
    """
    views_of_step = 2 if config.consistency_weight > 0 else 1
    return {
        "embed": flops["teacher"],
        "warm_up": config.warm_up_epochs * COST_STEP * flops["student"],
        "localize": flops["cam"] + views * flops["teacher"],
        "train": config.train_epochs * COST_STEP * views_of_step * flops["student"],
        "score": flops["student"],
    }


def units(images: int) -> int:
    """Units of a sharded phase, with the usual setting."""
    return -(-images // shard_size(images, SHARD_IMAGES))


def folders(images: int, config: DistillConfig) -> int:
    """Output folders that a job leaves in `phases`."""
    epochs = config.warm_up_epochs + config.train_epochs
    # Weights and optimizer of the last two epochs of either training, and the selected weights.
    states = 2 * (min(2, config.warm_up_epochs) + min(2, config.train_epochs)) + 1
    single = ("debias", "threshold", "update", "score", "export", "report")
    return 2 * units(images) + epochs + states + len(single)


def redis_bytes(cost: Mapping[str, float]) -> float:
    """Of one job where it is largest: all of `embed` done, all of `localize` open."""
    return cost["units"] * (cost["output"] + cost["open_unit"]) + cost["told"]
