"""`ccd labels`: what was found on the images."""

import shutil
import sys
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.command_line import JsonOption
from app.commands.connection import KeyOption, UrlOption, connected
from app.commands.printing import print_line, print_table, say

if TYPE_CHECKING:
    from ccd_client.models import LabelRow

#: Scores of one image that a table shows.
SHOWN_SCORES = 3
#: Rows of a table, unless told otherwise.
SHOWN_ROWS = 50


class LabelFormat(StrEnum):
    """How label rows are written."""

    TABLE = "table"
    CSV = "csv"
    NDJSON = "ndjson"


FormatOption = Annotated[
    LabelFormat,
    typer.Option(help="table has the first rows; the others have all, with all scores."),
]
OutOption = Annotated[
    Path | None,
    typer.Option(dir_okay=False, help="A .csv or .ndjson file, there whole or not at all."),
]
StageOption = Annotated[
    str | None, typer.Option(help="global, debiased, local, pseudo or student [student].")
]
ClassOption = Annotated[
    str | None, typer.Option("--class", help="The class that min and max score are about.")
]
MinScoreOption = Annotated[float | None, typer.Option(help="Rows with this score or more.")]
MaxScoreOption = Annotated[float | None, typer.Option(help="Rows with this score or less.")]
LabelCountOption = Annotated[int | None, typer.Option(help="Rows with so many labels.")]
DisagreeOption = Annotated[
    str | None, typer.Option(help="Rows on which two stages differ: STAGE,STAGE.")
]
RowsOption = Annotated[int | None, typer.Option("--limit", min=1, help="Rows at most.")]


def labels(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Its id: job_...")],
    *,
    stage: StageOption = None,
    class_: ClassOption = None,
    min_score: MinScoreOption = None,
    max_score: MaxScoreOption = None,
    label_count: LabelCountOption = None,
    disagree: DisagreeOption = None,
    sort: Annotated[
        str | None,
        typer.Option(help="path, uncertainty or score:NAME; -uncertainty, -score:NAME turn it."),
    ] = None,
    format: FormatOption = LabelFormat.TABLE,
    limit: RowsOption = None,
    out: OutOption = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the labels of a job. The most doubtful first: --sort=-uncertainty."""
    filters: dict[str, Any] = {
        "stage": stage,
        "class_": class_,
        "min_score": min_score,
        "max_score": max_score,
        "label_count": label_count,
        "disagree": disagree.split(",") if disagree else None,
        "sort": sort,
    }
    wanted = LabelFormat.NDJSON if as_json else format
    with connected(url, key) as client:
        print_labels(client.jobs.get(job).labels(**filters), wanted, limit=limit, out=out)


def print_labels(found: Any, format: LabelFormat, *, limit: int | None, out: Path | None) -> None:
    """Label rows of a job or prediction, as asked for."""
    if out is not None:
        _save(found, out)
    elif format is LabelFormat.TABLE:
        rows = found.take(limit or SHOWN_ROWS)
        print_table(map(_row, rows))
        if limit is None and len(rows) == SHOWN_ROWS:
            say(f"the first {SHOWN_ROWS}; --limit shows more, --format csv has all")
    elif limit is not None:
        if format is LabelFormat.CSV:
            raise typer.BadParameter("--limit is for table and ndjson; csv has all rows")
        for row in found.take(limit):
            print_line(row)
    else:
        _stream(found, format)


def _save(found: Any, out: Path) -> None:
    if out.suffix.lower() not in {".csv", ".ndjson", ".jsonl"}:
        raise typer.BadParameter(f"--out ends in .csv or .ndjson, is {out}")
    print(found.save(out))


def _stream(found: Any, format: LabelFormat) -> None:
    """All rows as the service writes them; nothing is printed of an answer that breaks off."""
    with TemporaryDirectory() as folder:
        path = found.save(Path(folder) / f"labels.{format}")
        with path.open("rb") as file:
            sys.stdout.flush()
            shutil.copyfileobj(file, sys.stdout.buffer)


def _row(row: "LabelRow") -> dict[str, Any]:
    highest = sorted(row.scores.items(), key=lambda one: -one[1])[:SHOWN_SCORES]
    return {
        "image": row.image_id,
        "path": row.path,
        "labels": row.labels,
        "highest scores": ", ".join(f"{name} {score:.3f}" for name, score in highest),
    }
