"""Does the method work? The comparison of `make quality`, on the drawn world with 3 seeds.

Every student has the same backbone, start, epochs and checkpoint rule; they differ in the labels
they learn from. No setting was chosen on the seeds of the scenes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from demo.world import EVALUATION_SEEDS, write_instances
from models import distill
from models.config import PRESETS
from models.distill import Box
from models.metrics import f1_scores
from models.thresholds import apply_thresholds, best_f1_thresholds
from workers.experiments.inputs import Labelled, choose_classes, in_points, read_set
from workers.experiments.lab import Lab
from workers.experiments.orders import Source
from workers.experiments.outcome import Spread, told
from workers.experiments.report import heading, row
from workers.experiments.strategies import views_with_room
from workers.experiments.training import Learned
from workers.experiments.work import Work

CONFIG = PRESETS["tiny"]
#: Room around a true box on each side, as a part of the box: the view a careful person would cut.
TRUE_BOX_MARGIN = 0.25


class Comparison:
    """One seed: its scenes, the shared teacher, and the students."""

    def __init__(self, folder: Path, *, seed: int, train: int, test: int, threads: int) -> None:
        self.config = replace(CONFIG, seed=seed)
        work = Work(folder / "work", {"threads": threads}, say=lambda _line: None)
        self.train = draw(folder / "train", work, count=train, seed=seed, start=0)
        self.test = draw(folder / "test", work, count=test, seed=seed, start=train)
        teacher = distill.load_teacher_of(self.config, device=torch.device("cpu"), weights_dir=None)
        self.lab = Lab(
            self.train,
            self.test,
            self.config,
            teacher=teacher,
            work=work,
            name=f"seed {seed}",
            threads=threads,
        )

    def run(self) -> dict[str, Any]:
        """Every figure of one seed; mAP in points."""
        lab = self.lab
        found = lab.debiased
        around_boxes = lab.look(self.test, self.around_true_boxes(), what="true boxes").local_probs
        whole = lab.global_labels(self.test).probs
        raw = lab.warm_up(found.probs, what="raw labels")
        views = lab.local_views(lab.warm)
        pseudo = lab.blend(found, views)
        students = {
            "raw": lab.learn(raw, found.probs, consistent=False, what="raw"),
            "debiased": lab.learn(lab.warm, found.labels, consistent=False, what="debiased"),
            "whole method": lab.learn(lab.warm, pseudo, consistent=True, what="whole method"),
        }
        by_class = {name: lab.student_ap(learned) for name, learned in students.items()}
        rare = found.bias.factors.argsort()[: len(lab.train.classes) // 3]
        return {
            "teacher": {
                "whole view": self.test.points(whole),
                "around the true boxes": self.test.points(around_boxes),
            },
            "labels": {
                "global": self.train.points(found.probs),
                "debiased": self.train.points(found.labels),
                "local": self.train.points(views.local_probs),
                "pseudo": self.train.points(pseudo),
            },
            "bias": {
                class_.name: round(factor, 3)
                for class_, factor in zip(
                    lab.train.classes, found.bias.factors.tolist(), strict=True
                )
            },
            "students": {name: in_points(ap) for name, ap in by_class.items()},
            "smallest bias third": {name: in_points(ap[rare]) for name, ap in by_class.items()},
            "selected epoch": {
                name: distill.select_epoch(learned.history, self.config.warm_up_epochs)
                for name, learned in students.items()
            },
            "threshold F1": self.threshold_f1(students["whole method"], pseudo),
        }

    def around_true_boxes(self) -> list[list[Box]]:
        """A view around every true box of the test scenes."""
        room = torch.full((4,), TRUE_BOX_MARGIN)
        return views_with_room(self.test, [[room] * len(boxes) for boxes in self.test.boxes])

    def threshold_f1(self, learned: Learned, pseudo: Tensor) -> dict[str, float]:
        """Macro-F1 of the labels at the job's own thresholds, and at the best possible ones."""
        scores = self.lab.scores(learned, self.train)
        own = distill.label_thresholds(scores, pseudo)
        best = best_f1_thresholds(scores, self.train.truth, min_positives=1)
        return {
            name: float(f1_scores(apply_thresholds(scores, t), self.train.truth).nanmean())
            for name, t in (("own", own), ("best", best))
        }


