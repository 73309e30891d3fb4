"""The paper's experiments on the drawn world: `make reproduce` fills docs/results and RESULTS.md.

Each seed has scenes of its own, and no setting was chosen on them. What is computed is kept in
`ccd-reproduce`: killed and started again, it goes on.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from benchmarks.results import RESULTS, SIDE_EXPERIMENTS, write_document
from demo.world import EVALUATION_SEEDS, INSTANCES, write_instances
from workers.experiments.main import main as reproduce

FOLDER = Path("ccd-reproduce")
#: Scenes of a seed to learn from, and to measure students on.
TRAIN, TEST = 300, 400


def main() -> None:
    """Command line: `python -m benchmarks.reproduce`."""
    parser = argparse.ArgumentParser(description=__doc__)
    # One thread: the same figures on every machine, however many cores it has.
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    for seed in EVALUATION_SEEDS:
        draw(FOLDER / str(seed) / "train", count=TRAIN, seed=seed, start=0)
        draw(FOLDER / str(seed) / "test", count=TEST, seed=seed, start=TRAIN)
    for out, command in commands(arguments.threads).items():
        print(" ".join(["ccd", "reproduce", *command]), flush=True)
        if code := reproduce(command):
            sys.exit(code)
        keep(FOLDER / out, RESULTS / out)
    print(f"wrote {write_document()}")


def commands(threads: int) -> dict[str, list[str]]:
    """Everything that docs/RESULTS.md has from the drawn world, by the folder of its files."""
    part = f"{FOLDER}/{{seed}}"
    train = [f"{part}/train", "--truth", f"{part}/train/{INSTANCES}"]
    test = ["--test", f"{part}/test", "--test-truth", f"{part}/test/{INSTANCES}"]
    common = ["--preset", "tiny", "--seeds", *map(str, EVALUATION_SEEDS)]
    common += ["--threads", str(threads), "--work", f"{FOLDER}/work"]
    asked = {"views": ["views", *train]}
    asked |= {name: [name, *train, *test] for name in ("ablation", "alpha")}
    asked |= {
        name: [*asked[experiment], *settings]
        for name, (experiment, settings) in SIDE_EXPERIMENTS.items()
    }
    return {out: [*words, *common, "--out", f"{FOLDER}/{out}"] for out, words in asked.items()}


def keep(source: Path, target: Path) -> None:
    """Copy the figures and the picture of an experiment to where they are kept."""
    target.mkdir(parents=True, exist_ok=True)
    for path in (*source.glob("*.json"), *source.glob("*.svg")):
        shutil.copyfile(path, target / path.name)


def draw(folder: Path, *, count: int, seed: int, start: int) -> None:
    """Scenes with their truth, unless they are there."""
    if not (folder / INSTANCES).exists():
        write_instances(folder, count=count, seed=seed, start=start)


if __name__ == "__main__":
    main()
