"""`ccd datasets`: images that nobody has labelled."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.command_line import JsonOption
from app.commands.connection import (
    KeyOption,
    LimitOption,
    UrlOption,
    YesOption,
    connected,
    sendable,
    sure,
    watching,
)
from app.commands.printing import print_fields, print_json, print_table, say
from app.exit_codes import MEANINGS

if TYPE_CHECKING:
    from ccd_client import Client, Dataset

commands = typer.Typer(help="Images that nobody has labelled.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(metavar="DATASET", help="Its id: ds_...")]


@commands.command(epilog=MEANINGS)
def create(
    files: Annotated[
        list[Path], typer.Argument(metavar="FOLDER...", help="A folder, a zip file, or images.")
    ],
    *,
    name: Annotated[str | None, typer.Option(help="What it is called.")] = None,
    on_server: Annotated[
        bool,
        typer.Option("--on-server", help="Folders of the service's machine; send nothing."),
    ] = False,
    max_bad_fraction: Annotated[
        float | None, typer.Option(help="Share of unusable files above which it fails.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until it is registered.")] = False,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a folder of images, or register one where it lies, and print the dataset's id."""
    with connected(url, key) as client:
        options: dict[str, Any] = {"name": name, "max_bad_fraction": max_bad_fraction}
        if on_server:
            dataset = client.datasets.create(files[0] if len(files) == 1 else files, **options)
        else:
            dataset = _uploaded(client, files, options)
        if wait:
            with watching(f"it goes on: `ccd datasets show {dataset.id}` shows it"):
                dataset.wait().check()
        print_json(dataset) if as_json else print(dataset.id)


@commands.command("list", epilog=MEANINGS)
def list_datasets(
    *,
    limit: LimitOption = 20,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List datasets, newest first."""
    with connected(url, key) as client:
        found = client.datasets.list().take(limit)
        print_json(found) if as_json else print_table(map(_row, found))


@commands.command(epilog=MEANINGS)
def show(
    dataset: IdArgument,
    *,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one dataset."""
    with connected(url, key) as client:
        found = client.datasets.get(dataset)
        print_json(found) if as_json else print_fields(_fields(found))


@commands.command(epilog=MEANINGS)
def images(
    dataset: IdArgument,
    *,
    limit: LimitOption = 20,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the images of a dataset."""
    with connected(url, key) as client:
        found = client.datasets.get(dataset).images().take(limit)
        if as_json:
            print_json(found)
            return
        print_table(
            {
                "image": row.image_id,
                "width": row.width,
                "height": row.height,
                "format": row.format,
                "path": row.path,
            }
            for row in found
        )


@commands.command(epilog=MEANINGS)
def skipped(
    dataset: IdArgument,
    *,
    limit: LimitOption = 20,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the files that cannot be used, and why."""
    with connected(url, key) as client:
        found = client.datasets.get(dataset).skipped().take(limit)
        if as_json:
            print_json(found)
            return
        print_table({"code": row.code, "path": row.path, "message": row.message} for row in found)


@commands.command(epilog=MEANINGS)
def delete(
    dataset: IdArgument,
    *,
    yes: YesOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a dataset; a folder of the server stays as it is.

    Its jobs have no maps and no new yolo_cls exports then, predictions on it have no rows.
    """
    lost = "Its jobs then have no maps and no new yolo_cls exports, predictions on it have no rows."
    sure(f"{lost} Delete {dataset}?", yes=yes)
    with connected(url, key) as client:
        receipt = client.datasets.get(dataset).delete()
        print_json(receipt) if as_json else print_fields(receipt.model_dump())


def _uploaded(client: "Client", files: list[Path], options: dict[str, Any]) -> "Dataset":
    from rich.console import Console

    from app.run_display import RunDisplay, show_sent

    sent = sendable(files, hint="; a path of the server needs --on-server")
    with RunDisplay(Console(stderr=True)) as display:
        return client.datasets.upload(sent, **options, on_progress=show_sent(display))


def _row(dataset: "Dataset") -> dict[str, Any]:
    counts = dataset.counts
    return {
        "dataset": dataset.id,
        "status": dataset.status,
        "images": counts.accepted if counts else None,
        "skipped": counts.skipped if counts else None,
        "created": dataset.created_at,
        "name": dataset.name,
    }


def _fields(dataset: "Dataset") -> dict[str, Any]:
    if dataset.error is not None:
        say(str(dataset.error))
    return {
        **_row(dataset),
        "source": dataset.source,
        "bytes": dataset.bytes,
        "formats": dataset.formats,
        "percent": None if dataset.is_over else dataset.progress.percent,
        "finished": dataset.finished_at,
    }
