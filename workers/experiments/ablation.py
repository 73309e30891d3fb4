"""Experiment `ablation`: what consistency and debiasing add to the label update."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from models.distill import GlobalLabels
from workers.experiments.inputs import in_points
from workers.experiments.lab import Lab, measured_on, unfloored
from workers.experiments.outcome import Figures
from workers.experiments.strategies import ON_TARGET, crops_on_target
from workers.experiments.training import Lesson

NAME = "ablation"

#: Classes with the smallest bias that are reported one by one, as a part of all: the paper lists 7
#: of 20.
LISTED = 0.35

NONE = "no update: the teacher's global labels"
UPDATE, CONSISTENT = "label update", "+ consistency"
DEBIASED, BOTH = "+ debias", "+ both"


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    debiased: bool
    consistent: bool


VARIANTS = {
    UPDATE: Variant(debiased=False, consistent=False),
    CONSISTENT: Variant(debiased=False, consistent=True),
    DEBIASED: Variant(debiased=True, consistent=False),
    BOTH: Variant(debiased=True, consistent=True),
}

#: Groups of figures.
STUDENTS = "students, mAP"
LABELS = "labels of the training images, mAP"
BIAS = "bias factor"
SMALLEST = "students, mAP of the classes with the smallest bias"
OTHERS = "students, mAP of all other classes"
#: Then one group for each variant: AP by class.
AP_OF = "AP by class: "

#: VOC 2012.
PUBLISHED = {STUDENTS: {UPDATE: 88.7, CONSISTENT: 88.8, DEBIASED: 89.4, BOTH: 90.1}}
#: Gain in AP by debiasing, VOC 2012, by class: the paper's four largest.
PUBLISHED_GAINS = {"sofa": 3.6, "potted plant": 3.3, "tv monitor": 2.5, "chair": 1.9}


def run(lab: Lab) -> Figures:
    """The figures of one seed; students on the held-out images."""
    by_class = {NONE: _plain_student(lab)} | {
        name: _student_ap(lab, name, variant) for name, variant in VARIANTS.items()
    }
    factors = lab.debiased.bias.factors
    rare = factors.argsort(stable=True)[: round(LISTED * len(factors))]
    rest = factors.argsort(stable=True)[len(rare) :]
    names = [class_.name for class_ in lab.train.classes]
    figures: Figures = {
        STUDENTS: {name: in_points(ap) for name, ap in by_class.items()},
        SMALLEST: {name: in_points(ap[rare]) for name, ap in by_class.items()},
        OTHERS: {name: in_points(ap[rest]) for name, ap in by_class.items()},
        LABELS: _labels(lab),
        BIAS: dict(zip(names, factors.tolist(), strict=True)),
        ON_TARGET: _on_target(lab),
    }
    for name, ap in by_class.items():
        figures[AP_OF + name] = dict(zip(names, (100 * ap).tolist(), strict=True))
    return figures


def notes(lab: Lab) -> list[str]:
    """What a reader has to know beside the figures."""
    return measured_on(lab)


def labels_of(lab: Lab, *, debiased: bool) -> GlobalLabels:
    """Global labels of a variant."""
    return lab.debiased if debiased else lab.biased


def _warm(lab: Lab, *, debiased: bool) -> Lesson:
    return lab.warm if debiased else lab.biased_warm


def _student_ap(lab: Lab, name: str, variant: Variant) -> Tensor:
    found, warm = labels_of(lab, debiased=variant.debiased), _warm(lab, debiased=variant.debiased)
    pseudo = lab.blend(found, lab.local_views(warm))
    return lab.student_ap(lab.learn(warm, pseudo, consistent=variant.consistent, what=name))


def _plain_student(lab: Lab) -> Tensor:
    """A student of the global labels alone, for as many epochs."""
    labels = lab.biased.labels
    return lab.student_ap(lab.learn(lab.biased_warm, labels, consistent=False, what="no update"))


def _labels(lab: Lab) -> dict[str, float]:
    """How good the labels are that students learn from, with and without floor and clamp."""
    points = lab.train.points
    figures = {
        "teacher, whole view": points(lab.debiased.probs),
        "debiased: floor and clamp make ties": points(lab.debiased.labels),
    }
    for word, debiased in (("without debias", False), ("with debias", True)):
        found, views = (
            labels_of(lab, debiased=debiased),
            lab.local_views(_warm(lab, debiased=debiased)),
        )
        figures[f"local, {word}"] = points(views.local_probs)
        figures[f"updated, {word}"] = points(lab.blend(found, views))
        no_ties = unfloored(found, views, lab.config.alpha)
        figures[f"updated, {word}, no floor and no clamp"] = points(no_ties)
    return figures


def _on_target(lab: Lab) -> dict[str, float]:
    if not lab.train.has_boxes:
        return {}
    return {
        word: crops_on_target(lab.train, lab.local_views(_warm(lab, debiased=debiased)))
        for word, debiased in (("without debias", False), ("with debias", True))
    }
