"""The command line: ccd serve, api, worker, run, predict, evaluate, report, reproduce.

app/operating.py has more for operators, app/commands/ what is asked of a running service.
"""

import os
import socket
import sys
from collections.abc import Sequence
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from app.command_line import DataOption, check_redis, fail, settings_of
from app.commands import datasets, export, jobs, keys, labels, predictions, students, workers
from app.commands.connection import KeyOption
from app.exit_codes import MEANINGS
from app.operating import commands
from workers.files import PAGE
from workers.jobs import Lane
from workers.settings import Settings

app = typer.Typer(
    name="ccd",
    help="A folder of unlabelled images and class names in; labels and a trained student out.",
    no_args_is_help=True,
    epilog=f"{MEANINGS} Commands with codes of their own tell them in their --help.",
    pretty_exceptions_enable=False,
)


class LaneName(StrEnum):
    """Which work a worker takes."""

    IO = "io"
    METHOD = "method"


class RowFormat(StrEnum):
    """How label rows are written."""

    CSV = "csv"
    NDJSON = "ndjson"


HostOption = Annotated[
    str | None, typer.Option("--host", help="Address to listen on [CCD_HOST; 127.0.0.1].")
]
PortOption = Annotated[
    int | None,
    typer.Option("--port", min=0, max=65535, help="Port, 0 for any free one [CCD_PORT; 8000]."),
]
NoAuthOption = Annotated[
    bool,
    typer.Option("--no-auth", help="Ask for no keys; on this machine's loopback address alone."),
]


@app.command()
def serve(
    *,
    data: DataOption = None,
    host: HostOption = None,
    port: PortOption = None,
    allow: Annotated[
        list[Path] | None,
        typer.Option("--allow", help="Folder that datasets may come from; repeat for more."),
    ] = None,
    no_auth: NoAuthOption = False,
    first_key: Annotated[
        bool, typer.Option("--first-key/--no-first-key", hidden=True, help="Make and say one.")
    ] = True,
) -> None:
    """Run everything on this machine: Valkey, API and one worker per lane."""
    from app.children import NotStarted
    from app.standalone import CannotServe, serve
    from app.supervisor import ChildKeepsDying
    from workers.eviction import UnsafeRedis
    from workers.files import FolderLocked

    settings = settings_of(
        CCD_DATA=data,
        CCD_HOST=host,
        CCD_ALLOWED_ROOTS=os.pathsep.join(map(str, allow or ())),
        CCD_AUTH="false" if no_auth else None,
    )
    _check_bind(settings)
    try:
        given = settings.port if port is None else port
        serve(settings, port=given, say=_say, first_key=first_key)
    except (CannotServe, ChildKeepsDying, FolderLocked, NotStarted, UnsafeRedis) as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("ended at once; what was running is taken up again at the next start", code=130)


@app.command()
def api(
    *,
    host: HostOption = None,
    port: PortOption = None,
    no_auth: NoAuthOption = False,
    fd: Annotated[int | None, typer.Option(hidden=True, help="A listening socket.")] = None,
) -> None:
    """Run the API alone; CCD_REDIS_URL names the Redis or Valkey."""
    from app.main import create_app
    from app.server import Server, config_of
    from app.standalone import CannotServe, bind
    from workers import fault_points, log

    settings = settings_of(CCD_HOST=host, CCD_AUTH="false" if no_auth else None)
    log.configure(settings.log_format, private=settings.allowed_roots)
    fault_points.arm(settings.faults, settings.fault_marks)
    _need_redis(settings)
    try:
        if fd is None:
            _check_bind(settings)
            listener = bind(settings.host, settings.port if port is None else port)
        else:
            listener = socket.socket(fileno=fd)
    except CannotServe as error:
        fail(str(error))
    config = config_of(create_app(settings), trusted_proxies=settings.trusted_proxies)
    Server(config).run(sockets=[listener])


