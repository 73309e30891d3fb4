"""Evaluations as they are kept: published once, found again by their inputs or as the newest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from workers.digests import digest_of
from workers.evaluation import EVALUATION_VERSION, evaluate_job
from workers.files import CURVES, EVALUATION, DataFolder, read_json, write_json
from workers.joined import digest_of_truth
from workers.results import JobResults
from workers.stages import Stage
from workers.truth.truth import Truth

#: In a job's folder: the name of the output with its newest evaluation.
NEWEST = "evaluation.json"


def publish(
    results: JobResults,
    truth: Truth,
    *,
    class_map: Mapping[str, str | None] | None,
    nonce: str,
    threads: int = 1,
    on_images: Callable[[int], None] = lambda _: None,
) -> str:
    """Name of the output folder with the evaluation, made now unless it is there already.

    The job's folder then names it as the newest one: see `newest_evaluation`.
    """
    folder = results.folder
    thresholds = results.thresholds(Stage.STUDENT)
    assert thresholds is not None, "a student has thresholds"
    digest = digest_of(
        EVALUATION_VERSION,
        results.job_id,
        [str(threshold) for threshold in thresholds.tolist()],
        digest_of_truth(truth),
        sorted((class_map or {}).items()),
    )

    def make(staging: Path) -> None:
        evaluation, curves = evaluate_job(
            results, truth, class_map=class_map, threads=threads, on_images=on_images
        )
        write_json(staging / EVALUATION, evaluation)
        write_json(staging / CURVES, curves)

    name = folder.produce(f"evaluate-{digest}", make, nonce=nonce)
    write_json(folder.job(results.job_id) / NEWEST, {"output": name})
    return name


def newest_evaluation(folder: DataFolder, job_id: str) -> dict[str, Any] | None:
    """The evaluation of a job that was made last, with its `curves`; None without one."""
    try:
        name = read_json(folder.job(job_id) / NEWEST)["output"]
    except FileNotFoundError:
        return None
    return read_evaluation(folder, name)


def read_evaluation(folder: DataFolder, name: str) -> dict[str, Any] | None:
    """The evaluation in an output folder, with its `curves`; None where it is damaged."""
    output = folder.phase(name)
    if not folder.is_complete(output):
        return None
    found: dict[str, Any] = read_json(output / EVALUATION)
    return {**found, "curves": read_json(output / CURVES)}


def facts_of(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """What the record says of an evaluation; the rest is in its files."""
    return {
        "counts": evaluation["counts"],
        "map": {stage: found["map"] for stage, found in evaluation["stages"].items()},
        "warnings": evaluation["warnings"],
    }
