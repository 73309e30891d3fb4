"""What the bundled teacher alone makes of drawn scenes: `python -m demo.measure`."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise, product

import torch
from torch import Tensor

from demo.catalogue import CLASSES
from demo.places import SIDE
from demo.stage import Box
from demo.views import StoredScene, store_scenes
from demo.world import TUNING_SEEDS, WORLD
from models.debias import entropy, estimate_bias
from models.images import crop_resize, decode, to_tensor
from models.metrics import mean_average_precision
from models.prompts import ClassPrompt
from models.teacher import Teacher, load_teacher

TEMPLATES = ("a photo of the {}",)
LOW_ENTROPY_NATS = 2.0
WHOLE: Box = (0, 0, SIDE, SIDE)
_BATCH = 64
_MARGIN = 6  # pixels of ground kept around a true box
_TILES = 3
_AREA_EDGES = (0.0, 0.02, 0.05, 0.12, 1.0)


@dataclass(frozen=True)
class Figures:
    """Teacher-only figures over one set of scenes. Mean average precisions are in percent."""

    scenes: int
    labels_per_scene: float
    none_share: float
    chance: float  # mean share of scenes that hold a class: the mAP of random scores
    whole_view: float
    true_boxes: float
    tiles: float
    tiles_with_whole: float
    mean_entropy: float  # nats, over whole views
    low_entropy_share: float
    bias: dict[str, float]
    true_prob_by_area: dict[str, tuple[float, float]]  # mean P(true class): whole view, own crop


def measure(teacher: Teacher, scenes: Sequence[StoredScene]) -> Figures:
    """The figures of a teacher over scenes."""
    truth = _truth(scenes)
    probs_of = partial(_probs_of_views, teacher, scenes)
    whole = torch.cat(probs_of([[WHOLE]] * len(scenes)))
    crops = probs_of([_crops(scene) for scene in scenes])
    tiles = torch.stack([probs.amax(0) for probs in probs_of([_tiles()] * len(scenes))])
    best_crop = torch.stack(
        [own.amax(0) if len(own) else seen for own, seen in zip(crops, whole, strict=True)]
    )
    spread = entropy(whole)
    mean_ap = partial(_percent_map, truth=truth)
    return Figures(
        scenes=len(scenes),
        labels_per_scene=round(float(truth.sum(1).float().mean()), 2),
        none_share=round(float((~truth.any(1)).float().mean()), 3),
        chance=round(100 * float(truth.float().mean()), 1),
        whole_view=mean_ap(whole),
        true_boxes=mean_ap(best_crop),
        tiles=mean_ap(tiles),
        tiles_with_whole=mean_ap((tiles + whole) / 2),
        mean_entropy=round(float(spread.mean()), 2),
        low_entropy_share=round(float((spread <= LOW_ENTROPY_NATS).float().mean()), 3),
        bias=_bias(whole),
        true_prob_by_area=_by_area(scenes, whole, crops),
    )


def square_around(box: Box, margin: int) -> Box:
    """The square that holds a box and a margin, moved and cut so that it lies in the picture."""
    side = min(SIDE, max(box[2] - box[0], box[3] - box[1]) + 2 * margin)
    x = min(max(0, (box[0] + box[2] - side) // 2), SIDE - side)
    y = min(max(0, (box[1] + box[3] - side) // 2), SIDE - side)
    return x, y, x + side, y + side


def _truth(scenes: Sequence[StoredScene]) -> Tensor:
    rows = [
        [name in {thing.name for thing in scene.things} for name in CLASSES] for scene in scenes
    ]
    return torch.tensor(rows)


def _crops(scene: StoredScene) -> list[Box]:
    return [square_around(thing.box, _MARGIN) for thing in scene.things if thing.name in CLASSES]


def _tiles() -> list[Box]:
    """Overlapping squares of half the picture's side."""
    side, step = SIDE // 2, SIDE // 4
    corners = product(range(_TILES), repeat=2)
    return [(x * step, y * step, x * step + side, y * step + side) for x, y in corners]


def _probs_of_views(
    teacher: Teacher, scenes: Sequence[StoredScene], boxes: Sequence[Sequence[Box]]
) -> list[Tensor]:
    """For each scene (views, C) probabilities of its views."""
    texts = teacher.encode_classes([ClassPrompt(name) for name in CLASSES], TEMPLATES)
    views = [
        to_tensor(crop_resize(picture, box, teacher.view_size))
        for scene, own in zip(scenes, boxes, strict=True)
        if own
        for picture in [decode(scene.jpeg)]
        for box in own
    ]
    features = [
        teacher.encode_images(torch.stack(views[start : start + _BATCH]))
        for start in range(0, len(views), _BATCH)
    ]
    probs = teacher.probs(torch.cat(features), texts)
    return list(torch.split(probs, [len(own) for own in boxes]))


def _percent_map(scores: Tensor, *, truth: Tensor) -> float:
    return round(100 * mean_average_precision(scores, truth), 1)


def _bias(whole: Tensor) -> dict[str, float]:
    factors = estimate_bias(whole, LOW_ENTROPY_NATS).factors
    return {name: round(float(factor), 3) for name, factor in zip(CLASSES, factors, strict=True)}


def _by_area(
    scenes: Sequence[StoredScene], whole: Tensor, crops: Sequence[Tensor]
) -> dict[str, tuple[float, float]]:
    rows = []
    for scene, seen, own in zip(scenes, whole, crops, strict=True):
        targets = [thing for thing in scene.things if thing.name in CLASSES]
        for thing, close in zip(targets, own, strict=True):
            position = CLASSES.index(thing.name)
            rows.append((thing.area, float(seen[position]), float(close[position])))
    table = torch.tensor(rows)
    means = {}
    for low, high in pairwise(_AREA_EDGES):
        inside = table[(table[:, 0] >= low) & (table[:, 0] < high)]
        whole_mean, crop_mean = inside[:, 1:].mean(0).tolist()
        means[f"{low:.0%} to {high:.0%}"] = (round(whole_mean, 3), round(crop_mean, 3))
    return means


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Measure the teacher alone on drawn scenes.")
    parser.add_argument("--teacher", default="bundled:tiny")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=TUNING_SEEDS[0])
    arguments = parser.parse_args()
    scenes = store_scenes(arguments.seed, arguments.count, WORLD, processes=2)
    figures = measure(load_teacher(arguments.teacher), scenes)
    print(json.dumps(asdict(figures), indent=1))


if __name__ == "__main__":
    main()
