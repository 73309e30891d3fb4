"""Experiment `headline`: the whole method on a benchmark, beside the published rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workers.experiments.alpha import CDUL
from workers.experiments.benchmarks import Benchmark
from workers.experiments.inputs import in_points
from workers.experiments.lab import Lab
from workers.experiments.outcome import Figures

WHOLE_METHOD = "ours: the whole method"
TEACHER = "ours: the teacher on whole images"
BASELINE = f"ours: a student of {CDUL}"

#: Groups of figures.
HELD_OUT = "held-out images, mAP"
LABELS = "labels of the training images, mAP"
#: AP of the student of the whole method.
BY_CLASS = "held-out images, AP by class"


def name_of(benchmark: str) -> str:
    """Of the files that the experiment writes for a benchmark."""
    return f"headline-{benchmark}"


@dataclass(frozen=True)
class Headline:
    """The experiment on one benchmark.

    Attributes:
        NAME: of the files it writes.
        benchmark: what it is about.
        with_baseline: whether a student of the baseline's labels is trained too.
    """

    NAME: str
    benchmark: Benchmark
    with_baseline: bool

    @property
    def PUBLISHED(self) -> dict[str, Mapping[str, float]]:  # noqa: N802 - as the modules have it
        """Rows of other methods."""
        return {HELD_OUT: self.benchmark.published}

    def run(self, lab: Lab) -> Figures:
        """The figures of one seed."""
        found, held_out = lab.debiased, lab.held_out
        views = lab.local_views(lab.warm)
        pseudo = lab.blend(found, views)
        ap = lab.student_ap(lab.learn(lab.warm, pseudo, consistent=True, what="the whole method"))
        figures: Figures = {
            HELD_OUT: {
                WHOLE_METHOD: in_points(ap),
                TEACHER: held_out.points(lab.global_labels(held_out).probs),
            },
            LABELS: {
                "global": lab.train.points(found.probs),
                "local": lab.train.points(views.local_probs),
                "pseudo": lab.train.points(pseudo),
            },
            BY_CLASS: {
                class_.name: 100 * value
                for class_, value in zip(lab.train.classes, ap.tolist(), strict=True)
            },
        }
        if self.with_baseline:
            labels = lab.cdul_labels()
            warm = lab.warm_up(labels, what=CDUL)
            ap = lab.student_ap(lab.learn(warm, labels, consistent=False, what=CDUL))
            figures[HELD_OUT][BASELINE] = in_points(ap)
        return figures

    def notes(self, lab: Lab) -> list[str]:
        """In what the images at hand are others than the literature's."""
        parts = zip(
            ("training", "held-out"), (lab.train, lab.held_out), self.benchmark.counts, strict=True
        )
        notes = [
            f"{len(images.files):,} {word} images, the literature has {count:,}"
            for word, images, count in parts
            if len(images.files) != count
        ]
        if len(lab.train.classes) != self.benchmark.num_classes:
            known, wanted = len(lab.train.classes), self.benchmark.num_classes
            notes.append(f"{known} classes, the literature has {wanted}")
        return notes
