"""Experiment `alpha`: the weight of the global labels, beside the baseline of tiles."""

from __future__ import annotations

from workers.experiments.lab import Lab, measured_on, unfloored
from workers.experiments.outcome import Figures

NAME = "alpha"

ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
CDUL = "CDUL's labels"
CDUL_CONSISTENT = "CDUL's labels, with consistency"

#: Groups of figures.
STUDENTS = "students, mAP"
LABELS = "pseudo-labels, mAP"
NO_TIES = "pseudo-labels without floor and clamp, mAP"

#: VOC 2012: the peak, and the result of CDUL, which alpha 0 is above.
PUBLISHED = {STUDENTS: {"alpha 0.4": 90.1, CDUL: 88.6}}


def run(lab: Lab) -> Figures:
    """The figures of one seed; students on the held-out images."""
    found = lab.debiased
    warm = lab.warm_up(found.labels, what="debiased labels")
    views = lab.local_views(warm)
    figures: Figures = {STUDENTS: {}, LABELS: {}, NO_TIES: {}}
    for alpha in ALPHAS:
        name, pseudo = f"alpha {alpha:g}", lab.blend(found, views, alpha)
        figures[LABELS][name] = lab.train.points(pseudo)
        figures[NO_TIES][name] = lab.train.points(unfloored(found, views, alpha))
        learned = lab.learn(warm, pseudo, consistent=True, what=name)
        figures[STUDENTS][name] = 100 * float(lab.student_ap(learned).nanmean())
    _add_baseline(figures, lab)
    return figures


def notes(lab: Lab) -> list[str]:
    """What a reader has to know beside the figures."""
    return measured_on(lab)


def _add_baseline(figures: Figures, lab: Lab) -> None:
    """Students of the baseline's labels: as it trains them, and with the method's second loss."""
    labels = lab.cdul_labels()
    figures[LABELS][CDUL] = lab.train.points(labels)
    warm = lab.warm_up(labels, what=CDUL)
    for name, consistent in ((CDUL, False), (CDUL_CONSISTENT, True)):
        learned = lab.learn(warm, labels, consistent=consistent, what=name)
        figures[STUDENTS][name] = 100 * float(lab.student_ap(learned).nanmean())
