"""An evaluation as tables for a terminal: stages, steps, classes, warnings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from workers.stages import Stage

#: Classes are listed up to this many; all are in the JSON.
MAX_CLASSES = 100


def print_evaluation(evaluation: Mapping[str, Any], console: Console | None = None) -> None:
    """Say which stage is how good, and which step helped."""
    console = console or Console()
    counts = evaluation["counts"]
    console.print(
        f"[bold]{evaluation['job_id']}[/] against {evaluation['format']}: "
        f"{counts['matched']:,} of {counts['dataset_images']:,} images, "
        f"{counts['classes_with_positives']} classes with positives"
        f"{_absent(counts['classes_absent'])}"
    )
    console.print(_stages(evaluation), _steps(evaluation), _classes(evaluation), sep="\n")
    for warning in evaluation["warnings"]:
        count = f" ({warning['count']:,} in all)" if warning["count"] > 1 else ""
        console.print(f"[yellow]{warning['code']}[/]: {escape(warning['message'])}{count}")


def _absent(count: int) -> str:
    return f", {count} without, which count nowhere" if count else ""


def _stages(evaluation: Mapping[str, Any]) -> Table:
    table = Table("labels", title="Stages, in percent", title_justify="left")
    for name in (
        "mAP",
        "CF1",
        "OF1",
        "precision",
        "recall",
        "best CF1",
        "best OF1",
        "calib. error",
    ):
        table.add_column(name, justify="right")
    for stage in Stage:
        found = evaluation["stages"][stage]
        own, best = found["at_thresholds"] or {}, found["at_best"]
        figures = (
            *(found["map"], own.get("cf1"), own.get("of1"), own.get("op"), own.get("or")),
            *(best["cf1"], best["of1"], found["calibration_error"]),
        )
        table.add_row(stage, *map(points, figures))
    table.caption = (
        "CF1, OF1, precision and recall at the job's own thresholds; best: at those of the best F1"
    )
    table.caption_justify = "left"
    return table


def _steps(evaluation: Mapping[str, Any]) -> Table:
    table = Table("step", title="What each step changed", title_justify="left")
    for name in ("from", "to"):
        table.add_column(name)
    for name in ("mAP", "classes better", "worse"):
        table.add_column(name, justify="right")
    for step in evaluation["steps"]:
        table.add_row(
            *(step["step"], step["from"], step["to"], _change(step["map_change"])),
            *(str(step["classes_better"]), str(step["classes_worse"])),
        )
    return table


def _classes(evaluation: Mapping[str, Any]) -> Table:
    table = Table("class", title="Average precision, in percent", title_justify="left")
    for name in ("images", *Stage):
        table.add_column(name, justify="right")
    by_stage = [evaluation["stages"][stage]["classes"] for stage in Stage]
    rows = list(zip(evaluation["classes"], *by_stage, strict=True))
    for about, *found in rows[:MAX_CLASSES]:
        figures = (points(one["average_precision"]) for one in found)
        table.add_row(escape(about["name"]), f"{about['support']:,}", *figures)
    if len(rows) > MAX_CLASSES:
        table.caption = f"and {len(rows) - MAX_CLASSES:,} more classes"
    return table


def points(share: float | None) -> str:
    """`71.3` of a hundred, or a dash for what has no value."""
    return "-" if share is None else f"{100 * share:.1f}"


def _change(value: float | None) -> str:
    if value is None:
        return "-"
    colour = "green" if value > 0 else "red" if value < 0 else "default"
    return f"[{colour}]{100 * value:+.1f}[/]"
