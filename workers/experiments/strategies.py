"""Where the teacher could look closer: around the true boxes, into them, anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from models.distill import Box, LocalViews
from models.random import uniform
from models.views import box_in_pixels
from workers.experiments.inputs import Labelled

#: Random views around each true box.
CROPS_PER_BOX = 2
#: Room around a true box on each side, at most, as a part of the box; drawn anew for each side.
MOST_ROOM = 0.5
#: Random boxes of an image: as many as there are tiles.
RANDOM_BOXES = 9
#: Sides of a random box as parts of the image's. Their mean is a tile's, but as the shorter one is
#: grown to the longer, the view is 7/6 as wide on a square image.
RANDOM_SIDES = (1 / 6, 1 / 2)


def true_boxes(images: Labelled) -> list[list[Box]]:
    """The true boxes of every image, grown to squares as every view is."""
    return views_with_room(images, [[torch.zeros(4)] * len(boxes) for boxes in images.boxes])


def around_true_boxes(images: Labelled, *, seed: int) -> list[list[Box]]:
    """`CROPS_PER_BOX` views of every true box, each with random room on its four sides."""
    most = max(1, *(len(of_image) for of_image in images.boxes))
    draws = uniform(
        (seed, "around"), torch.arange(len(images.boxes)), most * CROPS_PER_BOX * 4
    ).view(-1, most, CROPS_PER_BOX, 4)
    rounds = [views_with_room(images, MOST_ROOM * draws[:, :, k]) for k in range(CROPS_PER_BOX)]
    return [
        [view for of_box in zip(*of_image, strict=True) for view in of_box]
        for of_image in zip(*rounds, strict=True)
    ]


def views_with_room(images: Labelled, room: Sequence[Sequence[Tensor]] | Tensor) -> list[list[Box]]:
    """A view around every true box of every image, with the (4,) room given for it."""
    return [
        [
            _square(with_room(_fractions(box, size), own), size)
            for (_, box), own in zip(of_image, rooms, strict=False)
        ]
        for of_image, size, rooms in zip(images.boxes, images.sizes, room, strict=True)
    ]


def random_boxes(images: Labelled, *, seed: int) -> list[list[Box]]:
    """`RANDOM_BOXES` boxes in every image, of random size and place."""
    draws = uniform((seed, "boxes"), torch.arange(len(images.sizes)), RANDOM_BOXES * 4)
    return [
        [_square(placed(draw), size) for draw in row.view(RANDOM_BOXES, 4)]
        for size, row in zip(images.sizes, draws, strict=True)
    ]


def with_room(box: Tensor, room: Tensor) -> Tensor:
    """A (4,) xyxy box with (4,) room to the left, above, right and below, in parts of its sides.

    Clipped to the image, whose sides are 1.
    """
    width, height = box[2] - box[0], box[3] - box[1]
    sides = torch.stack([-width, -height, width, height])
    return (box + room * sides).clamp(0, 1)


def placed(draw: Tensor) -> Tensor:
    """A (4,) xyxy box in the image, whose sides are 1, from four draws in [0, 1).

    The first two decide its width and height, the others where it is within the room left.
    """
    low, high = RANDOM_SIDES
    sides = low + (high - low) * draw[:2]
    start = draw[2:] * (1 - sides)
    return torch.cat([start, start + sides])


def boxes_of(views: LocalViews) -> list[list[Box]]:
    """The boxes of local views, image by image, each once."""
    ends = views.offsets.tolist()
    rows = views.boxes.tolist()
    return [
        list(dict.fromkeys(tuple(row) for row in rows[start:stop]))
        for start, stop in pairwise(ends)
    ]


def holds_centre(view: Box, box: Box) -> bool:
    """Whether the middle of `box` lies in `view`."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return view[0] <= x < view[2] and view[1] <= y < view[3]


def boxes_seen(images: Labelled, views: Sequence[Sequence[Box]]) -> float:
    """Share of the true boxes, in percent, whose middle lies in a view of their image."""
    seen = [
        any(holds_centre(view, box) for view in of_image)
        for of_image, boxes in zip(views, images.boxes, strict=True)
        for _, box in boxes
    ]
    return 100 * sum(seen) / max(len(seen), 1)


def closeness(images: Labelled, views: Sequence[Sequence[Box]]) -> float:
    """Part of a view, in percent, that a true box fills: mean over the boxes that are seen.

    For each box the view that it fills most counts, of those that hold its middle; NaN if no box
    is seen.
    """
    filled = [
        max((_filled(view, box) for view in of_image if holds_centre(view, box)), default=None)
        for of_image, boxes in zip(views, images.boxes, strict=True)
        for _, box in boxes
    ]
    known = [part for part in filled if part is not None]
    return 100 * sum(known) / len(known) if known else float("nan")


def _filled(view: Box, box: Box) -> float:
    """Part of `view` that `box` covers."""
    wide = min(view[2], box[2]) - max(view[0], box[0])
    high = min(view[3], box[3]) - max(view[1], box[1])
    return wide * high / ((view[2] - view[0]) * (view[3] - view[1]))


#: The group of figures that `crops_on_target` is.
ON_TARGET = "crops of a present class on an object of it, %"


def crops_on_target(images: Labelled, views: LocalViews) -> float:
    """Share of the crops, in percent, that hold the middle of an object of the crop's own class.

    Of the crops for classes that are there; NaN if there is none.
    """
    owners = torch.repeat_interleave(torch.arange(len(images.boxes)), views.offsets.diff())
    hits = []
    rows = zip(owners.tolist(), views.classes.tolist(), views.boxes.tolist(), strict=True)
    for image, class_index, view in rows:
        own = [box for of_class, box in images.boxes[image] if of_class == class_index]
        if own:
            hits.append(any(holds_centre(view, box) for box in own))
    return 100 * sum(hits) / len(hits) if hits else float("nan")


def _fractions(box: Box, size: tuple[int, int]) -> Tensor:
    return torch.tensor(box, dtype=torch.float64) / torch.tensor([*size, *size])


def _square(box: Tensor, size: tuple[int, int]) -> Box:
    return box_in_pixels(box.float(), *size)
