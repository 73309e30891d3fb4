"""An outcome as files: JSON with everything, CSV for other programs, Markdown for people."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from workers.experiments.outcome import Outcome, told

#: Decimals of a figure in CSV.
DECIMALS = 4


def write_files(outcome: Outcome, folder: Path) -> list[Path]:
    """Write `<experiment>.json`, `.csv` and `.md` into `folder`; the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / outcome.experiment
    paths = [stem.with_suffix(suffix) for suffix in (".json", ".csv", ".md")]
    paths[0].write_text(json.dumps(outcome.to_dict(), indent=1, ensure_ascii=False) + "\n")
    _write_csv(outcome, paths[1])
    paths[2].write_text(markdown(outcome))
    return paths


def read_outcome(path: Path) -> Outcome:
    """The outcome that `write_files` wrote as JSON."""
    return Outcome(**json.loads(path.read_text()))


def _write_csv(outcome: Outcome, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["experiment", "group", "name", "seed", "value"])
        for group, names in outcome.figures.items():
            for name, values in names.items():
                for seed, value in zip(outcome.seeds, values, strict=True):
                    shown = "" if value is None else f"{value:.{DECIMALS}f}"
                    rows.writerow([outcome.experiment, group, name, seed, shown])


def markdown(outcome: Outcome) -> str:
    """All figures as tables, one for each group, and how they were come by."""
    lines = [f"# {outcome.experiment}", "", *origin(outcome), ""]
    for group in outcome.figures:
        if outcome.names(group):
            lines += [f"## {group}", "", *table(outcome, group), ""]
    return "\n".join(lines)


def origin(outcome: Outcome) -> list[str]:
    """Command, commit, hardware and time, a line each."""
    hardware = ", ".join(f"{key} {value}" for key, value in outcome.hardware.items())
    counts = ", ".join(f"{key} {value}" for key, value in outcome.data.items())
    return [
        f"- command: `{outcome.command}`",
        f"- commit: {outcome.commit}",
        f"- hardware: {hardware}",
        f"- time: {outcome.seconds / 60:.1f} minutes for {len(outcome.seeds)} seeds",
        f"- data: {counts}",
        *(f"- {note}" for note in outcome.notes),
    ]


def table(outcome: Outcome, group: str) -> list[str]:
    """The figures of a group, a row for each name and a column for each seed."""
    seeds = [f"seed {seed}" for seed in outcome.seeds]
    published = outcome.published.get(group, {})
    lines = heading(["", *seeds, "mean", "spread", *(["published"] if published else [])])
    for name in outcome.names(group):
        spread = outcome.spread(group, name)
        shown = (*spread.values, spread.mean, spread.deviation)
        cells = [told(value, ".3f" if "factor" in group else ".1f") for value in shown]
        lines.append(row([name, *cells, *([published.get(name, "")] if published else [])]))
    known = outcome.names(group)
    blanks = [""] * (len(seeds) + 2)
    lines += [row([name, *blanks, value]) for name, value in published.items() if name not in known]
    return lines


def heading(cells: Sequence[object]) -> list[str]:
    """The first two rows of a Markdown table."""
    return [row(cells), "| --- " * len(cells) + "|"]


def row(cells: Sequence[object]) -> str:
    """One row of a Markdown table."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