def draw(folder: Path, work: Work, *, count: int, seed: int, start: int) -> Labelled:
    """Scenes `start` to `start + count` of the world `seed`, written to files and read as files."""
    path = write_instances(folder, count=count, seed=seed, start=start)
    truth = Source(folder=str(folder), truth=str(path)).read()
    return read_set(folder, truth, choose_classes(None, [truth]), work=work, threads=1)


# The table

#: (letter of the promise, what it says, least figure, figure of one seed)
ROWS = (
    (
        "a",
        "crops around the true boxes over the whole view, teacher, test scenes",
        10.0,
        lambda s: s["teacher"]["around the true boxes"] - s["teacher"]["whole view"],
    ),
    (
        "b",
        "pseudo-labels over the teacher's global probabilities, training scenes",
        2.0,
        lambda s: s["labels"]["pseudo"] - s["labels"]["global"],
    ),
    (
        "c",
        "student of the whole method over the student of the global labels, test scenes",
        2.0,
        lambda s: s["students"]["whole method"] - s["students"]["raw"],
    ),
    (
        "d",
        "debiased over raw labels: classes of the smallest third of the bias",
        0.0,
        lambda s: s["smallest bias third"]["debiased"] - s["smallest bias third"]["raw"],
    ),
    (
        "d",
        "debiased over raw labels: all classes",
        -0.5,
        lambda s: s["students"]["debiased"] - s["students"]["raw"],
    ),
    (
        "e",
        "F1 at the job's own thresholds over F1 at the best ones, training scenes",
        0.85,
        lambda s: s["threshold F1"]["own"] / s["threshold F1"]["best"],
    ),
)


def table(results: dict[int, dict[str, Any]]) -> str:
    """The comparison as Markdown: promises first, then every figure behind them."""
    seeds = [f"seed {seed}" for seed in results]
    columns, dashes = heading(["promise", "at least", *seeds, "mean", "kept"])
    lines = [f"| {columns}", f"| --- {dashes}"]  # the column of letters has no name
    for letter, text, least, figure in ROWS:
        spread = Spread([figure(found) for found in results.values()])
        kept = "yes" if spread.mean >= least else "NO"
        cells = [told(value, ".2f") for value in (*spread.values, spread.mean)]
        lines.append(row([letter, text, f"{least:g}", *cells, kept]))
    lines += ["", *heading(["mAP", *seeds, "mean", "spread"])]
    for group in ("teacher", "labels", "students", "smallest bias third"):
        by_seed = [found[group] for found in results.values()]
        for name in by_seed[0]:
            spread = Spread([figures[name] for figures in by_seed])
            cells = [told(value) for value in (*spread.values, spread.mean, spread.deviation)]
            lines.append(row([f"{group}: {name}", *cells]))
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line: `python -m benchmarks.quality`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(EVALUATION_SEEDS))
    parser.add_argument("--train", type=int, default=600, help="training scenes a seed")
    parser.add_argument("--test", type=int, default=600, help="held-out scenes a seed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/quality"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results: dict[int, dict[str, Any]] = {}
    for seed in arguments.seeds:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            results[seed] = Comparison(
                Path(folder),
                seed=seed,
                train=arguments.train,
                test=arguments.test,
                threads=arguments.threads,
            ).run()
        print(f"seed {seed}: {time.monotonic() - started:.0f} s", flush=True)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
        arguments.out.with_suffix(".md").write_text(table(results))
    print(table(results))


if __name__ == "__main__":
    main()
