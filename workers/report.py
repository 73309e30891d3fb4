"""The phase `report`: what can be said of a job without truth, as JSON and as a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog

from models.evidence import Evidence
from models.health import Finding, Severity, findings
from models.samples import choose
from models.vitals import NamePair, Pair, Vitals, looks_like_none, take_vitals
from workers.durable import write_durably
from workers.files import HEALTH, PAGE, POLICY, read_json, write_json
from workers.gallery import Gallery, Picture
from workers.job_files import JobFiles
from workers.page import content_policy, render
from workers.page_content import Told
from workers.units import Finished, JobUnit
from workers.version import code_version
from workers.worker import Halted

logger = structlog.get_logger()

#: Raised when the same job would give another report.
REPORT_VERSION = 4

#: Raised when a reader of the old health.json would misread the new one.
FORMAT = {"name": "ccd-health", "version": 1}

#: Images of each group of the gallery: four groups are about a megabyte of page.
GROUP_SIZE = 12
#: The lists of `models.samples.Samples`, and what they are called.
GROUPS = {
    "surest": (
        "Surest",
        "Of the labelled images in no group below those farthest from thresholds, class by class.",
    ),
    "doubtful": ("Most doubtful", "Scores next to their thresholds: these labels may be others."),
    "disagreed": (
        "Teacher and student disagree",
        "The student has labels that it was not taught, or lacks some that it was.",
    ),
    "none": (
        "None of the classes",
        "The teacher sees nothing that was asked for; the least likely come first.",
    ),
}

#: A warning of an earlier phase that says what a finding says.
TOLD_BY = {"never_fires": "no_threshold"}


@dataclass(frozen=True)
class Report:
    """What is written of one job."""

    page: str
    health: dict[str, Any]


def shown_images(num_images: int) -> int:
    """How many images a gallery shows at most."""
    return min(num_images, GROUP_SIZE * len(GROUPS))


def report(unit: JobUnit) -> Finished:
    """The report of a job. One that cannot be made is a warning, and no failure of the job."""
    warnings, shown = list(unit.facts.get("warnings", [])), shown_images(len(unit.files))
    try:
        name, found = _publish(unit)
    except Halted:
        raise
    except Exception as error:
        logger.exception("report.failed")
        failed = {
            "code": "report_failed",
            "classes": [],
            "message": f"the health report could not be made: {_reason(error)}",
        }
        return Finished("", shown, facts={"warnings": [*warnings, failed]})
    return Finished(
        name,
        shown,
        facts={"warnings": [*warnings, *_as_warnings(found, warnings)]},
        reused=unit.was_there,
    )


def build(
    files: JobFiles,
    *,
    on_image: Callable[[int], object] = lambda _: None,
    evaluation: Mapping[str, Any] | None = None,
) -> Report:
    """The report of a job from the files that it left.

    Args:
        files: of the job.
        on_image: told now and then how many images of the gallery are done; may raise.
        evaluation: as docs/evaluation.md describes it, to be shown too.
    """
    evidence = files.evidence(on_shard=lambda: on_image(0))
    vitals = take_vitals(evidence, files.views)
    found = findings(vitals)
    page = render(
        Told(
            job_id=files.job_id,
            name=files.request.get("name"),
            images=files.facts["counts"]["images"],
            vitals=vitals,
            findings=found,
            curve=files.facts["curve"],
            selected_epoch=files.facts["metrics"]["selected_epoch"],
            gallery=_gallery(files, evidence, on_image),
            settings=_settings(files),
            lead=_lead(files),
            footer=f"Written by ccd-service {code_version()}.",
            class_order=files.class_order,
            evaluation=evaluation,
        )
    )
    return Report(page, health(files, vitals, found))


def health(files: JobFiles, vitals: Vitals, found: Sequence[Finding]) -> dict[str, Any]:
    """The figures and findings as JSON; classes in the user's order."""
    by_class = [
        {
            "name": name,
            "bias": {"factor": vitals.bias_factors[i], "images": vitals.bias_images[i]},
            "first_share": vitals.first_shares[i],
            "sightings": vitals.sightings[i],
            "positives": vitals.positives[i],
            "labelled": vitals.fired[i],
            "threshold": vitals.thresholds[i],
            "agreement": vitals.class_agreement[i],
            "histogram": vitals.histograms[i],
        }
        for _, i, name in sorted(
            zip(files.class_order, range(len(vitals.names)), vitals.names, strict=True)
        )
    ]
    return {
        "format": FORMAT,
        "job_id": files.job_id,
        "images": {"files": files.facts["counts"]["images"], "distinct": vitals.num_images},
        "low_entropy": {"share": vitals.low_entropy, "max_nats": vitals.max_entropy},
        "sure": vitals.sure,
        "background_share": vitals.background_share,
        "unseen_share": vitals.unseen_share,
        "agreement": vitals.agreement,
        "labels_per_image": vitals.labels_per_image,
        "classes": by_class,
        "together": [_pair_of(pair, vitals.names) for pair in vitals.pairs],
        "nearest_names": [_pair_of(pair, vitals.names) for pair in vitals.name_pairs],
        "findings": [finding.to_dict() for finding in found],
    }


