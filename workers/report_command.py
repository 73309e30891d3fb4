"""`ccd report`: the page of a finished job again, from the data folder, without a service."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from workers.evaluations import newest_evaluation
from workers.files import PAGE, DataFolder
from workers.job_files import JobFiles
from workers.report import build, write_page
from workers.results import JobUnreadable
from workers.sandbox import usable_cores
from workers.settings import Settings

EXIT_INTERRUPTED = 130


class NoEvaluation(Exception):
    """A file that is not what `ccd evaluate` writes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m workers.report_command`: 0 done, 1 the job or a file is unusable, 130 stopped."""
    options = _parser().parse_args(arguments)
    settings = Settings(**({"data": options.data} if options.data else {}))
    torch.set_num_threads(settings.threads or usable_cores())
    folder = DataFolder(settings.data)
    try:
        files = JobFiles.of_finished(folder, options.job)
        evaluation = (
            _read_evaluation(options.evaluation)
            if options.evaluation
            else newest_evaluation(folder, options.job)
        )
        write_page(options.out, build(files, evaluation=evaluation).page)
    except (JobUnreadable, NoEvaluation, OSError) as error:
        hint = getattr(error, "hint", None)
        sys.stderr.write("\n".join(filter(None, [f"ccd report: {error}", hint, ""])))
        return 1
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    sys.stdout.write(f"{options.out}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ccd report", description=__doc__)
    parser.add_argument("job", help="id of a job that has succeeded")
    parser.add_argument(
        "--evaluation", type=Path, help="what `ccd evaluate JOB --out` wrote; else the newest"
    )
    parser.add_argument("--out", type=Path, default=Path(PAGE), help=f"the page; {PAGE}")
    parser.add_argument("--data", type=Path, help="the data folder [CCD_DATA; ./ccd-data]")
    return parser


def _read_evaluation(path: Path) -> Mapping[str, Any]:
    """The evaluation in a file.

    Raises:
        NoEvaluation: it holds something else.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
        stages = found["stages"].values()
        assert all("map" in stage and "classes" in stage for stage in stages)
        assert all("support" in row for row in found["classes"])
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise NoEvaluation(f"{path} is no evaluation; write one with `ccd evaluate`") from error
    return found


if __name__ == "__main__":
    sys.exit(main())
