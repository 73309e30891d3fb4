"""`ccd evaluate`: a job against a truth, from the data folder alone."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workers.archives import ArchiveRejected, is_zip
from workers.evaluation_table import print_evaluation
from workers.evaluations import publish, read_evaluation
from workers.files import DataFolder, write_json
from workers.results import JobUnreadable, open_job
from workers.sandbox import usable_cores
from workers.settings import Settings
from workers.truth.read import read_truth
from workers.truth.source import unpack_truth
from workers.truth.truth import TruthError

EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 done, 1 the truth or the job is unusable, 2 wrong options, 130 stopped."""
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
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
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
