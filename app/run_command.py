"""`ccd run`: a folder and class names in; labels and a trained student in a folder, in one go."""

import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import typer
from rich.console import Console

from app.commands.errors import outcome
from app.commands.watch import cancel, follow, going_on
from app.exit_codes import Exit
from app.run_display import RunDisplay, class_table, show_sent
from app.run_service import ready_service
from ccd_client import CcdError, Client, Dataset, Forbidden, Job
from models.config import ConfigError, parse_settings
from workers.files import ONNX, PAGE, WEIGHTS
from workers.model_card import CARD_MARKDOWN
from workers.settings import Settings

#: Files of the phases `export` and `report` that are saved beside the student.
EXPORTS = (ONNX, CARD_MARKDOWN, PAGE)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the user asked for."""

    folder: Path
    classes: Sequence[str]
    preset: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    out: Path
    #: None: a running service is looked for, else one is started.
    url: str | None = None
    #: None: the one that the user has for the service.
    key: str | None = None

    def request(self) -> dict[str, Any]:
        """The job to be created, but for its images; a preset only where one was asked for."""
        fields = {"classes": self.classes, "config": self.config or None, "preset": self.preset}
        return {name: value for name, value in fields.items() if value is not None}


def run(order: Order, settings: Settings, console: Console) -> int:
    """The exit code of the whole journey; every outcome is told in words."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with (
            RunDisplay(console) as display,
            ready_service(
                order.url, order.key, folder=order.folder, settings=settings, say=display.say
            ) as client,
        ):
            return Journey(order, client, display, console).run()
    except CcdError as error:
        message, code = outcome(error)
    except KeyboardInterrupt:
        message, code = "interrupted", Exit.INTERRUPTED
    print(f"ccd run: {message}", file=sys.stderr)
    return code


class Journey:
    """One job from its request to the files it leaves."""

    def __init__(self, order: Order, client: Client, display: RunDisplay, console: Console) -> None:
        self._order, self._client = order, client
        self._display, self._console = display, console

    def run(self) -> int:
        """Submit, follow, save, report."""
        job = self._submit()
        self._display.say(f"job {job.id}, {self._client.url}{job.path}")
        while True:
            try:
                follow(job, self._client, self._display)
                break
            except KeyboardInterrupt:
                answer = self._ask()
            if answer == "leave":
                self._display.say(going_on(job))
                return Exit.INTERRUPTED
            if answer == "cancel":
                cancel(job)
        self._save(job.check())
        return Exit.DONE

    def _submit(self) -> Job:
        """The job, on the folder itself where the service may read it, else on a copy."""
        request = self._order.request()
        if _is_on_this_machine(self._client.url):
            try:
                return self._client.jobs.create(folder=self._order.folder, **request)
            except Forbidden as refusal:
                if refusal.code != "path_not_allowed":
                    raise
        return self._client.jobs.create(dataset=self._upload(), **request)

    def _upload(self) -> Dataset:
        folder, show = self._order.folder, show_sent(self._display)
        return self._client.datasets.upload(folder, name=folder.name, on_progress=show)

    def _ask(self) -> str:
        """`cancel`, `watch` or `leave`. Nobody there to ask means cancel."""
        if not sys.stdin.isatty():
            return "cancel"
        answers = {"c": "cancel", "w": "watch", "l": "leave"}
        try:
            with self._display.paused():
                answer = input("(c)ancel the job, go on (w)atching, or (l)eave? ")
        except (KeyboardInterrupt, EOFError):
            return "cancel"
        return answers.get(answer.strip().lower()[:1], "watch")

    def _save(self, job: Job) -> None:
        self._display.show("done", 100)
        out = self._order.out
        out.mkdir(parents=True, exist_ok=True)
        for name in ("labels.csv", "labels.ndjson"):
            job.labels().save(out / name)
        student = job.student()
        student.download(out / WEIGHTS)
        saved = ["labels.csv", "labels.ndjson", WEIGHTS, *self._save_exports(job)]
        names = [spec.name for spec in job.classes]
        self._console.print(class_table(out / "labels.ndjson", names, student.thresholds))
        for warning in job.warnings:
            self._display.say(f"warning: {warning}")
        for name in saved:
            self._display.say(str(out / name))

    def _save_exports(self, job: Job) -> list[str]:
        """Save what there is; a warning of the job tells why something could not be made."""
        there = {row.name for row in job.artifacts()}
        names = [name for name in EXPORTS if name in there]
        for name in names:
            job.download(name, self._order.out / name)
        return names


def parse_classes(text: str) -> list[str]:
    """`cat, dog` -> ["cat", "dog"]; `@names.txt` has one name per line."""
    if text.startswith("@"):
        names = Path(text[1:]).expanduser().read_text(encoding="utf-8").splitlines()
    else:
        names = text.split(",")
    return [name.strip() for name in names if name.strip()]


def parse_config(pairs: Sequence[str]) -> dict[str, Any]:
    """The settings of `name=value` pairs; a wrong one is a wrong command line."""
    try:
        return parse_settings(pairs)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error


def _is_on_this_machine(url: str) -> bool:
    """Only then does a path mean the same folder to the service."""
    return urlsplit(url).hostname in {"127.0.0.1", "::1", "localhost"}
