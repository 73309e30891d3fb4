"""What scores are worth against a truth: docs/evaluation.md says what each figure means.

Class by class where not said otherwise; a mean is over the classes that have positives. What is
`ignored` is neither there nor not, as VOC's difficult objects, and counts nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.metrics import Ranking, judged_columns, rank, ranked_average_precision
from models.thresholds import apply_thresholds, ranked_best_f1_threshold

#: Steps of recall that a thinned curve is exact at: 0, 0.01, ..., 1, as COCO's evaluation has.
RECALL_STEPS = 100
#: Bins of [0, 1] of equal width in which scores are compared with how often they are right:
#: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Decisions:
    """What comes of saying that a class is there from a threshold on.

    Attributes:
        thresholds: (C,) float64; NaN never fires.
        true: (C,) float64, images where the class fires and is there.
        fired: (C,) float64, images where it fires.
        support: (C,) float64, images where it is there.
    """

    thresholds: Tensor
    true: Tensor
    fired: Tensor
    support: Tensor

    @property
    def precision(self) -> Tensor:
        """(C,), NaN for a class that never fires."""
        return self.true / self.fired

    @property
    def recall(self) -> Tensor:
        """(C,), NaN for a class without positives."""
        return self.true / self.support

    @property
    def f1(self) -> Tensor:
        """(C,), NaN for a class that neither fires nor is there."""
        return 2 * self.true / (self.fired + self.support)

    @property
    def class_precision(self) -> Tensor:
        """CP, the mean precision; a class that never fires counts 0."""
        return self.precision.nan_to_num()[self.support > 0].mean()

    @property
    def class_recall(self) -> Tensor:
        """CR, the mean recall."""
        return self.recall[self.support > 0].mean()

    @property
    def class_f1(self) -> Tensor:
        """CF1, the harmonic mean of CP and CR; not the mean of the classes' F1."""
        return _harmonic(self.class_precision, self.class_recall)

    @property
    def overall_precision(self) -> Tensor:
        """OP, over all classes and images at once; NaN where nothing fires."""
        return self.true.sum() / self.fired.sum()

    @property
    def overall_recall(self) -> Tensor:
        """OR, over all classes and images at once."""
        return self.true.sum() / self.support.sum()

    @property
    def overall_f1(self) -> Tensor:
        """OF1, the harmonic mean of OP and OR."""
        return 2 * self.true.sum() / (self.fired.sum() + self.support.sum())

    @property
    def macro_f1(self) -> Tensor:
        """The mean of the classes' F1."""
        return self.f1[self.support > 0].mean()


@dataclass(frozen=True)
class Calibration:
    """Scores beside how often they are right, in `CALIBRATION_BINS` bins of equal width.

    Attributes:
        counts: (C, B) float64, images in the bin.
        scores: (C, B) float64, sum of their scores.
        true: (C, B) float64, how many of them show the class.
    """

    counts: Tensor
    scores: Tensor
    true: Tensor

    @property
    def error(self) -> Tensor:
        """(C,) expected calibration error, in [0, 1]: |mean score - share|, weighted by counts."""
        return (self.scores - self.true).abs().sum(dim=1) / self.counts.sum(dim=1)


@dataclass(frozen=True)
class Figures:
    """Everything that is measured of one kind of score.

    Attributes:
        average_precision: (C,) float64, NaN for a class without positives.
        support: (C,) float64, images that show the class.
        ignored: (C,) float64, images in which it is not judged.
        curves: per class (P, 3) float64, P at most `RECALL_STEPS` + 1: threshold, recall,
            precision; empty without positives.
        best: decisions at the thresholds of the best F1 against the truth itself.
        own: decisions at the thresholds that were asked about, if there are any.
        calibration: of every class.
    """

    average_precision: Tensor
    support: Tensor
    ignored: Tensor
    curves: list[Tensor]
    best: Decisions
    own: Decisions | None
    calibration: Calibration

    @property
    def mean_average_precision(self) -> Tensor:
        """The mAP, NaN where no class has positives."""
        return self.average_precision.nanmean()


