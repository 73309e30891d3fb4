"""The teacher's bias towards some classes, and labels without it (docs/method.md 4, 5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Bias:
    """How sure the teacher is of each class where it is sure of it at all.

    Attributes:
        factors: (C,) mean top-1 probability, in (0, 1]; 1 for a class that is never top-1.
        counts: (C,) int64, the images that went into each mean.
    """

    factors: Tensor
    counts: Tensor


def entropy(probs: Tensor) -> Tensor:
    """Entropy in nats, (N,), of the (N, C) rows, each a probability distribution.

    The terms of a row are added in ascending order of probability, so that the order of the
    classes cannot change the sum.
    """
    terms: Tensor = torch.special.entr(probs.sort(dim=1).values)
    return terms.sum(dim=1)


def estimate_bias(probs: Tensor, max_entropy: float) -> Bias:
    """Mean probability of each class over the confident images that it comes first in.

    Args:
        probs: (N, C) teacher softmax on global views, background columns included.
        max_entropy: entropy in nats up to which an image is confident.

    Deviation: 1, which corrects nothing, for a class that is never first (the released code divides
    zero by zero there). Our choice: where classes tie for the first place, the image counts for
    each of them. The sums are in double precision, in the order of the images.
    """
    confident = probs[entropy(probs) <= max_entropy]  # (M, C)
    is_top = confident == confident.amax(dim=1, keepdim=True)
    classes = is_top.nonzero()[:, 1]
    num_classes = probs.shape[1]
    counts = torch.bincount(classes, minlength=num_classes)
    sums = torch.bincount(classes, confident[is_top].double(), minlength=num_classes)
    factors = torch.where(counts > 0, sums / counts.clamp(min=1), 1.0)
    return Bias(factors.to(probs.dtype), counts)


def debias(probs: Tensor, factors: Tensor, floor: float) -> Tensor:
    """(N, C) labels in [0, 1]: probabilities, raised to the floor, in units of the class's bias.

    Args:
        probs: (N, C) teacher softmax.
        factors: (C,) of `estimate_bias`. A probability that reaches its factor becomes exactly 1.
        floor: smallest probability a class counts with, in (0, 1].
    """
    return (probs.clamp(min=floor) / factors).clamp(max=1)
