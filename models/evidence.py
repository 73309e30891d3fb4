"""What a job leaves behind that tells about its health: what teacher and student said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from models.debias import Bias, entropy
from models.thresholds import POSITIVE_LABEL, apply_thresholds


@dataclass(frozen=True)
class WholeViews:
    """The teacher's answer on N whole images, over all T names of its softmax.

    Attributes:
        entropy: (N,) in nats.
        top: (N,) int64, the most probable name; C and above are background names.
        is_background: (N,) bool, whether a background name comes first once there are some; None
            where the teacher was asked about none.
    """

    entropy: Tensor
    top: Tensor
    is_background: Tensor | None


def whole_views(
    shards: Iterable[Tensor],
    text: Tensor,
    reference: Tensor,
    *,
    num_classes: int,
    logit_scale: float,
) -> WholeViews:
    """The teacher's answers on whole images, the features of one shard in memory at a time.

    Args:
        shards: (n, D) image features.
        text: (T, D) features of the names in the softmax, the classes first.
        reference: (R, D) features of background names that are not in the softmax; R may be 0.
        num_classes: C.
        logit_scale: multiplies the cosine.
    """
    knows_background = len(text) + len(reference) > num_classes
    entropies, tops, backgrounds = [], [], []
    for features in shards:
        logits = logit_scale * features @ torch.cat([text, reference]).T
        in_softmax = logits[:, : len(text)]
        entropies.append(entropy(in_softmax.softmax(dim=1)))
        tops.append(in_softmax.argmax(dim=1))
        backgrounds.append(logits.argmax(dim=1) >= num_classes)
    return WholeViews(
        torch.cat(entropies),
        torch.cat(tops),
        torch.cat(backgrounds) if knows_background else None,
    )


@dataclass(frozen=True)
class Views:
    """The local views of n images, M in all.

    Three of the five fields of `models.local_views.LocalViews`.

    Attributes:
        boxes: (M, 4) xyxy in pixels of the upright image, right and bottom exclusive.
        classes: (M,) the class whose CAM gave the box; each at most once an image.
        offsets: (n + 1,) rows offsets[i]:offsets[i + 1] belong to image i.
    """

    boxes: Tensor
    classes: Tensor
    offsets: Tensor

    @property
    def num_images(self) -> int:
        """The images that the views are of, those without any included."""
        return len(self.offsets) - 1

    def overlaps(self, images: Tensor, a: int, b: int) -> Tensor:
        """(m,) overlap of the boxes of two classes on those of the images that have both."""
        rows_a, rows_b = self._rows(a)[images], self._rows(b)[images]
        has_both = (rows_a >= 0) & (rows_b >= 0)
        return box_overlap(self.boxes[rows_a[has_both]], self.boxes[rows_b[has_both]])

    def _rows(self, class_: int) -> Tensor:
        """(n,) row of the box of a class on each image, -1 where it has none."""
        rows = (self.classes == class_).nonzero()[:, 0]
        found = torch.full((self.num_images,), -1)
        found[torch.searchsorted(self.offsets, rows, right=True) - 1] = rows
        return found


def box_overlap(a: Tensor, b: Tensor) -> Tensor:
    """(M,) float64 intersection over union of M pairs of boxes, (M, 4) xyxy each."""
    left_top, right_bottom = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    shared = (right_bottom - left_top).clamp(min=0).prod(dim=1).double()
    area_a, area_b = ((box[:, 2:] - box[:, :2]).prod(dim=1).double() for box in (a, b))
    return shared / (area_a + area_b - shared)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a job says about its N distinct images and C classes, in columns of canonical order.

    Attributes:
        names: of the classes.
        text: (T, D) L2-normalised features of the names in the softmax, the classes first.
        whole: the teacher on whole images.
        max_entropy: in nats; up to it an image counts for the bias.
        bias: factors and image counts of the classes.
        global_probs: (N, C) the teacher on whole images, background columns dropped.
        local_probs: (N, C) the teacher's largest probability over the local views of an image.
        pseudo: (N, C) pseudo-labels in [0, 1].
        scores: (N, C) of the student.
        thresholds: (C,) from which score on a class is there; NaN: never.
    """

    names: Sequence[str]
    text: Tensor
    whole: WholeViews
    max_entropy: float
    bias: Bias
    global_probs: Tensor
    local_probs: Tensor
    pseudo: Tensor
    scores: Tensor
    thresholds: Tensor

    @property
    def num_images(self) -> int:
        """The N images."""
        return len(self.scores)

    @property
    def best_probs(self) -> Tensor:
        """(N, C) the teacher's largest probability in any view, whole or local."""
        return torch.maximum(self.global_probs, self.local_probs)

    @cached_property
    def best_prob(self) -> Tensor:
        """(N,) the teacher's largest probability of any class in any view."""
        return self.best_probs.amax(dim=1)

    @property
    def fired(self) -> Tensor:
        """(N, C) bool: the student's labels."""
        return apply_thresholds(self.scores, self.thresholds)

    @property
    def positive(self) -> Tensor:
        """(N, C) bool: the labels that the student learned from."""
        return self.pseudo >= POSITIVE_LABEL
