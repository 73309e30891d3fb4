"""`python -m tests.faults.results` writes how the last runs ended into docs/reliability.md."""

import json
import re
from functools import cache
from pathlib import Path

from tests.serving import ROOT

PAGE, RUNS = ROOT / "docs" / "reliability.md", ROOT / "docs" / "results" / "faults.json"
DEFINED = re.compile(r"def (test_\w+)\(")
SLOW = re.compile(r"@pytest\.mark\.long\n(?:@.*\n)*def (test_\w+)\(")
NAMED = re.compile(r"`(test_\w+)`")
HEAD = "| | fault | promise | proof, in `tests/` | result |"


def with_results(page, runs):
    """The page with the last column of its tables as the runs of the last commit have it."""
    last = [run for run in runs if run["commit"] == runs[-1]["commit"]]
    lines, is_inside = [], False
    for line in page.splitlines():
        is_inside = line == HEAD or (is_inside and line.startswith("|"))
        is_row = is_inside and line != HEAD and not line.startswith("| ---")
        lines.append(_with_result(line, last) if is_row else line)
    return "\n".join(lines) + "\n"


def _with_result(row, runs):
    *cells, _ = row.strip("|").split(" | ")
    return f"|{' | '.join(cells)} | {_result(set(NAMED.findall(cells[-1])), runs)} |"


def _result(proofs, runs):
    faults = proofs & long_suite()
    if faults:
        green = sum(not faults & set(run["not_passed"]) for run in runs)
        return f"green in {green} of {len(runs)}"
    return "in `make test`, the slow one by hand" if proofs & slow() else "in every `make test`"


@cache
def long_suite():
    """The tests that `make faults` runs."""
    return defined_below(Path(__file__).parent)


@cache
def slow():
    """The tests that `make test` leaves out."""
    return defined_below(ROOT / "tests", SLOW)


def defined_below(folder, pattern=DEFINED):
    files = folder.rglob("test_*.py")
    return {name for path in files for name in pattern.findall(path.read_text())}


if __name__ == "__main__":
    PAGE.write_text(with_results(PAGE.read_text(), json.loads(RUNS.read_text())["runs"]))
