"""`ccd students`: the classifiers that jobs trained."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.command_line import JsonOption
from app.commands.connection import KeyOption, LimitOption, UrlOption, connected
from app.commands.printing import print_fields, print_json, print_table
from app.exit_codes import MEANINGS
from workers.files import ONNX, WEIGHTS

if TYPE_CHECKING:
    from ccd_client import Student

commands = typer.Typer(help="The classifiers that jobs trained.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(metavar="STUDENT", help="Its id: stu_...")]


@commands.command("list", epilog=MEANINGS)
def list_students(
    *,
    limit: LimitOption = 20,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List students, newest first."""
    with connected(url, key) as client:
        found = client.students.list().take(limit)
        print_json(found) if as_json else print_table(map(_row, found))


@commands.command(epilog=MEANINGS)
def show(
    student: IdArgument,
    *,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one student and its thresholds."""
    with connected(url, key) as client:
        found = client.students.get(student)
        print_json(found) if as_json else print_fields(_fields(found))


@commands.command(epilog=MEANINGS)
def download(
    student: IdArgument,
    *,
    out: Annotated[
        Path, typer.Option(dir_okay=False, help="Where it goes; NAME.onnx takes the ONNX file.")
    ] = Path(WEIGHTS),
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Save a student; a download that was cut goes on where it broke off."""
    from rich.console import Console

    from app.run_display import RunDisplay, show_received

    with connected(url, key) as client:
        found = client.students.get(student)
        with RunDisplay(Console(stderr=True)) as display:
            on_progress = show_received(display)
            if out.suffix == Path(ONNX).suffix:
                client.jobs.get(found.job_id).download(ONNX, out, on_progress=on_progress)
            else:
                found.download(out, on_progress=on_progress)
        print_json(found) if as_json else print(out)


def _row(student: "Student") -> dict[str, Any]:
    return {
        "student": student.id,
        "job": student.job_id,
        "network": student.student,
        "classes": len(student.classes),
        "bytes": student.weights and student.weights.bytes,
        "created": student.created_at,
        "name": student.name,
    }


def _fields(student: "Student") -> dict[str, Any]:
    return {
        **_row(student),
        "classes": [spec.name for spec in student.classes],
        "thresholds": student.thresholds,
        "found by": student.threshold_basis,
        "version": student.thresholds_version,
        "teacher": student.teacher,
        "preset": student.preset,
        "sha256": student.weights and student.weights.sha256,
    }
