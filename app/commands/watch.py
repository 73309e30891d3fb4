"""What is shown of a job while it goes on, out of its events."""

import time
from typing import Any

from app.run_display import RunDisplay, describe_progress, sparkline
from ccd_client import Client, Conflict, Job
from ccd_client.models import Event, Progress, Warned

#: Values of a curve that are shown at most.
MAX_POINTS = 24
#: How often a job that waits for its turn is asked for, in seconds.
POLL_SECONDS = 0.5
#: Workers of a service that was just started take so long to come up: theirs is no lack yet.
WORKERS_START_SECONDS = 15.0


class Watch:
    """The events of one job, shown."""

    def __init__(self, display: RunDisplay) -> None:
        self._display = display
        self._progress = Progress()
        self._status = ""
        #: The loss, from epoch to epoch of the phase at work.
        self._losses: list[float] = []
        self._phase_of_losses: str | None = None

    def see(self, event: Event) -> None:
        """Show what an event says."""
        match event.type:
            case "job.snapshot" | "job.done":
                self._take_job(event.data)
            case "job.state":
                self._status = str(event.data.get("status", ""))
            case "job.progress":
                self._progress = Progress.read(event.data.get("progress", event.data))
            case "job.metric":
                self._take_metric(event.data)
            case "job.warning":
                self._warn(event.data)
                return
        self._show()

    def _take_job(self, job: dict[str, Any]) -> None:
        self._status = str(job.get("status", ""))
        self._progress = Progress.read(job.get("progress") or {})

    def _take_metric(self, metric: dict[str, Any]) -> None:
        value = metric.get("value")
        if "loss" not in str(metric.get("name")) or not isinstance(value, int | float):
            return
        if metric.get("phase") != self._phase_of_losses:
            self._phase_of_losses, self._losses = metric.get("phase"), []
        self._losses = [*self._losses, float(value)][-MAX_POINTS:]

    def _warn(self, warning: dict[str, Any]) -> None:
        if warning.get("message"):
            self._display.say(f"warning: {Warned.read({'code': '', **warning})}")

    def _show(self) -> None:
        if self._status == "cancelling":
            self._display.show("cancelling", self._progress.percent)
            return
        if self._progress.phase is None:
            return
        measured = [describe_progress(self._progress)]
        if len(self._losses) > 1 and self._phase_of_losses in {None, self._progress.phase}:
            measured.append(f"loss {self._losses[-1]:.3g} {sparkline(self._losses)}")
        shown = "  ".join(filter(None, measured))
        self._display.show(self._progress.phase, self._progress.percent, shown)


def follow(job: Job, client: Client, display: RunDisplay) -> None:
    """Show a job until it has ended."""
    since = time.monotonic()
    while job.status == "queued":
        lack = job.queue and job.queue.waiting_for
        is_told = time.monotonic() - since >= WORKERS_START_SECONDS
        _show_queued(job, client, display, f"waits for {lack}" if lack and is_told else "")
        time.sleep(POLL_SECONDS)
        job.refresh()
    job.wait(on_event=Watch(display).see)


def going_on(job: Job) -> str:
    """What is told to who looks on no longer."""
    look, end = f"ccd jobs watch {job.id}", f"ccd jobs cancel {job.id}"
    return f"{job.id} goes on: `{look}` shows it, `{end}` ends it"


def cancel(job: Job) -> None:
    """Cancel a job, unless it has ended meanwhile."""
    try:
        job.cancel()
    except Conflict:
        job.refresh()


def _show_queued(job: Job, client: Client, display: RunDisplay, lack: str) -> None:
    position = job.queue and job.queue.position
    if position is not None:
        phase, percent, known = "queued", 0.0, f"position {position}"
    else:  # it waits for its dataset
        progress = client.datasets.get(job.dataset_id).progress
        phase, percent, known = "register", progress.percent, describe_progress(progress)
    display.show(phase, percent, "  ".join(filter(None, [known, lack])))
