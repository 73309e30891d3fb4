"""The figures of a job against a truth: every stage side by side, as one document."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from models.evaluation import Decisions, Figures, evaluate
from workers.joined import Joined, join
from workers.results import JobResults
from workers.stages import Stage
from workers.truth.gather import shown
from workers.truth.truth import Truth, TruthWarning

#: Part of the name under which a result is kept: other figures, another version.
EVALUATION_VERSION = 2
#: Of images and paths that found no partner, this many are listed by name.
MAX_LISTED = 100

#: Which step of the method leads from which stage to which.
STEPS = {
    "debiasing": (Stage.GLOBAL, Stage.DEBIASED),
    "local views": (Stage.GLOBAL, Stage.LOCAL),
    "label update": (Stage.DEBIASED, Stage.PSEUDO),
    "training": (Stage.PSEUDO, Stage.STUDENT),
    "the whole method": (Stage.GLOBAL, Stage.STUDENT),
}


def evaluate_job(
    results: JobResults,
    truth: Truth,
    *,
    class_map: Mapping[str, str | None] | None = None,
    threads: int = 1,
    on_images: Callable[[int], None] = lambda _: None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """All figures of a job, and the points of its precision-recall curves.

    Args:
        results: of a succeeded job.
        truth: of some of its images and classes.
        class_map: class of the truth -> class of the job, or None to leave it out.
        threads: how many stages are looked at side by side.
        on_images: told after every stage how many images were looked at; may raise.

    Returns:
        The documents that docs/evaluation.md describes: the evaluation, and its curves.

    Raises:
        TruthError: the truth is about other images or classes.
        JobUnreadable: a file of the job is damaged.
    """
    joined = join(results, truth, class_map)
    figures: dict[Stage, Figures] = {}
    with _short_sorts(), ThreadPoolExecutor(threads) as pool:
        for stage, found in zip(
            Stage, pool.map(partial(_figures, results, joined), Stage), strict=True
        ):
            figures[stage] = found
            on_images(len(figures) * len(joined.rows))
    return _document(results, truth, joined, figures), _curves(results, joined, figures)


def _figures(results: JobResults, joined: Joined, stage: Stage) -> Figures:
    thresholds = results.thresholds(stage)
    return evaluate(
        results.scores(stage)[joined.rows][:, joined.classes],
        joined.targets,
        thresholds=None if thresholds is None else thresholds[joined.classes],
        ignored=joined.ignored if joined.ignored.any() else None,
    )


@contextmanager
def _short_sorts() -> Iterator[None]:
    """Each sort on one thread: two threads of torch spend more time on each other.

    With them 100,000 images and 80 classes took 200 s on a busy machine, in place of 36 s.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# The documents


def _document(
    results: JobResults, truth: Truth, joined: Joined, figures: Mapping[Stage, Figures]
) -> dict[str, Any]:
    student = figures[Stage.STUDENT]
    names = [results.classes[i] for i in joined.classes]
    return {
        "job_id": results.job_id,
        "format": truth.format,
        "thresholds_version": results.version.version,
        "counts": _counts(results, truth, joined, student),
        "classes": [
            {"name": name, "support": int(support), "ignored": int(ignored)}
            for name, support, ignored in zip(
                names, student.support.tolist(), student.ignored.tolist(), strict=True
            )
        ],
        "stages": {stage: _stage(names, found) for stage, found in figures.items()},
        "steps": _steps(figures),
        "best_thresholds": _best_thresholds(results, names, student),
        "renamed": dict(joined.names.renamed),
        "only_in_truth": {k: list(near) for k, near in joined.names.only_in_truth.items()},
        "only_in_job": list(joined.names.only_in_job),
        "unmatched": list(joined.paths.unmatched[:MAX_LISTED]),
        "ambiguous": list(joined.paths.ambiguous[:MAX_LISTED]),
        "untold": [results.paths[i] for i in joined.paths.untold[:MAX_LISTED]],
        "warnings": [asdict(warning) for warning in _warnings(truth, joined, names)],
    }


def _counts(
    results: JobResults, truth: Truth, joined: Joined, figures: Figures
) -> dict[str, int | dict[str, int]]:
    with_positives = int((figures.support > 0).sum())
    return {
        "truth_images": len(truth.images),
        "dataset_images": len(results.paths),
        "matched": len(joined.paths.images),
        "matched_by": dict(joined.paths.found_by),
        "unmatched": len(joined.paths.unmatched),
        "ambiguous": len(joined.paths.ambiguous),
        "untold": len(joined.paths.untold),
        "classes": len(joined.classes),
        "classes_with_positives": with_positives,
        "classes_absent": len(joined.classes) - with_positives,
    }


