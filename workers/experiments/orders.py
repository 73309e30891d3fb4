"""What a command line asks for: images, truth, settings, seeds, and where results go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.config import DistillConfig, parse_settings, resolve
from workers.experiments.benchmarks import Benchmark
from workers.experiments.inputs import NotUsable
from workers.truth.read import read_truth
from workers.truth.truth import Truth


@dataclass(frozen=True, kw_only=True)
class Source:
    """Images and their truth; `{seed}` in a path stands for the seed.

    Attributes:
        folder: of the images.
        truth: file or folder that says what is true of them.
        split: of the truth, where it has splits; None: all of it.
        labelled_only: whether images without any label are left out.
    """

    folder: str
    truth: str
    split: str | None = None
    labelled_only: bool = False

    def at(self, seed: int) -> Source:
        """The same with the seed put in."""
        folder, truth = (text.replace("{seed}", str(seed)) for text in (self.folder, self.truth))
        return replace(self, folder=folder, truth=truth)

    def read(self) -> Truth:
        """Its truth.

        Raises:
            TruthError: it cannot be read.
        """
        truth = read_truth(Path(self.truth), split=self.split)
        if not self.labelled_only:
            return truth
        return replace(
            truth, images={p: image for p, image in truth.images.items() if image.labels}
        )


@dataclass(frozen=True, kw_only=True)
class Order:
    """What was asked for.

    Attributes:
        train: images that labels are made for.
        held_out: images that students are measured on; None: the same.
        classes: name in the truth -> name that the teacher is asked about; None: all as they are.
        config: the preset with its changes.
    """

    train: Source
    held_out: Source | None
    classes: Mapping[str, str] | None
    preset: str
    config: DistillConfig
    seeds: Sequence[int]
    out: Path
    work: Path
    threads: int
    device: str
    weights: Path | None
    command: str


def order_of(asked: Mapping[str, Any], command: str) -> Order:
    """The order of a command line of `views`, `ablation` or `alpha`.

    Raises:
        NotUsable: half of the held-out images is missing.
        ConfigError: a setting is not allowed.
    """
    test, test_truth = asked["test"], asked["test_truth"]
    if (test is None) != (test_truth is None):
        raise NotUsable("held-out images need --test FOLDER and --test-truth FILE, both")
    held_out = Source(folder=test, truth=test_truth, split=asked["test_split"]) if test else None
    train = Source(folder=asked["folder"], truth=asked["truth"], split=asked["split"])
    classes = parse_classes(asked["classes"])
    return _order(asked, command, train=train, held_out=held_out, classes=classes)


def headline_order(benchmark: Benchmark, asked: Mapping[str, Any], command: str) -> Order:
    """The order of a command line of `headline`.

    Raises:
        NotUsable: the benchmark is not in its folder.
        ConfigError: a setting is not allowed.
    """
    train, held_out = (
        Source(
            folder=str(images), truth=str(truth), split=split, labelled_only=benchmark.labelled_only
        )
        for images, truth, split in benchmark.parts(asked["folder"])
    )
    classes = parse_classes(asked["classes"]) or benchmark.classes
    return _order(asked, command, train=train, held_out=held_out, classes=classes)


def _order(asked: Mapping[str, Any], command: str, **images: Any) -> Order:
    same = ("preset", "seeds", "out", "work", "threads", "device", "weights")
    config = resolve(asked["preset"], parse_settings(asked["config"]))
    return Order(config=config, command=command, **{name: asked[name] for name in same}, **images)


def parse_classes(text: str | None) -> dict[str, str] | None:
    """`sofa,tvmonitor=tv monitor` -> what each class of the truth is called when asked about."""
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    return {name.strip(): (asked or name).strip() for name, _, asked in pairs}
