"""How good scores and labels are, where the truth is known or stands in for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Ranking(NamedTuple):
    """One class's scores from the highest down, each distinct score once (K of them).

    Attributes:
        scores: (K,) descending.
        true: (K,) float64, positives among the images with at least that score.
        fired: (K,) float64, images with at least that score.
    """

    scores: Tensor
    true: Tensor
    fired: Tensor


def rank(scores: Tensor, targets: Tensor) -> Ranking:
    """The ranking of (N,) scores against (N,) bool targets."""
    ordered, order = scores.sort(descending=True)
    is_last_of_tie = torch.ones_like(targets)
    is_last_of_tie[:-1] = ordered[:-1] != ordered[1:]
    ends = is_last_of_tie.nonzero()[:, 0]
    true = targets[order].cumsum(0)[ends]
    return Ranking(ordered[ends], true.double(), (ends + 1).double())


def average_precision(scores: Tensor, targets: Tensor, ignored: Tensor | None = None) -> Tensor:
    """Average precision of each class: (C,) float64 in [0, 1], NaN for a class without positives.

    Precision at every distinct score, weighted by the recall gained there, as scikit-learn does.

    Args:
        scores: (N, C), the higher the surer.
        targets: (N, C) bool.
        ignored: (N, C) bool, what is neither there nor not; None: nothing is.
    """
    # One ranking at a time: of 80 classes at once they are 1,600 bytes an image.
    rankings = (rank(*column) for column in judged_columns(scores, targets, ignored))
    return torch.stack([ranked_average_precision(ranking) for ranking in rankings])


def judged_columns(
    scores: Tensor, targets: Tensor, ignored: Tensor | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Each class's scores and targets, (n,) each, without what is ignored: (N, C) all three."""
    columns = zip(scores.unbind(1), targets.unbind(1), strict=True)
    if ignored is None:
        yield from columns
        return
    for (own, true), left_out in zip(columns, ignored.unbind(1), strict=True):
        yield own[~left_out], true[~left_out]


def ranked_average_precision(ranking: Ranking) -> Tensor:
    """Average precision of one class: () float64 in [0, 1], NaN without positives."""
    _, true, fired = ranking
    if not len(true) or not true[-1]:
        return true.new_tensor(torch.nan)
    gained = true.diff(prepend=true.new_zeros(1))
    return (gained * true / fired).sum() / true[-1]


def mean_average_precision(scores: Tensor, targets: Tensor, ignored: Tensor | None = None) -> float:
    """The mAP, in [0, 1]: mean over the classes that have positives; NaN if none has."""
    return average_precision(scores, targets, ignored).nanmean().item()


def f1_scores(predicted: Tensor, targets: Tensor) -> Tensor:
    """F1 of each class: (C,) float64 in [0, 1]; NaN for a class neither predicted nor present.

    Args:
        predicted: (N, C) bool.
        targets: (N, C) bool.
    """
    true = (predicted & targets).sum(dim=0).double()
    return 2 * true / (predicted.sum(dim=0) + targets.sum(dim=0))
