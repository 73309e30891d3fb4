"""`ccd predict`: a student's labels for a folder of images, with neither service nor teacher."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import torch

from workers.files import DataFolder, DiskFull, disk_guard
from workers.folder_run import FolderRun, LabellingStudent, PredictFailed, open_student
from workers.label_rows import csv_header, csv_lines, ndjson_lines
from workers.paths import walk
from workers.sandbox import Sandbox, usable_cores
from workers.settings import Settings

#: Exit codes beside 0. A wrong command line is 2; in a partial result some images have no row.
EXIT_FAILED, EXIT_PARTIAL, EXIT_INTERRUPTED = 1, 5, 130

FORMATS = ("csv", "ndjson")


def predict_folder(
    student: LabellingStudent, folder: Path, output: BinaryIO, *, format: str, settings: Settings
) -> FolderRun:
    """Write a row for every usable image below `folder`; what came of it.

    Raises:
        DiskFull: of the output.
    """
    threads = settings.threads or usable_cores()
    torch.set_num_threads(threads)
    top = folder.resolve()
    with Sandbox(max_pixels=settings.max_pixels, children=threads) as sandbox:
        run = FolderRun(student, sandbox.verdicts(walk(top, [top])), threads=threads)
        if format == "csv":
            output.write(csv_header(student.names))
        for rows in run.batches():
            output.write(csv_lines(rows) if format == "csv" else ndjson_lines(rows))
            _show_progress(run.rows)
    return run


@contextmanager
def _open_output(out: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that is there whole or not at all."""
    if out is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    partial = out.with_name(f".{out.name}.part")
    try:
        with disk_guard(out.parent), partial.open("wb") as file:
            yield file
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: `python -m workers.predict_folder`; the exit code."""
    asked = _parse(arguments)
    settings, started = Settings(), time.monotonic()
    try:
        student = open_student(asked.student, DataFolder(settings.data))
        with _open_output(asked.out) as output:
            run = predict_folder(
                student, asked.folder, output, format=_format_of(asked), settings=settings
            )
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except KeyboardInterrupt:
        return _tell("interrupted", EXIT_INTERRUPTED)
    except (PredictFailed, DiskFull, OSError) as error:
        return _tell(str(error), EXIT_FAILED)
    _report(run, time.monotonic() - started)
    if not run.rows:
        return _tell(f"{asked.folder} has no image that can be used", EXIT_FAILED)
    return EXIT_PARTIAL if run.has_bad_images else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ccd predict", description=__doc__)
    parser.add_argument("student")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--format", choices=FORMATS)
    return parser.parse_args(arguments)


def _format_of(asked: argparse.Namespace) -> str:
    """As asked for, else as the name of the output ends."""
    is_lines = asked.out is not None and asked.out.suffix in {".ndjson", ".jsonl"}
    return asked.format or ("ndjson" if is_lines else "csv")


def _report(run: FolderRun, seconds: float) -> None:
    for file, refusal in run.skipped:
        print(f"skipped {json.dumps(file.name)}: {refusal.code}, {refusal}", file=sys.stderr)
    reasons = Counter(refusal.code for _, refusal in run.skipped)
    listed = ", ".join(f"{code} {count:,}" for code, count in sorted(reasons.items()))
    print(
        f"{run.rows:,} images, {run.duplicates:,} of them with the bytes of another; "
        f"{len(run.skipped):,} files skipped{f' ({listed})' if listed else ''}; "
        f"{run.rows / max(seconds, 1e-9):,.1f} images/s",
        file=sys.stderr,
    )


def _show_progress(done: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done:,} images\r", end="", file=sys.stderr, flush=True)


def _tell(message: str, code: int) -> int:
    print(f"ccd predict: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
