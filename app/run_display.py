"""What `ccd run` shows while a job goes on, and at its end."""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from ccd_client.models import Progress as ProgressOfWork

#: Without a terminal: a line at least every so many seconds while something moves.
PLAIN_SECONDS = 10.0
#: The heights of a curve.
BARS = "▁▂▃▄▅▆▇█"


class Measured(ProgressColumn):
    """Images done of all, images per second and time left, as the service reckons them."""

    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get("measured", "")))


class RunDisplay:
    """A live bar in a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._last_phase = ""
        self._last_line = float("-inf")
        self._last_was_whole = False

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>5.1f} %"),
                Measured(),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task("", total=100)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The terminal is free for a question."""
        if self._bar is not None:
            self._bar.stop()
        yield
        if self._bar is not None:
            self._bar.start()

    def say(self, line: str) -> None:
        """One line that stays."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def show(self, phase: str, percent: float, measured: str = "") -> None:
        """The present state; in plain lines only when the phase is new or time has passed."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=phase, completed=percent, measured=measured)
            return
        now, is_whole = time.monotonic(), percent >= 100
        is_new = phase != self._last_phase or is_whole > self._last_was_whole
        if is_new or now - self._last_line >= PLAIN_SECONDS:
            self._last_phase, self._last_line, self._last_was_whole = phase, now, is_whole
            self.say(f"{phase:<12} {percent:5.1f} %  {measured}".rstrip())


def describe_progress(progress: ProgressOfWork) -> str:
    """`1,200/4,000  35.1 images/s  1:20 left`, as far as it is known."""
    parts = []
    if progress.total:
        parts.append(f"{progress.done:,}/{progress.total:,}")
    elif progress.done:
        parts.append(f"{progress.done:,}")
    if progress.rate_per_second:
        parts.append(f"{progress.rate_per_second:.1f} images/s")
    if progress.eta_seconds is not None:
        parts.append(f"{clock(progress.eta_seconds)} left")
    return "  ".join(parts)


def sparkline(values: Sequence[float]) -> str:
    """A curve in one line of text, the least value lowest."""
    low, high = min(values), max(values)
    steps = len(BARS) - 1
    return "".join(BARS[round(steps * (value - low) / ((high - low) or 1))] for value in values)


def show_sent(display: RunDisplay) -> Callable[[int, int], None]:
    """What an upload calls as its bytes go."""

    def show(sent: int, total: int) -> None:
        measured = f"{short_bytes(sent)} of {short_bytes(total)}"
        display.show("upload", 100 * sent / max(total, 1), measured)

    return show


def show_received(display: RunDisplay) -> Callable[[int, int | None], None]:
    """What a download calls as its bytes come."""

    def show(done: int, total: int | None) -> None:
        measured = f"{short_bytes(done)} of {short_bytes(total or done)}"
        display.show("download", 100 * done / max(total or done, 1), measured)

    return show


def short_bytes(count: float) -> str:
    """`12.3 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def clock(seconds: float) -> str:
    """`1:05` or `2:00:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def class_table(
    labels: Path, classes: Sequence[str], thresholds: Mapping[str, float | None]
) -> Table:
    """Per class: how many images carry it, its mean score, its threshold.

    Args:
        labels: `labels.ndjson` of the stage `student`.
        classes: names in the user's order.
        thresholds: score from which on a class applies; None: never.
    """
    rows, carried, sums = _count(labels)
    table = Table(title=f"{rows:,} images", title_justify="left")
    table.add_column("class")
    for heading in ("images labelled", "mean score", "threshold"):
        table.add_column(heading, justify="right")
    for name in classes:
        threshold = thresholds.get(name)
        shown = "none" if threshold is None else f"{threshold:.3f}"
        table.add_row(name, f"{carried[name]:,}", f"{sums[name] / max(rows, 1):.3f}", shown)
    return table


def _count(labels: Path) -> tuple[int, Counter[str], dict[str, float]]:
    rows = 0
    carried: Counter[str] = Counter()
    sums: dict[str, float] = defaultdict(float)
    with labels.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            rows += 1
            carried.update(row["labels"])
            for name, score in row["scores"].items():
                sums[name] += score
    return rows, carried, sums
