"""`make demo`: draw a world, send it through the service as a user would, show what came of it."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from demo.contact_sheet import draw_contact_sheet
from demo.world import CLASSES, DEMO_SEED, write_world
from models.metrics import f1_scores, mean_average_precision

#: From this probability on a label counts as given, before and after debiasing alike.
LABEL_CUT = 0.5
START_SECONDS = 120

Rows = dict[str, dict[str, Any]]


def main() -> None:
    """Command line: `python -m demo.journey`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-output"))
    parser.add_argument("--images", type=int, default=500)
    arguments = parser.parse_args()
    out: Path = arguments.out
    console = Console()
    started = time.monotonic()

    console.print(
        f"Drawing {arguments.images} scenes, with a truth that the service never sees ..."
    )
    scenes, truth = draw(out, arguments.images)
    with service(out / "data", scenes) as url:
        console.print(f"The service answers on {url}")
        job_id = run(url, scenes, out / "results")
        stages = {stage: labels(url, job_id, stage) for stage in ("global", "debiased", "student")}
        stages["pseudo"] = labels(url, job_id, "pseudo", views=True)
    console.print(results_table(stages, truth))
    sheet = out / "contact-sheet.png"
    draw_contact_sheet(scenes, stages["pseudo"], stages["student"], truth).save(sheet)
    console.print(f"Labels and student  {out / 'results'}")
    console.print(f"Pictures            {sheet}")
    console.print(f"Health report       {out / 'results' / 'report.html'}")
    console.print(f"Scenes, truth       {scenes}, {out / 'truth.json'}")
    console.print(f"Done in {time.monotonic() - started:.0f} s.")


def draw(out: Path, count: int) -> tuple[Path, dict[str, Any]]:
    """The scenes' folder and what is true about them, by file name."""
    scenes = out / "scenes"
    shutil.rmtree(scenes, ignore_errors=True)
    write_world(scenes, count=count, seed=DEMO_SEED)
    (scenes / "truth.json").rename(out / "truth.json")
    truth: dict[str, Any] = json.loads((out / "truth.json").read_text())["images"]
    return scenes, truth


@contextmanager
def service(data: Path, scenes: Path) -> Iterator[str]:
    """`ccd serve` on a free port while the block runs; gives its address."""
    (data / "service.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "app.cli", "serve"]
    options = ["--data", str(data), "--port", "0", "--no-auth", "--allow", str(scenes.resolve())]
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
    try:
        yield _address(process, data / "service.json")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _address(process: subprocess.Popen[bytes], file: Path) -> str:
    gives_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < gives_up_at:
        if process.poll() is not None:
            sys.exit("the service ended before it was ready; its message stands above")
        if file.exists():
            url = str(json.loads(file.read_text())["url"])
            if _is_ready(url):
                return url
        time.sleep(0.2)
    sys.exit(f"the service was not ready within {START_SECONDS} s; see the logs in {file.parent}")


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").is_success
    except httpx.TransportError:
        return False


def run(url: str, scenes: Path, results: Path) -> str:
    """`ccd run` in this terminal; the job's id."""
    command = [sys.executable, "-m", "app.cli", "run", str(scenes), "--classes", ",".join(CLASSES)]
    options = ["--preset", "tiny", "--url", url, "--out", str(results)]
    if subprocess.run([*command, *options], check=False).returncode != 0:
        sys.exit("the job did not succeed; its message stands above")
    jobs = httpx.get(f"{url}/v1/jobs", params={"limit": 1}).json()["data"]
    return str(jobs[0]["id"])


def labels(url: str, job_id: str, stage: str, *, views: bool = False) -> Rows:
    """The rows of a stage by file name."""
    answer = httpx.get(
        f"{url}/v1/jobs/{job_id}/labels",
        params={"stage": stage, "views": views},
        headers={"Accept": "application/x-ndjson"},
        timeout=60,
    )
    answer.raise_for_status()
    return {row["path"]: row for row in map(json.loads, answer.text.splitlines())}


def results_table(stages: dict[str, Rows], truth: dict[str, Any]) -> Table:
    """What each step of the method made of the same images."""
    table = Table(title="Against the truth of the drawn scenes")
    table.add_column("labels")
    table.add_column("mAP", justify="right")
    table.add_column("macro-F1", justify="right")
    rows = (
        ("teacher, whole image", "global"),
        ("the same, debiased", "debiased"),
        ("pseudo-labels after the update", "pseudo"),
        ("student", "student"),
    )
    is_true = torch.tensor([[name in truth[path]["labels"] for name in CLASSES] for path in truth])
    for text, stage in rows:
        scores = _scores(stages[stage], truth)
        given = _given(stages[stage], truth) if stage == "student" else scores >= LABEL_CUT
        table.add_row(
            text,
            f"{100 * mean_average_precision(scores, is_true):.1f}",
            f"{100 * f1_scores(given, is_true).nanmean():.1f}",
        )
    table.caption = f"F1 at {LABEL_CUT}; the student's at its own thresholds, found without labels"
    return table


def _scores(rows: Rows, truth: dict[str, Any]) -> Tensor:
    return torch.tensor([[rows[path]["scores"][name] for name in CLASSES] for path in truth])


def _given(rows: Rows, truth: dict[str, Any]) -> Tensor:
    return torch.tensor([[name in rows[path]["labels"] for name in CLASSES] for path in truth])


if __name__ == "__main__":
    main()