def write_page(path: Path, page: str) -> None:
    """The page as a file; what no UTF-8 can hold is written as an escape."""
    write_durably(path, page.encode("utf-8", "backslashreplace"))


def _publish(unit: JobUnit) -> tuple[str, list[dict[str, Any]]]:
    """Name of the folder with the report, and the findings in it."""
    if unit.is_last_resort:
        raise ReportGivenUp(unit.claim.attempt - 1)
    files = JobFiles(
        unit.folder, unit.job_id, unit.request, unit.facts, unit.outputs, files=unit.files
    )

    def make(staging: Path) -> None:
        for output in filter(None, unit.outputs.values()):
            unit.whole(output)
            unit.on_batch(0)
        made = build(files, on_image=unit.on_batch)
        write_json(staging / HEALTH, made.health)
        write_page(staging / PAGE, made.page)
        write_page(staging / POLICY, content_policy())

    outputs = [[*key, name] for key, name in sorted(unit.outputs.items())]
    told = unit.job_id, unit.request.get("name"), outputs
    name = unit.produce(f"report-{unit.digest(REPORT_VERSION, code_version(), *told)}", make)
    return name, read_json(unit.folder.phase(name) / HEALTH)["findings"]


class ReportGivenUp(Exception):
    """Making the report took its worker down again and again."""

    def __init__(self, attempts: int) -> None:
        super().__init__(f"its worker was lost in each of {attempts} attempts")


def _as_warnings(
    found: Sequence[Mapping[str, Any]], warnings: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The severe findings as warnings of the job, but for what it has been warned of already."""
    told = {(warning["code"], name) for warning in warnings for name in warning["classes"]}
    return [
        {
            "code": finding["code"],
            "classes": finding["classes"],
            "message": finding["message"],
            "hint": finding["advice"],
        }
        for finding in found
        if finding["severity"] == Severity.WARNING and not _is_told(finding, told)
    ]


def _is_told(finding: Mapping[str, Any], told: set[tuple[str, str]]) -> bool:
    """Whether an earlier warning says the same of all classes of the finding."""
    code = TOLD_BY.get(finding["code"], finding["code"])
    classes = finding["classes"]
    return bool(classes) and all((code, name) in told for name in classes)


def _reason(error: Exception) -> str:
    """What a user is told: errors of ours speak for themselves."""
    is_ours = isinstance(error, ReportGivenUp) or hasattr(error, "code")
    return str(error) if is_ours else f"an unexpected {type(error).__name__}; the log has more"


def _gallery(
    files: JobFiles, evidence: Evidence, on_image: Callable[[int], object]
) -> list[tuple[str, str, list[Picture]]]:
    """The groups of sampled images."""
    groups = vars(choose(evidence, looks_like_none(evidence), GROUP_SIZE))
    positions = [position for group in groups.values() for position in group]
    pictures = Gallery(files, evidence).pictures(positions, on_image)
    return [(*GROUPS[name], [pictures[p] for p in group]) for name, group in groups.items()]


def _lead(files: JobFiles) -> str:
    config, counts = files.config, files.facts["counts"]
    classes = len(files.names)
    return (
        f"{counts['images']:,} images and {classes:,} class{'' if classes == 1 else 'es'}, "
        f"labelled by the teacher {config.teacher} and learned by the student {config.student}."
    )


def _settings(files: JobFiles) -> dict[str, Any]:
    told = {"preset": files.request.get("preset"), **files.config.to_dict()}
    return {name: value for name, value in told.items() if value is not None}


def _pair_of(pair: Pair | NamePair, names: Sequence[str]) -> dict[str, Any]:
    """A pair of classes by name, with its figures."""
    told = asdict(pair)
    return {"classes": [names[told.pop("a")], names[told.pop("b")]], **told}