@app.command()
def worker(
    lane: Annotated[LaneName, typer.Option("--lane", help="io: files; method: the phases.")],
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Run none; exit with 1 if none lives on this host.")
    ] = False,
) -> NoReturn:
    """Run one worker of one lane; CCD_REDIS_URL names the Redis or Valkey."""
    from workers.registry import place
    from workers.settings import NICENESS

    settings = settings_of()
    _need_redis(settings)
    if check:
        _check_worker(settings, lane)
    os.environ["CCD_LANE"] = lane
    if lane is LaneName.METHOD:
        os.environ["CCD_DEVICE"] = _device_of(settings)
    # CUDA counts GPUs as their driver does, so that what is said of GPU 1 is about GPU 1.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    command = [
        *(sys.executable, "-m", "celery", "--quiet", "-A", "workers.tasks:celery_app", "worker"),
        *("-Q", lane, "-n", f"{lane}-{place()}-{os.getpid()}@%h", "--concurrency", "1"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        *("--loglevel", "WARNING"),
    ]
    os.nice(NICENESS)
    os.execv(sys.executable, command)  # noqa: S606 - Celery takes over this process


@app.command(epilog=MEANINGS)
def run(
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, readable=True, help="The images.")
    ],
    *,
    classes: Annotated[
        str, typer.Option(help="What to look for: cat,dog,bus or @FILE with a name per line.")
    ],
    preset: Annotated[
        str | None, typer.Option(help="paper, released, balanced, fast, offline or tiny.")
    ] = None,
    config: Annotated[
        list[str] | None, typer.Option(help="A setting of the method, name=value; repeat for more.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where labels and student go.")] = Path("ccd-out"),
    url: Annotated[
        str | None,
        typer.Option(envvar="CCD_URL", help="The service; else one that runs here, or a new one."),
    ] = None,
    key: KeyOption = None,
) -> None:
    """Label a folder and train a student: the whole journey.

    Ctrl-C asks whether to cancel the job; where nobody can be asked it is cancelled.
    """
    from rich.console import Console

    from app.run_command import Order, parse_classes, parse_config
    from app.run_command import run as run_order

    order = Order(
        folder=folder.resolve(),
        classes=parse_classes(classes),
        preset=preset,
        config=parse_config(config or ()),
        out=out,
        url=url,
        key=key,
    )
    raise typer.Exit(run_order(order, settings_of(), Console()))


@app.command()
def predict(
    student: Annotated[
        str, typer.Argument(help="A student.safetensors, or a stu_ id in the data folder.")
    ],
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, readable=True, help="The images.")
    ],
    *,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Where the rows go; else they are printed.")
    ] = None,
    format: Annotated[
        RowFormat | None, typer.Option(help="By default as OUT ends, csv without one.")
    ] = None,
    data: DataOption = None,
) -> NoReturn:
    """Label a folder with a student: needs no service and no teacher.

    Classes stand as the job of a stu_ id was asked for them; a file has them by name.
    Exit codes: 0 done, 1 nothing could be predicted, 2 wrong command line, 5 done but for images
    that cannot be used, 130 interrupted. Files without a row are told with their reason.
    """
    settings_of(CCD_DATA=data)
    options = {"--out": out, "--format": format}
    given = [f"{name}={value}" for name, value in options.items() if value is not None]
    _become("workers.predict_folder", [*given, "--", student, str(folder)])


@app.command()
def evaluate(
    job: Annotated[str, typer.Argument(help="Id of a job that has succeeded.")],
    *,
    truth: Annotated[
        Path,
        typer.Option(
            exists=True, readable=True, help="CSV, JSON Lines, COCO; VOC, NUS-WIDE or zip."
        ),
    ],
    format: Annotated[
        str | None,
        typer.Option(help="csv, one_hot, jsonl, voc, coco or nus_wide; else told by the content."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Of a VOC or NUS-WIDE, e.g. train; else all there is.")
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class", help="NAME=CLASS: this name of the truth is this class; NAME= leaves it out."
        ),
    ] = None,
    data: DataOption = None,
    out: Annotated[Path | None, typer.Option(help="Write every figure to this JSON file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")] = False,
) -> NoReturn:
    """Compare a job's labels with the truth, stage by stage; needs no running service.

    Exit codes: 0 done, 1 the job or the truth cannot be used, 2 wrong command line, 130 stopped.
    """
    settings_of(CCD_DATA=data)
    options = {"truth": truth, "format": format, "split": split, "out": out}
    arguments = [
        *(f"--{name}={value}" for name, value in options.items() if value),
        *(f"--class={pair}" for pair in classes or ()),
        *(["--json"] if as_json else []),
    ]
    _become("workers.evaluate", [*arguments, "--", job])


