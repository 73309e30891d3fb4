"""From which score on a class is said to be there, found without labels (docs/method.md 15)."""

from __future__ import annotations

import torch
from torch import Tensor

from models.metrics import Ranking, judged_columns, rank

#: A pseudo-label from which on a class is taken to be there. Our choice: labels of 1 are only the
#: most salient objects, docs/method.md 15.
POSITIVE_LABEL = 0.5
#: Positives that a threshold is found from, at least. Our choice: of fewer, one image decides.
MIN_POSITIVES = 5


def best_f1_thresholds(
    scores: Tensor,
    targets: Tensor,
    min_positives: int = MIN_POSITIVES,
    ignored: Tensor | None = None,
) -> Tensor:
    """For each class the threshold that gives the best F1 against the targets.

    Args:
        scores: (N, C).
        targets: (N, C) bool; the pseudo-labels that say yes, or the truth.
        min_positives: a class with fewer targets gets no threshold: F1 means nothing there.
        ignored: (N, C) bool, what is neither there nor not; None: nothing is.

    Returns:
        (C,) of the scores' type; a score equal to it fires. Halfway between the score that gives
        the best F1 (of several the highest) and the next lower one, so that the last digit of no
        score decides; the lowest score itself where all images fire. NaN for a class without a
        threshold.
    """
    rankings = (rank(*column) for column in judged_columns(scores, targets, ignored))
    return torch.stack([ranked_best_f1_threshold(r, min_positives) for r in rankings])


def ranked_best_f1_threshold(ranking: Ranking, min_positives: int = 1) -> Tensor:
    """The same for one class: () of the scores' type, or NaN."""
    scores, true, fired = ranking
    if not len(true) or true[-1] < max(min_positives, 1):
        return scores.new_tensor(torch.nan)
    f1 = 2 * true / (fired + true[-1])
    best = int(f1.argmax())  # the first of equal ones, so the highest score
    if best + 1 == len(scores):
        return scores[best]
    halfway = (scores[best] + scores[best + 1]) / 2
    # Of two neighbouring floats the lower may be "halfway"; it must not fire.
    return torch.where(halfway > scores[best + 1], halfway, scores[best])


def apply_thresholds(scores: Tensor, thresholds: Tensor) -> Tensor:
    """Which classes are said to be there: (N, C) bool. NaN as a threshold never fires."""
    return scores >= thresholds
