"""Experiment `alpha`: the weight of the global labels, beside the baseline of tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from workers.experiments.inputs import in_points
from workers.experiments.lab import Lab, measured_on, unfloored
from workers.experiments.outcome import Figures, Outcome

NAME = "alpha"

ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
CDUL = "CDUL's labels"
CDUL_CONSISTENT = "CDUL's labels, with consistency"

#: Groups of figures.
STUDENTS = "students, mAP"
LABELS = "pseudo-labels, mAP"
PRESENT = "mean label of a class that is there, %"
ABSENT = "mean label of a class that is not there, %"
NO_TIES = "pseudo-labels without floor and clamp, mAP"

#: VOC 2012: the peak, and the result of CDUL, which alpha 0 is above.
PUBLISHED = {STUDENTS: {"alpha 0.4": 90.1, CDUL: 88.6}}


@dataclass(frozen=True)
class Sweep:
    """The experiment, over some weights.

    Attributes:
        alphas: the weights, each in [0, 1].
    """

    alphas: Sequence[float] = ALPHAS

    NAME: ClassVar[str] = NAME
    PUBLISHED: ClassVar[dict[str, dict[str, float]]] = PUBLISHED

    def run(self, lab: Lab) -> Figures:
        """The figures of one seed; students on the held-out images."""
        found, views = lab.debiased, lab.local_views(lab.warm)
        figures: Figures = {STUDENTS: {}, LABELS: {}, NO_TIES: {}, PRESENT: {}, ABSENT: {}}
        for alpha in self.alphas:
            name, pseudo = name_of(alpha), lab.blend(found, views, alpha)
            _measure_labels(figures, name, pseudo, lab)
            figures[NO_TIES][name] = lab.train.points(unfloored(found, views, alpha))
            learned = lab.learn(lab.warm, pseudo, consistent=True, what=name)
            figures[STUDENTS][name] = in_points(lab.student_ap(learned))
        _add_baseline(figures, lab)
        return figures

    def notes(self, lab: Lab) -> list[str]:
        """What a reader has to know beside the figures."""
        return measured_on(lab)


def _measure_labels(figures: Figures, name: str, labels: Tensor, lab: Lab) -> None:
    """How well the labels rank, and how far apart they keep what is there and what is not."""
    truth = lab.train.truth
    figures[LABELS][name] = lab.train.points(labels)
    figures[PRESENT][name] = 100 * float(labels[truth].mean())
    figures[ABSENT][name] = 100 * float(labels[~truth & ~lab.train.ignored].mean())


def name_of(alpha: float) -> str:
    """Of the row of a weight."""
    return f"alpha {alpha:g}"


def curve(outcome: Outcome) -> list[str]:
    """The rows of the weights in an outcome, in order."""
    return outcome.names(NO_TIES)


def _add_baseline(figures: Figures, lab: Lab) -> None:
    """Students of the baseline's labels: as it trains them, and with the method's second loss."""
    labels = lab.cdul_labels()
    _measure_labels(figures, CDUL, labels, lab)
    warm = lab.warm_up(labels, what=CDUL)
    for name, consistent in ((CDUL, False), (CDUL_CONSISTENT, True)):
        learned = lab.learn(warm, labels, consistent=consistent, what=name)
        figures[STUDENTS][name] = in_points(lab.student_ap(learned))