@app.command()
def report(
    job: Annotated[str, typer.Argument(help="Id of a job that has succeeded.")],
    *,
    evaluation: Annotated[
        Path | None, typer.Option(help="A file of `ccd evaluate`; else the newest evaluation.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The page.")] = Path(PAGE),
    data: DataOption = None,
) -> NoReturn:
    """Write the health report of a job again; needs no running service.

    Exit codes: 0 done, 1 the job or a file cannot be used, 2 wrong command line, 130 stopped.
    """
    settings_of(CCD_DATA=data)
    options = {"evaluation": evaluation, "out": out}
    given = [f"--{name}={value}" for name, value in options.items() if value]
    _become("workers.report_command", [*given, "--", job])


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def reproduce(context: typer.Context) -> NoReturn:
    """Run the paper's experiments: views, ablation, alpha, headline; each has --help."""
    _become("workers.experiments.main", context.args)


app.add_typer(datasets.commands, name="datasets")
app.add_typer(jobs.commands, name="jobs")
app.add_typer(students.commands, name="students")
app.add_typer(predictions.commands, name="predictions")
app.command(epilog=MEANINGS)(labels.labels)
app.command(epilog=MEANINGS)(export.export)
app.command(epilog=MEANINGS)(workers.workers)
app.add_typer(keys.commands, name="keys")
app.add_typer(commands)


def main() -> None:
    """The console script `ccd`."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # of `| head`, which has seen enough: Python flushes once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _become(module: str, arguments: Sequence[str]) -> NoReturn:
    """Go on as a program of the heavy half, which this process does not import."""
    if find_spec("torch") is None:
        fail("torch is not installed here; install the extra `worker`", code=2)
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - as it says


def _device_of(settings: Settings) -> str:
    """What a worker computes on, decided once, here: its processes, the queue and users hear it."""
    from workers.devices import DeviceUnknown, choose_device

    try:
        return choose_device(settings.device)
    except DeviceUnknown as error:
        fail(f"{error}; see `ccd doctor`")


def _check_worker(settings: Settings, lane: str) -> NoReturn:
    """End with 0 if a worker of the lane on this host was heard within the last lease."""
    from redis import RedisError

    from workers.registry import Registry, is_here
    from workers.store import open_store

    host = socket.gethostname()
    try:
        standings = [entry.standing for entry in Registry(open_store(settings)).list()]
    except RedisError as error:
        # No fault of the worker, which goes on with what it has in hand: nobody should end it.
        _say(f"not known: Redis does not answer: {error}")
        raise typer.Exit from error
    if not any(is_here(one, Lane(lane)) for one in standings):
        fail(f"no worker of lane {lane} on {host} was heard for {settings.lease_seconds:g} s")
    _say(f"a worker of lane {lane} lives on {host}")
    raise typer.Exit


def _need_redis(settings: Settings) -> None:
    """Refuse a Redis that may lose records, and the lack of any."""
    from workers.eviction import UnsafeRedis

    if settings.redis_url is None:
        fail("CCD_REDIS_URL is not set; name a Redis or Valkey, or use `ccd serve`", code=2)
    try:
        check_redis(settings, _say)
    except UnsafeRedis as error:
        fail(str(error))


def _check_bind(settings: Settings) -> None:
    from app.security import UnsafeBind, check_bind

    try:
        check_bind(settings.host, auth=settings.auth)
    except UnsafeBind as error:
        fail(str(error), code=2)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
