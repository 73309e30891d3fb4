"""`ccd predictions`: what a student says of new images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.command_line import JsonOption
from app.commands.connection import KeyOption, UrlOption, connected, sendable, watching
from app.commands.labels import FormatOption, LabelFormat, OutOption, RowsOption, print_labels
from app.commands.printing import print_fields, print_json, say
from app.exit_codes import MEANINGS

if TYPE_CHECKING:
    from ccd_client import Prediction

commands = typer.Typer(help="What a student says of new images.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(metavar="PREDICTION", help="Its id: pred_...")]


@commands.command(epilog=MEANINGS)
def create(
    student: Annotated[str, typer.Argument(metavar="STUDENT", help="Its id: stu_...")],
    files: Annotated[
        list[Path] | None, typer.Argument(help="A folder, a zip file, or images, which are sent.")
    ] = None,
    *,
    dataset: Annotated[str | None, typer.Option(help="Or a dataset: ds_...")] = None,
    name: Annotated[str | None, typer.Option(help="What it is called.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until it is there, and print rows.")
    ] = False,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a student about images, and print the prediction's id."""
    if bool(files) == (dataset is not None):
        raise typer.BadParameter("give either FILES or --dataset")
    sent = sendable(files) if files else None
    with connected(url, key) as client:
        found = client.students.get(student).predict(sent, dataset=dataset, name=name)
        if wait:
            with watching(f"it goes on: `ccd predictions show {found.id}` shows it"):
                found.wait().check()
            wanted = LabelFormat.NDJSON if as_json else LabelFormat.TABLE
            print_labels(found.labels(), wanted, limit=None, out=None)
        else:
            print_json(found) if as_json else print(found.id)


@commands.command(epilog=MEANINGS)
def show(
    prediction: IdArgument,
    *,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how far a prediction is."""
    with connected(url, key) as client:
        found = client.predictions.get(prediction)
        print_json(found) if as_json else print_fields(_fields(found))


@commands.command(epilog=MEANINGS)
def labels(
    prediction: IdArgument,
    *,
    format: FormatOption = LabelFormat.TABLE,
    limit: RowsOption = None,
    out: OutOption = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the rows of a prediction."""
    wanted = LabelFormat.NDJSON if as_json else format
    with connected(url, key) as client:
        found = client.predictions.get(prediction).wait().check()
        print_labels(found.labels(), wanted, limit=limit, out=out)


def _fields(prediction: "Prediction") -> dict[str, Any]:
    if prediction.error is not None:
        say(str(prediction.error))
    return {
        "prediction": prediction.id,
        "status": prediction.status,
        "student": prediction.student_id,
        "dataset": prediction.dataset_id,
        "percent": prediction.progress.percent,
        "created": prediction.created_at,
        "name": prediction.name,
    }
