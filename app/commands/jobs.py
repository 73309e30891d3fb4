"""`ccd jobs`: runs of the method."""

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
    sure,
    watching,
)
from app.commands.printing import print_fields, print_json, print_line, print_table, say, shown
from app.exit_codes import MEANINGS

if TYPE_CHECKING:
    from ccd_client import Client, Job
    from ccd_client.models import JobEstimate, LogLine

commands = typer.Typer(help="Runs of the method over a dataset.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(metavar="JOB", help="Its id: job_...")]
ClassesOption = Annotated[
    str, typer.Option(help="What to look for: cat,dog,bus or @FILE with a name per line.")
]
DatasetOption = Annotated[str | None, typer.Option(help="A dataset: ds_...")]
FolderOption = Annotated[
    Path | None, typer.Option(help="Or a folder of the service's machine, registered first.")
]
PresetOption = Annotated[
    str | None, typer.Option(help="paper, released, balanced, fast, offline or tiny.")
]
ConfigOption = Annotated[
    list[str] | None, typer.Option(help="A setting of the method, name=value; repeat for more.")
]


@commands.command(epilog=MEANINGS)
def create(
    *,
    classes: ClassesOption,
    dataset: DatasetOption = None,
    folder: FolderOption = None,
    preset: PresetOption = None,
    config: ConfigOption = None,
    name: Annotated[str | None, typer.Option(help="What it is called.")] = None,
    priority: Annotated[str | None, typer.Option(help="low, normal or high.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it until it ends.")] = False,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a job and print its id."""
    with connected(url, key) as client:
        job = client.jobs.create(
            **_wanted(classes, dataset, folder, preset, config), name=name, priority=priority
        )
        if not (watch and as_json):
            print_json(job) if as_json else print(job.id)
        if watch:
            _watch(client, job, as_json=as_json)


@commands.command(epilog=MEANINGS)
def estimate(
    *,
    classes: ClassesOption,
    dataset: DatasetOption = None,
    folder: FolderOption = None,
    preset: PresetOption = None,
    config: ConfigOption = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what a job would take; nothing is created."""
    with connected(url, key) as client:
        found = client.jobs.estimate(**_wanted(classes, dataset, folder, preset, config))
        print_json(found) if as_json else print_fields(_estimated(found))


@commands.command("list", epilog=MEANINGS)
def list_jobs(
    *,
    limit: LimitOption = 20,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first."""
    with connected(url, key) as client:
        found = client.jobs.list().take(limit)
        print_json(found) if as_json else print_table(map(_row, found))


@commands.command(epilog=MEANINGS)
def show(
    job: IdArgument, *, url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False
) -> None:
    """Show one job."""
    with connected(url, key) as client:
        found = client.jobs.get(job)
        print_json(found) if as_json else print_fields(_fields(found))


@commands.command(epilog=MEANINGS)
def watch(
    job: IdArgument, *, url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False
) -> None:
    """Show a job until it ends; the exit code tells how. Ctrl-C leaves the job alone.

    With --json every event is a line.
    """
    with connected(url, key) as client:
        _watch(client, client.jobs.get(job), as_json=as_json)


@commands.command(epilog=MEANINGS)
def events(
    job: IdArgument,
    *,
    after: Annotated[int | None, typer.Option(min=0, help="Only those after this seq.")] = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what happens to a job, as it happens, until it ends; a line an event."""
    with connected(url, key) as client:
        for event in client.jobs.get(job).events(after=after):
            if as_json:
                print_line(event)
            else:
                print(event.seq or "-", shown(event.at), event.type, _brief(event.data), flush=True)


@commands.command(epilog=MEANINGS)
def logs(
    job: IdArgument,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until the job is over.")
    ] = False,
    level: Annotated[
        str | None, typer.Option(help="info, warning or error: these and worse.")
    ] = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the log of a job."""
    with connected(url, key) as client:
        lines = client.jobs.get(job).logs(level=level)
        for line in lines.follow() if follow else lines:
            print_line(line) if as_json else print(_log_line(line), flush=True)


@commands.command(epilog=MEANINGS)
def metrics(
    job: IdArgument,
    *,
    name: Annotated[str | None, typer.Option(help="One metric alone, e.g. loss.")] = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the figures of a job over its epochs."""
    from app.run_display import sparkline

    with connected(url, key) as client:
        found = client.jobs.get(job).curves(name)
        if as_json:
            print_json(found)
            return
        values = {one.name: [p.value for p in one.points if p.value is not None] for one in found}
        print_table(
            {"metric": name, "last": points[-1], "epochs": len(points), "curve": sparkline(points)}
            for name, points in values.items()
            if points
        )


@commands.command(epilog=MEANINGS)
def cancel(
    job: IdArgument, *, url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False
) -> None:
    """Cancel a job; what is done is kept."""
    with connected(url, key) as client:
        found = client.jobs.get(job).cancel()
        print_json(found) if as_json else print(f"{found.id} is {found.status}")


@commands.command(epilog=MEANINGS)
def retry(
    job: IdArgument, *, url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False
) -> None:
    """Start a failed or cancelled job once more, and print the new id; what is done is used."""
    with connected(url, key) as client:
        found = client.jobs.get(job).retry()
        _say_warnings(found)
        print_json(found) if as_json else print(found.id)


@commands.command(epilog=MEANINGS)
def delete(
    job: IdArgument,
    *,
    yes: YesOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a job that has ended, and its files."""
    sure(f"delete {job}, its labels and its student?", yes=yes)
    with connected(url, key) as client:
        receipt = client.jobs.get(job).delete()
        print_json(receipt) if as_json else print_fields(receipt.model_dump())


def _wanted(
    classes: str,
    dataset: str | None,
    folder: Path | None,
    preset: str | None,
    config: list[str] | None,
) -> dict[str, Any]:
    from app.run_command import parse_classes, parse_config

    return {
        "classes": parse_classes(classes),
        "dataset": dataset,
        "folder": folder,
        "preset": preset,
        "config": parse_config(config or ()) or None,
    }


def _estimated(found: "JobEstimate") -> dict[str, Any]:
    from app.run_display import clock, short_bytes

    _say_warnings(found)
    seconds = {name: value for name, value in (found.seconds or {}).items() if value is not None}
    return {
        "images": found.images,
        "teacher passes": found.teacher_passes,
        **{f"time, {name}": clock(value) for name, value in seconds.items()},
        "disk": None if found.disk_bytes is None else short_bytes(found.disk_bytes),
        "basis": found.basis,
    }


def _watch(client: "Client", job: "Job", *, as_json: bool) -> None:
    """Show it to its end, which becomes the end of the command."""
    from rich.console import Console

    from app.commands.watch import follow, going_on
    from app.run_display import RunDisplay

    with watching(going_on(job)):
        if as_json:
            job.wait(on_event=print_line).check()
            return
        with RunDisplay(Console()) as display:
            follow(job, client, display)
    job.check()
    print(f"{job.id} succeeded, student {job.student_id}")


def _row(job: "Job") -> dict[str, Any]:
    return {
        "job": job.id,
        "status": job.status,
        "phase": job.phase,
        "percent": f"{job.progress.percent:.0f} %",
        "created": job.created_at,
        "classes": len(job.classes),
        "name": job.name,
    }


def _fields(job: "Job") -> dict[str, Any]:
    from app.run_display import describe_progress

    _say_warnings(job)
    if job.error is not None:
        say(str(job.error))
    return {
        **_row(job),
        "classes": [spec.name for spec in job.classes],
        "dataset": job.dataset_id,
        "preset": job.preset,
        "progress": "" if job.terminal else describe_progress(job.progress),
        "position": job.queue and job.queue.position,
        "waits for": job.queue and job.queue.waiting_for,
        "student": job.student_id,
        "retry of": job.retry_of,
        "metrics": {name: value for name, value in job.metrics.items() if name != "curve"},
        "metadata": job.metadata,
        "finished": job.finished_at,
    }


def _say_warnings(found: "Job | JobEstimate") -> None:
    for warning in found.warnings:
        say(f"warning: {warning}")


def _brief(content: dict[str, Any]) -> str:
    """What an event adds; a whole job is told by its status."""
    return shown({"status": content.get("status")} if "classes" in content else content)


def _log_line(line: "LogLine") -> str:
    where = [line.phase, None if line.unit is None else f"unit {line.unit}"]
    told = [shown(line.at), line.level, line.event, *filter(None, where)]
    return " ".join([*told, *(f"{name}={shown(value)}" for name, value in line.fields.items())])
