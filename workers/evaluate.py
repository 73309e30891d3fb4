"""Evaluate a job against a truth: a unit of the `io` lane, and `ccd evaluate` without a service."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workers.archives import ArchiveRejected, is_zip
from workers.digests import digest_of
from workers.evaluation import VERSION, digest_of_truth, evaluate_job
from workers.evaluation_table import print_evaluation
from workers.files import DataFolder, read_json, write_json
from workers.jobs import Claim, Kind
from workers.results import JobResults, JobUnreadable, open_job
from workers.sandbox import usable_cores
from workers.settings import Settings
from workers.stages import Stage
from workers.truth.read import read_truth
from workers.truth.source import place_truth, unpack_truth
from workers.truth.truth import Truth, TruthError
from workers.units import Finished, OnBatch, Workbench

EVALUATION, CURVES = "evaluation.json", "curves.json"
#: In a job's folder: the name of the output with its newest evaluation.
NEWEST = "evaluation.json"


def evaluate_unit(claim: Claim, bench: Workbench, on_batch: OnBatch) -> Finished:
    """The figures of a job against the truth that the request names."""
    request, folder = claim.record.request, bench.folder
    results = open_job(folder, request["job_id"])
    own = folder.of(Kind.EVALUATION, claim.record.id)
    with folder.staging(claim.nonce) as staging:
        path = place_truth(request["truth"], own=own, staging=staging, settings=bench.settings)
        truth = read_truth(path, format=request["format"], split=request["split"])
    on_batch(0)
    name = publish(
        results,
        truth,
        class_map=request["class_map"],
        nonce=claim.nonce,
        threads=bench.threads,
        on_images=on_batch,
    )
    facts = facts_of(read_json(folder.phase(name) / EVALUATION))
    return Finished(name, facts["counts"]["matched"], facts=facts)


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
        VERSION,
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


# The command line


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m workers.evaluate`: 0 done, 1 the truth or the job is unusable, 2 wrong options."""
    options = _parser().parse_args(arguments)
    settings = Settings(**({"data": options.data} if options.data else {}))
    try:
        evaluation = _evaluate(options, settings)
        if options.out:
            write_json(options.out.absolute(), evaluation)
    except (ArchiveRejected, JobUnreadable, OSError, TruthError) as error:
        hint = getattr(error, "hint", None)
        print(f"ccd evaluate: {error}", *([hint] if hint else []), sep="\n", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(evaluation, indent=1))
    else:
        print_evaluation(evaluation)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ccd evaluate", description=__doc__)
    parser.add_argument("job", help="id of a job that has succeeded")
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--format")
    parser.add_argument("--split")
    parser.add_argument("--class", dest="classes", action="append", default=[], type=_mapped)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--json", action="store_true")
    return parser


def _mapped(text: str) -> tuple[str, str | None]:
    """`name=class` as (name, class); without a class the name is left out."""
    name, equals, target = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"must be NAME=CLASS, is {text!r}")
    return name, target or None


def _evaluate(options: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    folder = DataFolder(settings.data)
    results = open_job(folder, options.job)
    with tempfile.TemporaryDirectory(prefix="ccd-truth-") as unpacked:
        path: Path = options.truth
        if path.is_file() and is_zip(path):
            path = unpack_truth(path, Path(unpacked), settings)
        truth = read_truth(path, format=options.format, split=options.split)
    name = publish(
        results,
        truth,
        class_map=dict(options.classes),
        nonce="evaluate",
        threads=settings.threads or usable_cores(),
    )
    evaluation = read_evaluation(folder, name)
    assert evaluation is not None, "it was written a moment ago"
    return evaluation


if __name__ == "__main__":
    sys.exit(main())