def _stage(names: Sequence[str], figures: Figures) -> dict[str, Any]:
    own, best, error = figures.own, figures.best, figures.calibration.error
    counted = figures.support > 0
    return {
        "map": number(figures.mean_average_precision),
        "calibration_error": number(error[counted].mean()),
        "at_thresholds": None if own is None else _summary(own),
        "at_best": _summary(best),
        "classes": [
            {
                "name": name,
                "average_precision": number(figures.average_precision[i]),
                "calibration_error": number(error[i]),
                "at_threshold": None if own is None else _decision(own, i),
                "at_best": _decision(best, i),
            }
            for i, name in enumerate(names)
        ],
        "reliability": _reliability(figures),
    }


def _summary(decisions: Decisions) -> dict[str, float | None]:
    return {
        "cp": number(decisions.class_precision),
        "cr": number(decisions.class_recall),
        "cf1": number(decisions.class_f1),
        "op": number(decisions.overall_precision),
        "or": number(decisions.overall_recall),
        "of1": number(decisions.overall_f1),
        "macro_f1": number(decisions.macro_f1),
    }


def _decision(decisions: Decisions, i: int) -> dict[str, float | None]:
    return {
        "threshold": number(decisions.thresholds[i]),
        "precision": number(decisions.precision[i]),
        "recall": number(decisions.recall[i]),
        "f1": number(decisions.f1[i]),
    }


def _reliability(figures: Figures) -> list[dict[str, float | None]]:
    """Scores beside how often they are right, over all classes."""
    counts, scores, true = (
        sums.sum(dim=0)
        for sums in (
            figures.calibration.counts,
            figures.calibration.scores,
            figures.calibration.true,
        )
    )
    return [
        {
            "count": int(counts[b]),
            "mean_score": number(scores[b] / counts[b]),
            "share": number(true[b] / counts[b]),
        }
        for b in range(len(counts))
    ]


def _steps(figures: Mapping[Stage, Figures]) -> list[dict[str, Any]]:
    """What every step of the method changed."""
    steps = []
    for name, (before, after) in STEPS.items():
        first, second = figures[before], figures[after]
        gain = second.average_precision - first.average_precision
        steps.append(
            {
                "step": name,
                "from": before,
                "to": after,
                "map_change": number(second.mean_average_precision - first.mean_average_precision),
                "classes_better": int((gain > 0).sum()),
                "classes_worse": int((gain < 0).sum()),
            }
        )
    return steps


def _best_thresholds(
    results: JobResults, names: Sequence[str], student: Figures
) -> dict[str, float | None]:
    """For every class of the job the student's threshold of the best F1 against the truth."""
    found = dict(zip(names, student.best.thresholds, strict=True))
    return {name: number(found[name]) if name in found else None for name in results.classes}


def _warnings(truth: Truth, joined: Joined, names: Sequence[str]) -> list[TruthWarning]:
    found = list(truth.warnings)

    def warn(code: str, cases: Sequence[str], message: str) -> None:
        if cases:
            found.append(TruthWarning(code, message.format(shown(cases[0])), len(cases)))

    absent = [
        name
        for name, there in zip(names, joined.targets.any(dim=0).tolist(), strict=True)
        if not there
    ]
    warn("truth_unmatched", joined.paths.unmatched, "{} is no image of the job")
    warn(
        "truth_ambiguous",
        joined.paths.ambiguous,
        "{} could mean several images, or one that another path means too; it is left out",
    )
    extra = joined.names.only_in_truth
    nearest = ", ".join(next(iter(extra.values()), ()))
    near = f"; the nearest are {nearest}" if nearest else ""
    warn("class_only_in_truth", list(extra), f"{{}} is no class of the job{near}")
    warn("class_only_in_job", joined.names.only_in_job, "{} is no class of the truth: not judged")
    warn("class_absent", absent, "no image shows {}: it has no average precision")
    return found


def _curves(
    results: JobResults, joined: Joined, figures: Mapping[Stage, Figures]
) -> dict[str, Any]:
    """{stage: {class: [[threshold, recall, precision], ...]}}."""
    names = [results.classes[i] for i in joined.classes]
    return {
        stage: {
            name: [[float(f"{x:.6g}") for x in point] for point in curve.tolist()]
            for name, curve in zip(names, found.curves, strict=True)
        }
        for stage, found in figures.items()
    }


def number(value: Tensor) -> float | None:
    """A figure as JSON has it: NaN is null."""
    figure = float(value)
    return None if math.isnan(figure) else figure
