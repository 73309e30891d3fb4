"""`ccd export`: the labels of a job as a file for other tools."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.command_line import JsonOption
from app.commands.connection import KeyOption, UrlOption, connected, watching
from app.commands.labels import (
    ClassOption,
    DisagreeOption,
    LabelCountOption,
    MaxScoreOption,
    MinScoreOption,
    StageOption,
)
from app.commands.printing import print_json, say

if TYPE_CHECKING:
    from ccd_client import Export


def export(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Its id: job_...")],
    *,
    format: Annotated[
        str,
        typer.Option(help="csv, csv_wide, parquet, jsonl, coco, label_studio or yolo_cls."),
    ],
    stage: StageOption = None,
    class_: ClassOption = None,
    min_score: MinScoreOption = None,
    max_score: MaxScoreOption = None,
    label_count: LabelCountOption = None,
    disagree: DisagreeOption = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="yolo_cls needs one, for images of several labels: top1 keeps the label with the "
            "highest score and loses the others; duplicate puts the image into the folder of each "
            "and loses none, but shows it as often; skip loses the image."
        ),
    ] = None,
    image_prefix: Annotated[
        str | None, typer.Option(help="For label_studio: what stands before the path of an image.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Where the file goes: a folder, or a name of your own.")
    ] = Path(),
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the labels of a job for another tool, and save the file."""
    from rich.console import Console

    from app.run_display import RunDisplay, show_received

    options: dict[str, Any] = {
        "stage": stage,
        "class_": class_,
        "min_score": min_score,
        "max_score": max_score,
        "label_count": label_count,
        "disagree": disagree.split(",") if disagree else None,
        "policy": policy,
        "image_prefix": image_prefix,
    }
    with connected(url, key) as client:
        with RunDisplay(Console(stderr=True)) as display:
            found = client.jobs.get(job).export(format, **options)
            with watching("the export goes on: the same command saves its file"):
                found.wait(
                    on_change=lambda now: display.show("export", now.progress.percent)
                ).check()
            saved = found.download(out, on_progress=show_received(display))
        _tell_losses(found)
        print_json(found) if as_json else print(saved)


def _tell_losses(export: "Export") -> None:
    """What the format could not hold."""
    losses: dict[str, Any] = export.losses or {}
    if losses.get("images") or losses.get("labels"):
        say(f"left out: {losses.get('labels', 0):,} labels, {losses.get('images', 0):,} images")
    for note in losses.get("notes") or ():
        say(f"note: {note}")
