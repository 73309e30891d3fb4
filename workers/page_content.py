"""What the report's page says: a job's figures as the rows, tiles and charts of the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.health import Finding, Severity
from models.vitals import MOST_LABELS, Vitals
from workers.charts import Line, bar, curve, histogram
from workers.evaluation_table import points
from workers.gallery import Picture

#: What the stages of an evaluation are called, in the order in which a job makes them.
STAGES = {
    "global": "Teacher",
    "debiased": "Debiased",
    "local": "Local views",
    "pseudo": "Pseudo-labels",
    "student": "Student",
}
#: Classes of the bias chart; of a longer list those with the smallest and the largest factors.
MOST_BARS = 40

CAVEAT = (
    "Nobody has told this job what its images really show. The figures here say what looks odd; "
    "how many labels are right can only be measured against true labels."
)
CAVEAT_EVALUATED = (
    "These were found without the true labels that were given: what those say stands in the "
    "evaluation."
)
TRAINING = (
    "Loss and training mAP by epoch. Both are measured against the labels that the student learned "
    "from, so they say how well it follows them and not whether they are right. Warm-up and main "
    "training learn from other labels: their losses cannot be compared. The ring is the epoch "
    "that was kept."
)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a page says about one job.

    Attributes:
        job_id: of the job.
        name: that the user gave it, if any.
        images: its files.
        vitals: its figures.
        findings: warnings first.
        curve: epochs with `phase`, `epoch`, `loss` and `map`.
        selected_epoch: the one that was kept, from 0 over all epochs.
        gallery: (name, note, pictures) of each group.
        settings: names and values.
        lead: one sentence about the job.
        footer: what made the page.
        class_order: for each class of the figures, its position in the user's list.
        evaluation: docs/evaluation.md, where somebody gave true labels.
    """

    job_id: str
    name: str | None
    images: int
    vitals: Vitals
    findings: Sequence[Finding]
    curve: Sequence[Mapping[str, Any]]
    selected_epoch: int
    gallery: Sequence[tuple[str, str, Sequence[Picture]]]
    settings: Mapping[str, Any]
    lead: str
    footer: str
    class_order: Sequence[int]
    evaluation: Mapping[str, Any] | None = None


def content(told: Told) -> dict[str, Any]:
    """What the template fills in."""
    vitals = told.vitals
    warnings = sum(finding.severity is Severity.WARNING for finding in told.findings)
    return {
        "job_id": told.job_id,
        "is_named": bool(told.name),
        "heading": told.name or told.job_id,
        "lead": told.lead,
        "tiles": _tiles(told),
        "warnings": warnings,
        "verdict": _verdict(warnings, len(told.findings)),
        "findings": told.findings,
        "caveat": CAVEAT_EVALUATED if told.evaluation else CAVEAT,
        "label_counts": _label_counts(vitals),
        "training": TRAINING,
        "curves": _curves(told),
        "bias": _bias(vitals),
        "left_out": _left_out(vitals),
        "classes": _classes(told),
        "sure": vitals.sure,
        "gallery": [
            {"name": name, "note": note, "pictures": pictures}
            for name, note, pictures in told.gallery
            if pictures
        ],
        "settings": told.settings.items(),
        "footer": told.footer,
        "evaluation": _evaluation(told.evaluation) if told.evaluation else None,
    }


def _verdict(warnings: int, findings: int) -> str:
    if warnings:
        return f"{_counted(warnings, 'thing')} should be looked at."
    return "Nothing to worry about; a note below." if findings else "Nothing unusual was found."


def _tiles(told: Told) -> list[dict[str, str]]:
    vitals = told.vitals
    images = max(vitals.num_images, 1)
    labels = sum(vitals.fired) / images
    copies = told.images - vitals.num_images
    agreement = "-" if vitals.agreement is None else f"{vitals.agreement:.2f}"
    return [
        _tile(
            "Images", f"{told.images:,}", f"{copies:,} of them copies" if copies else "no copies"
        ),
        _tile("Labels per image", f"{labels:.2f}", _counted(len(vitals.names), "class", "classes")),
        _tile("Without a label", percent(vitals.labels_per_image[0] / images), "of the images"),
        _tile(
            "Teacher is sure", percent(vitals.low_entropy), f"at most {vitals.max_entropy:.2f} nats"
        ),
        _tile("Student follows", agreement, "F1 against what it was taught"),
        _tile("Something else", _share(vitals.background_share), "first on the whole image"),
    ]