def evaluate(
    scores: Tensor,
    targets: Tensor,
    *,
    thresholds: Tensor | None = None,
    ignored: Tensor | None = None,
) -> Figures:
    """All figures of (N, C) scores in [0, 1] against (N, C) bool targets.

    Args:
        scores: the higher the surer.
        targets: the truth.
        thresholds: (C,) from which score on a class is said to be there, NaN for never; None:
            the scores have none.
        ignored: (N, C) bool; None: everything is judged.
    """
    left_out = torch.zeros_like(targets) if ignored is None else ignored
    targets = targets & ~left_out
    # One ranking at a time: those of 80 classes and 100,000 images together take 160 MB.
    columns = judged_columns(scores, targets, ignored)
    ranked = [_ranked(rank(*column)) for column in columns]
    precisions, best, curves = zip(*ranked, strict=True)
    return Figures(
        average_precision=torch.stack(precisions),
        support=targets.sum(dim=0).double(),
        ignored=left_out.sum(dim=0).double(),
        curves=list(curves),
        best=decide(scores, targets, torch.stack(best), left_out),
        own=None if thresholds is None else decide(scores, targets, thresholds, left_out),
        calibration=calibrate(scores, targets, ignored),
    )


def _ranked(ranking: Ranking) -> tuple[Tensor, Tensor, Tensor]:
    """Average precision, best threshold and curve of one class."""
    return (
        ranked_average_precision(ranking),
        ranked_best_f1_threshold(ranking),
        thin_curve(ranking),
    )


def decide(scores: Tensor, targets: Tensor, thresholds: Tensor, ignored: Tensor) -> Decisions:
    """What (C,) thresholds make of (N, C) scores."""
    fires = apply_thresholds(scores, thresholds) & ~ignored
    return Decisions(
        thresholds=thresholds.double(),
        true=(fires & targets).sum(dim=0).double(),
        fired=fires.sum(dim=0).double(),
        support=(targets & ~ignored).sum(dim=0).double(),
    )


def thin_curve(ranking: Ranking) -> Tensor:
    """A precision-recall curve without the points that its envelope does not need.

    The envelope, the best precision at a recall or more, is that of the whole curve at each of
    `RECALL_STEPS` + 1 equal steps: of the points between two steps the one of the best precision
    is kept, of several the one of the highest score.

    Returns:
        (P, 3) float64, at most `RECALL_STEPS` + 1 rows with recall rising: threshold, recall,
        precision. Empty without positives.
    """
    scores, true, fired = ranking
    if not len(true) or not true[-1]:
        return true.new_zeros(0, 3)
    precision = true / fired
    steps = (RECALL_STEPS * true.long()).div(true[-1].long(), rounding_mode="floor")
    tops = true.new_zeros(RECALL_STEPS + 1).scatter_reduce(0, steps, precision, reduce="amax")
    at_top = ((precision == tops[steps]) & (true > 0)).nonzero()[:, 0]
    is_first = torch.ones_like(at_top, dtype=torch.bool)
    is_first[1:] = steps[at_top].diff() > 0
    kept = at_top[is_first]
    return torch.stack([scores[kept].double(), true[kept] / true[-1], precision[kept]], dim=1)


def calibrate(scores: Tensor, targets: Tensor, ignored: Tensor | None = None) -> Calibration:
    """(N, C) scores in [0, 1] beside how often they are right; a bin holds its lower edge."""
    columns = judged_columns(scores, targets, ignored)
    sums = torch.stack([_binned(own.double(), true) for own, true in columns])
    return Calibration(*sums.unbind(1))


def _binned(scores: Tensor, targets: Tensor) -> Tensor:
    """(3, B): counts, sums of scores and positives of one class."""
    bins = (scores * CALIBRATION_BINS).long().clamp(0, CALIBRATION_BINS - 1)
    weights = (torch.ones_like(scores), scores, targets.double())
    return torch.stack([torch.bincount(bins, w, minlength=CALIBRATION_BINS) for w in weights])


def _harmonic(first: Tensor, second: Tensor) -> Tensor:
    """2ab / (a + b), and 0 where both are."""
    return torch.where(first + second > 0, 2 * first * second / (first + second), first + second)
