"""Views of drawn scenes for the teacher's training: whole pictures and square crops."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from demo.captions import NAMES, Visible, subject
from demo.pen import Random, between
from demo.places import SIDE
from demo.stage import Box, Thing
from demo.world import WorldSettings, draw_scene
from models.images import crop_resize, decode, to_tensor

_WHOLE_SHARE = 0.45  # views that show the whole scene; the others are crops
_CROP_SIDES = (0.2, 0.9)
_SHOWN = 0.5  # part of a thing's box that must lie in a crop for the caption to know of it
_CHUNK = 100


@dataclass(frozen=True)
class StoredScene:
    """A scene as its JPEG file and what is in it."""

    jpeg: bytes
    place: str
    things: tuple[Thing, ...]


def store_scenes(
    seed: int, count: int, settings: WorldSettings, *, processes: int
) -> list[StoredScene]:
    """The first `count` scenes of a world, drawn by several processes."""
    draw = partial(_store_scene, seed, settings)
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(draw, range(count), chunksize=_CHUNK))


def _store_scene(seed: int, settings: WorldSettings, index: int) -> StoredScene:
    scene = draw_scene(seed, index, settings)
    return StoredScene(scene.jpeg(), scene.place, (*scene.targets, *scene.distractors))


def view_batch(
    scenes: Sequence[StoredScene], size: int, side: int, key: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Random views, the same for the same key.

    Returns:
        (B, 3, side, side) uint8 pixels, and (B,) the position in `NAMES` of each view's subject.
    """
    rng = np.random.default_rng(key)
    chosen = rng.integers(len(scenes), size=size)
    views = [_view(scenes[int(position)], side, rng) for position in chosen]
    return torch.stack([pixels for pixels, _ in views]), torch.tensor([name for _, name in views])


def _view(scene: StoredScene, side: int, rng: Random) -> tuple[Tensor, int]:
    box = _crop(rng)
    pixels = to_tensor(crop_resize(decode(scene.jpeg), box, side))
    if rng.random() < 0.5:
        pixels = pixels.flip(2)
    return pixels, NAMES.index(subject(visible(scene.things, box), scene.place, rng))


def _crop(rng: Random) -> Box:
    if rng.random() < _WHOLE_SHARE:
        return 0, 0, SIDE, SIDE
    side = round(between(rng, *_CROP_SIDES) * SIDE)
    x, y = (int(rng.integers(SIDE - side + 1)) for _ in range(2))
    return x, y, x + side, y + side


def visible(things: Sequence[Thing], view: Box) -> list[Visible]:
    """The things that lie at least half inside a view, with the part of it that they take."""
    view_area = (view[2] - view[0]) * (view[3] - view[1])
    seen = []
    for thing in things:
        x0, y0, x1, y1 = thing.box
        wide = min(x1, view[2]) - max(x0, view[0])
        high = min(y1, view[3]) - max(y0, view[1])
        inside = max(0, wide) * max(0, high)
        if inside >= _SHOWN * (x1 - x0) * (y1 - y0):
            seen.append(Visible(thing.name, inside / view_area))
    return seen
