"""`ccd run`: a folder and class names in; labels and a trained student in a folder, in one go."""

import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import typer
from rich.console import Console

from app.client import Client, Refused, Unreachable, folder_files
from app.run_display import RunDisplay, class_table, describe_progress
from app.run_service import ready_service
from models.config import ConfigError, parse_settings
from workers.files import ONNX, PAGE, WEIGHTS
from workers.model_card import CARD_MARKDOWN
from workers.settings import Settings

#: Exit codes beside 0. A wrong command line is 2 too; 130 leaves a job that there is to go on.
EXIT_FAILED, EXIT_REFUSED, EXIT_UNREACHABLE, EXIT_CANCELLED, EXIT_INTERRUPTED = 1, 2, 3, 4, 130
#: Files of the phases `export` and `report` that are saved beside the student.
EXPORTS = (ONNX, CARD_MARKDOWN, PAGE)
#: How often the job is asked for, in seconds.
POLL_SECONDS = 0.5


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

    def request(self, source: Mapping[str, Any]) -> dict[str, Any]:
        """The body of the job to be created."""
        body = {"classes": list(self.classes), "config": dict(self.config), **source}
        return body | ({"preset": self.preset} if self.preset else {})


class RunFailed(Exception):
    """The journey ended early."""

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


def run(order: Order, settings: Settings, console: Console) -> int:
    """The exit code of the whole journey; every outcome is told in words."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with (
            RunDisplay(console) as display,
            ready_service(order.url, order.folder, settings, display.say) as client,
        ):
            return Journey(order, client, display, console).run()
    except RunFailed as failure:
        message, code = str(failure), failure.code
    except Refused as refusal:
        message, code = f"the service refused: {refusal}", EXIT_REFUSED
    except Unreachable as error:
        message, code = str(error), EXIT_UNREACHABLE
    except KeyboardInterrupt:
        message, code = "interrupted", EXIT_INTERRUPTED
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
        self._display.say(f"job {job['id']}, {self._client.url}/v1/jobs/{job['id']}")
        while True:
            try:
                job = self._follow(job["id"])
                break
            except KeyboardInterrupt:
                answer = self._ask()
            if answer == "leave":
                self._display.say(f"job {job['id']} is left as it is")
                return EXIT_INTERRUPTED
            if answer == "cancel":
                self._cancel(job["id"])
        return self._finish(job)

    def _submit(self) -> dict[str, Any]:
        """The job, on the folder itself where the service may read it, else on a copy."""
        if _is_on_this_machine(self._client.url):
            source = {"source": {"kind": "folder", "path": str(self._order.folder)}}
            try:
                return self._client.post("/v1/jobs", self._order.request(source))
            except Refused as refusal:
                if refusal.status != httpx.codes.FORBIDDEN:
                    raise
        dataset = self._upload()
        return self._client.post("/v1/jobs", self._order.request({"dataset_id": dataset["id"]}))

    def _upload(self) -> dict[str, Any]:
        total = sum(path.stat().st_size for path in folder_files(self._order.folder))
        sent = 0

        def show(count: int) -> None:
            nonlocal sent
            sent += count
            self._display.show(
                "upload", 100 * sent / max(total, 1), f"{sent / 1e6:,.1f}/{total / 1e6:,.1f} MB"
            )

        return self._client.upload(self._order.folder, self._order.folder.name, show)

    def _follow(self, job_id: str) -> dict[str, Any]:
        """The job once it has ended, its progress shown on the way."""
        while True:
            job = self._client.get(f"/v1/jobs/{job_id}")
            if job["terminal"]:
                return job
            self._show(job)
            time.sleep(POLL_SECONDS)

    def _show(self, job: Mapping[str, Any]) -> None:
        queue = job["queue"]
        if job["status"] == "cancelling":
            self._display.show("cancelling", job["progress"]["percent"])
        elif queue is None:
            progress = job["progress"]
            measured = describe_progress(progress)
            self._display.show(progress["phase"] or "", progress["percent"], measured)
        elif queue["position"] is None:  # it waits for its dataset
            progress = self._client.get(f"/v1/datasets/{job['dataset_id']}")["progress"]
            self._display.show("register", progress["percent"], describe_progress(progress))
        else:
            self._display.show("queued", 0, f"position {queue['position']}")

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

    def _cancel(self, job_id: str) -> None:
        try:
            self._client.post(f"/v1/jobs/{job_id}/cancel")
        except Refused as refusal:
            if refusal.status != httpx.codes.CONFLICT:  # it has ended meanwhile
                raise

    def _finish(self, job: Mapping[str, Any]) -> int:
        if job["status"] == "cancelled":
            raise RunFailed("the job was cancelled", code=EXIT_CANCELLED)
        if job["status"] == "failed":
            raise RunFailed(_describe_failure(job["error"]), code=EXIT_FAILED)
        self._display.show("done", 100)
        self._save(job)
        return 0

    def _save(self, job: Mapping[str, Any]) -> None:
        out = self._order.out
        out.mkdir(parents=True, exist_ok=True)
        labels = f"/v1/jobs/{job['id']}/labels"
        self._client.download(labels, out / "labels.csv", accept="text/csv")
        self._client.download(labels, out / "labels.ndjson", accept="application/x-ndjson")
        student = self._client.get(f"/v1/students/{job['student_id']}")
        self._client.download(f"/v1/students/{job['student_id']}/weights", out / WEIGHTS)
        saved = ["labels.csv", "labels.ndjson", WEIGHTS, *self._save_exports(job)]
        names = [spec["name"] for spec in job["classes"]]
        self._console.print(class_table(out / "labels.ndjson", names, student["thresholds"]))
        for warning in job["warnings"]:
            self._display.say(_describe_warning(warning))
        for name in saved:
            self._display.say(str(out / name))

    def _save_exports(self, job: Mapping[str, Any]) -> list[str]:
        """Save what there is; a warning of the job tells why something could not be made."""
        artifacts = f"/v1/jobs/{job['id']}/artifacts"
        there = {row["name"] for row in self._client.get(artifacts)["data"]}
        names = [name for name in EXPORTS if name in there]
        for name in names:
            self._client.download(f"{artifacts}/{name}", self._order.out / name)
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


def _describe_warning(warning: Mapping[str, Any]) -> str:
    hint = f". {warning['hint']}" if warning.get("hint") else ""
    return f"warning: {warning['message']}{hint}"


def _describe_failure(error: Mapping[str, Any] | None) -> str:
    if error is None:
        return "the job failed"
    hint = f"; {error['hint']}" if error.get("hint") else ""
    return f"the job failed in {error['phase']}, {error['code']}: {error['message']}{hint}"
