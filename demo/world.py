"""The drawn world: scenes made by code, with true labels and boxes."""

import argparse
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from demo.catalogue import CLASSES, DISTRACTORS, TARGETS, THEMES, Theme
from demo.pen import Random, between
from demo.places import SIDE, paint_place
from demo.stage import Thing, litter, photograph, put_thing

__all__ = [
    "CLASSES",
    "DEMO_SEED",
    "EVALUATION_SEEDS",
    "INSTANCES",
    "TEACHER_SEEDS",
    "TUNING_SEEDS",
    "WORLD",
    "Scene",
    "Thing",
    "WorldSettings",
    "draw_scene",
    "instances",
    "write_instances",
    "write_world",
]

#: Seeds of the uses of the world. No two uses share one.
TEACHER_SEEDS = (101, 102)  # the scenes the bundled teacher was trained on, and its check
TUNING_SEEDS = (201, 202, 203)  # for choosing settings
EVALUATION_SEEDS = (301, 302, 303)  # for figures that are reported
DEMO_SEED = 401


@dataclass(frozen=True)
class WorldSettings:
    """How scenes are made up; the defaults are the world that every figure is about."""

    none_share: float = 0.1  # scenes without any target class
    counts: tuple[float, ...] = (0.15, 0.25, 0.3, 0.3)  # chance of 1, 2, 3, 4 target objects
    smallest: float = 0.005  # box area of an object, as part of the image
    largest: float = 0.4
    usual: float = 0.8  # chance that an object is one of its theme
    clutter: int = 24  # most specks of litter
    weights: dict[str, float] = field(default_factory=dict)  # frequency of a class; 1 where absent


WORLD = WorldSettings()

#: The truth of a folder of scenes in the format of COCO.
INSTANCES = "instances.json"


@dataclass(frozen=True)
class Scene:
    """A picture with everything that is true about it."""

    image: Image.Image  # RGB, 224 x 224
    place: str
    targets: tuple[Thing, ...]
    distractors: tuple[Thing, ...]
    quality: int  # of its JPEG file

    @property
    def labels(self) -> tuple[str, ...]:
        """The target classes in the scene, each once, in the order of `CLASSES`."""
        return tuple(sorted({thing.name for thing in self.targets}))

    def jpeg(self) -> bytes:
        """The picture as a JPEG file."""
        file = io.BytesIO()
        self.image.save(file, "JPEG", quality=self.quality)
        return file.getvalue()


def draw_scene(seed: int, index: int, settings: WorldSettings = WORLD) -> Scene:
    """Scene `index` of the world `seed`: always the same, whatever was drawn before."""
    rng = np.random.default_rng((seed, index))
    theme = THEMES[int(rng.integers(len(THEMES)))]
    backdrop = paint_place(theme.place, rng)
    canvas = backdrop.image
    litter(canvas, rng, backdrop.horizon, settings.clutter)
    sizes = sorted(_wanted(theme, rng, settings), key=lambda wish: -wish[1])
    placed: list[Thing] = []
    for name, area in sizes:
        thing = put_thing(canvas, rng, name=name, area=area, horizon=backdrop.horizon, taken=placed)
        if thing is not None:
            placed.append(thing)
    return Scene(
        image=photograph(canvas, rng),
        place=theme.place,
        targets=tuple(thing for thing in placed if thing.name in TARGETS),
        distractors=tuple(thing for thing in placed if thing.name in DISTRACTORS),
        quality=int(rng.integers(72, 93)),
    )


def write_world(
    folder: Path, *, count: int, seed: int, start: int = 0, settings: WorldSettings = WORLD
) -> dict[str, Any]:
    """Write scenes `start` to `start + count` as JPEG files, and what is true in `truth.json`.

    Returns:
        The content of `truth.json`: `seed`, `classes`, and under `images` for each file name its
        `place`, `labels`, and `targets` and `distractors` with their boxes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images: dict[str, Any] = {}
    for index in range(start, start + count):
        scene = draw_scene(seed, index, settings)
        name = f"scene_{index:06d}.jpg"
        (folder / name).write_bytes(scene.jpeg())
        images[name] = {
            "place": scene.place,
            "labels": list(scene.labels),
            "targets": _facts(scene.targets),
            "distractors": _facts(scene.distractors),
        }
    truth = {"seed": seed, "classes": list(CLASSES), "images": images}
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")
    return truth


def write_instances(folder: Path, *, count: int, seed: int, start: int = 0) -> Path:
    """Write scenes as `write_world` does, and their labels and boxes as COCO does; that file."""
    truth = write_world(folder, count=count, seed=seed, start=start)
    path = folder / INSTANCES
    path.write_text(json.dumps(instances(truth)) + "\n")
    return path


def instances(truth: Mapping[str, Any]) -> dict[str, Any]:
    """What `write_world` returns as COCO writes it: images, annotations with boxes, categories."""
    ids = {name: position for position, name in enumerate(truth["classes"], 1)}
    images = [
        {"id": number, "file_name": name, "width": SIDE, "height": SIDE}
        for number, name in enumerate(truth["images"], 1)
    ]
    things = [
        (number, target)
        for number, facts in enumerate(truth["images"].values(), 1)
        for target in facts["targets"]
    ]
    annotations = [
        {
            "id": position,
            "image_id": number,
            "category_id": ids[target["name"]],
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": (x1 - x0) * (y1 - y0),
            "iscrowd": 0,
        }
        for position, (number, target) in enumerate(things, 1)
        for x0, y0, x1, y1 in [target["box"]]
    ]
    categories = [{"id": id, "name": name} for name, id in ids.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def _facts(things: Sequence[Thing]) -> list[dict[str, object]]:
    return [{"name": thing.name, "box": list(thing.box)} for thing in things]


def _wanted(theme: Theme, rng: Random, settings: WorldSettings) -> list[tuple[str, float]]:
    """Names and areas of the objects that the scene is to have."""
    count = 1 + int(rng.choice(len(settings.counts), p=settings.counts))
    if rng.random() < settings.none_share:
        names = _choose(rng, theme.distractors, tuple(DISTRACTORS), count, settings)
    else:
        others = int(rng.integers(0, 3))
        names = _choose(rng, theme.targets, CLASSES, count, settings)
        names += _choose(rng, theme.distractors, tuple(DISTRACTORS), others, settings)
    low, high = np.log(settings.smallest), np.log(settings.largest)
    return [(name, float(np.exp(between(rng, low, high)))) for name in names]


def _choose(
    rng: Random, usual: tuple[str, ...], every: tuple[str, ...], count: int, settings: WorldSettings
) -> list[str]:
    chosen: list[str] = []
    for _ in range(count):
        pool = usual if rng.random() < settings.usual else every
        weights = np.array([settings.weights.get(name, 1.0) for name in pool])
        chosen.append(pool[int(rng.choice(len(pool), p=weights / weights.sum()))])
    return chosen


def main() -> None:
    """Command line: `python -m demo.world OUT --count N --seed S`.

    Beside the scenes lie `truth.json`, with everything that is true, and `instances.json`, the
    labels and boxes as COCO writes them.
    """
    parser = argparse.ArgumentParser(description="Draw a world of scenes with known labels.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=DEMO_SEED)
    parser.add_argument("--start", type=int, default=0, help="number of the first scene")
    arguments = parser.parse_args()
    write_instances(
        arguments.folder, count=arguments.count, seed=arguments.seed, start=arguments.start
    )


if __name__ == "__main__":
    main()
