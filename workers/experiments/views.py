"""Experiment `views`: what the teacher's labels are worth by where it looks."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from models.distill import Box, LocalViews
from workers.experiments.inputs import NotUsable
from workers.experiments.lab import Lab
from workers.experiments.outcome import Figures
from workers.experiments.strategies import (
    ON_TARGET,
    around_true_boxes,
    boxes_of,
    boxes_seen,
    closeness,
    crops_on_target,
    random_boxes,
    true_boxes,
)

NAME = "views"

WHOLE = "whole view"
AROUND, TRUE, RANDOM = "around the true boxes", "true boxes only", "random boxes"
GRID, CAM = "3x3 grid", "CAM-guided"
KINDS = (AROUND, TRUE, RANDOM, GRID, CAM)

#: Groups of figures.
ALONE = "labels from the local views alone, mAP"
AVERAGED = "mean of whole view and local views, mAP"
SEEN = "true boxes whose middle is in a view, %"
CLOSE = "part of its best view that a true box fills, %"
COUNT = "views of an image"

#: VOC 2012, the paper's figure 3; of its other bars no figures are known.
PUBLISHED = {AVERAGED: {AROUND: 87.6, GRID: 86.4}}
#: VOC 2012: mAP of the teacher's labels of whole images, which the method starts from. Second-hand:
#: from a summary of the paper.
PUBLISHED_WHOLE = 85.3


def run(lab: Lab) -> Figures:
    """The figures of one seed, on the training images.

    Raises:
        NotUsable: the truth has no boxes.
    """
    images = lab.train
    if not images.has_boxes:
        raise NotUsable(
            "views needs true boxes and the truth has none; give Pascal VOC, COCO or JSONL "
            "with boxes"
        )
    whole = lab.debiased.probs
    figures: Figures = {
        ALONE: {WHOLE: images.points(whole)},
        AVERAGED: {WHOLE: images.points(whole)},
        SEEN: {},
        CLOSE: {},
        COUNT: {},
        ON_TARGET: {},
    }
    for kind, views in _views(lab).items():
        _measure(figures, kind, views(), lab, whole)
    return figures


def notes(_lab: Lab) -> list[str]:
    """What a reader has to know beside the figures."""
    return []


def _views(lab: Lab) -> dict[str, Callable[[], LocalViews]]:
    """How the views of each kind are come by."""
    images, seed = lab.train, lab.config.seed

    def look(boxes: list[list[Box]], kind: str) -> LocalViews:
        return lab.look(images, boxes, what=kind)

    return {
        AROUND: lambda: look(around_true_boxes(images, seed=seed), AROUND),
        TRUE: lambda: look(true_boxes(images), TRUE),
        RANDOM: lambda: look(random_boxes(images, seed=seed), RANDOM),
        GRID: lambda: lab.tiles(images),
        CAM: lambda: lab.local_views(lab.warm),
    }


def _measure(figures: Figures, kind: str, views: LocalViews, lab: Lab, whole: Tensor) -> None:
    """Put the figures of one kind of views into each group."""
    images, boxes = lab.train, boxes_of(views)
    figures[ALONE][kind] = images.points(views.local_probs)
    figures[AVERAGED][kind] = images.points((whole + views.local_probs) / 2)
    figures[SEEN][kind] = boxes_seen(images, boxes)
    figures[CLOSE][kind] = closeness(images, boxes)
    figures[COUNT][kind] = sum(map(len, boxes)) / len(boxes)
    if kind == CAM:  # no other view is of a class
        figures[ON_TARGET][kind] = crops_on_target(images, views)