def _tile(name: str, value: str, note: str) -> dict[str, str]:
    return {"name": name, "value": value, "note": note}


def _label_counts(vitals: Vitals) -> list[dict[str, Any]]:
    counts = vitals.labels_per_image
    last = max((k for k, count in enumerate(counts) if count), default=0)
    most = max(*counts, 1)
    return [
        {
            "name": f"{k} or more" if k == MOST_LABELS else _counted(k, "label"),
            "bar": bar(count / most),
            "value": f"{count:,} · {percent(count / max(vitals.num_images, 1))}",
        }
        for k, count in enumerate(counts[: last + 1])
    ]


def _curves(told: Told) -> list[dict[str, Any]]:
    lines = {"loss": "Loss", "map": "Training mAP"}
    return [
        {
            "name": name,
            "drawing": curve(
                [
                    Line(said, kind, _points(told.curve, phase, field))
                    for said, kind, phase in (
                        ("warm-up", "first", "warm_up"),
                        ("main", "second", "train"),
                    )
                ],
                title=f"{name} by epoch",
                y_max=1.0 if field == "map" else None,
                ring=told.selected_epoch + 1,
            ),
        }
        for field, name in lines.items()
    ]


def _points(curve_: Sequence[Mapping[str, Any]], phase: str, field: str) -> list[tuple[int, float]]:
    return [(row["epoch"] + 1, row[field]) for row in curve_ if row["phase"] == phase]


def _bias(vitals: Vitals) -> list[dict[str, Any]]:
    told = zip(vitals.bias_factors, vitals.names, vitals.bias_images, strict=True)
    rows = sorted(row for row in told if row[2])
    if len(rows) > MOST_BARS:
        rows = rows[: MOST_BARS // 2] + rows[-MOST_BARS // 2 :]
    return [
        {
            "name": name,
            "bar": bar(factor),
            "value": f"{factor:.2f} ({images:,})",
        }
        for factor, name, images in rows
    ]


def _left_out(vitals: Vitals) -> str:
    known = sum(images > 0 for images in vitals.bias_images)
    sentences = []
    if known > MOST_BARS:
        between = known - MOST_BARS
        sentences.append(f"The smallest and the largest; {between:,} between them are left out.")
    if unknown := len(vitals.names) - known:
        sentences.append(f"Classes that no image tells of: {unknown:,}, not corrected.")
    return " ".join(sentences)


def _classes(told: Told) -> list[dict[str, Any]]:
    """One row a class, in the user's order."""
    vitals = told.vitals
    rows = [
        {
            "name": name,
            "marks": [finding for finding in told.findings if name in finding.classes],
            "histogram": histogram(vitals.histograms[i], vitals.thresholds[i]),
            "fired": f"{vitals.fired[i]:,}",
            "share": percent(vitals.fired[i] / max(vitals.num_images, 1)),
            "threshold": vitals.thresholds[i],
            "positives": f"{vitals.positives[i]:,}",
            "sightings": f"{vitals.sightings[i]:,}",
            "first": percent(vitals.first_shares[i]),
            "agreement": vitals.class_agreement[i],
        }
        for i, name in enumerate(vitals.names)
    ]
    by_place = sorted(zip(told.class_order, range(len(rows)), strict=True))
    return [rows[i] for _, i in by_place]


def _share(share: float | None) -> str:
    return "unknown" if share is None else percent(share)


def percent(share: float) -> str:
    """`12 %`; a decimal below ten, so that few are not none."""
    return f"{100 * share:.0f} %" if share >= 0.1 or not share else f"{100 * share:.1f} %"


def _counted(count: int, noun: str, plural: str | None = None) -> str:
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def _evaluation(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """The mAP of every stage, and of every class its average precision at every stage."""
    stages = evaluation["stages"]
    shown = [name for name in STAGES if name in stages]
    by_stage = {
        name: {row["name"]: row["average_precision"] for row in stages[name]["classes"]}
        for name in shown
    }
    return {
        "stages": [
            {
                "name": STAGES[name],
                "bar": bar(stages[name]["map"] or 0),
                "value": f"{points(stages[name]['map'])} mAP",
            }
            for name in shown
        ],
        "names": [STAGES[name] for name in shown],
        "classes": [
            {
                "name": row["name"],
                "support": f"{row['support']:,}",
                "figures": [points(by_stage[name].get(row["name"])) for name in shown],
            }
            for row in evaluation["classes"]
        ],
    }
