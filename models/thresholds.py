"""From which score on a class is said to be there, found without labels (docs/method.md 15)."""

from __future__ import annotations

import torch
from torch import Tensor

from models.metrics import rank


def best_f1_thresholds(scores: Tensor, targets: Tensor, min_positives: int = 5) -> Tensor:
    """For each class the score that, as a threshold, gives the best F1 against the targets.

    Args:
        scores: (N, C).
        targets: (N, C) bool; here the pseudo-labels that equal 1.
        min_positives: a class with fewer targets gets no threshold: F1 means nothing there.

    Returns:
        (C,) of the scores' type, each a score that occurs; a score equal to it fires. Of several
        best ones the highest. NaN for a class without a threshold.
    """
    columns = zip(scores.unbind(1), targets.unbind(1), strict=True)
    return torch.stack([_best_f1_threshold(*column, min_positives) for column in columns])


def _best_f1_threshold(scores: Tensor, targets: Tensor, min_positives: int) -> Tensor:
    positives = targets.sum()
    if positives < max(min_positives, 1):
        return scores.new_tensor(torch.nan)
    ranking = rank(scores, targets)
    f1 = 2 * ranking.true / (ranking.fired + positives)
    return ranking.scores[f1.argmax()]  # the first of equal ones, so the highest score


def apply_thresholds(scores: Tensor, thresholds: Tensor) -> Tensor:
    """Which classes are said to be there: (N, C) bool. NaN as a threshold never fires."""
    return scores >= thresholds
