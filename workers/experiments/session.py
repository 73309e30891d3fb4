"""One experiment from the order to its files: every seed in turn, all on one teacher."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import torch

from models import distill
from models.teacher import Teacher
from workers.experiments.inputs import Labelled, choose_classes, read_set
from workers.experiments.lab import Lab
from workers.experiments.orders import Order, Source
from workers.experiments.outcome import Figures, Outcome, by_seed
from workers.experiments.plots import plot
from workers.experiments.report import write_files
from workers.experiments.work import Say, Work
from workers.hardware import device_name, device_of
from workers.units import fingerprint_of
from workers.version import code_version


class Experiment(Protocol):
    """A module of this package that measures something on a `Lab`."""

    @property
    def NAME(self) -> str:  # noqa: N802 - modules have it as a constant
        """Of the files it writes."""

    @property
    def PUBLISHED(self) -> Mapping[str, Mapping[str, float]]:  # noqa: N802 - as above
        """Group of figures -> name -> figure of the literature."""

    def run(self, lab: Lab) -> Figures:
        """The figures of one seed."""

    def notes(self, lab: Lab) -> list[str]:
        """What a reader has to know beside the figures."""


def reproduce(experiment: Experiment, order: Order, *, say: Say) -> Outcome:
    """Run an experiment for every seed, and write its files after each.

    Raises:
        NotUsable: images or truth do not do for it.
        TruthError: the truth cannot be read.
        TeacherError: the teacher cannot be had.
    """
    session = Session(order, say)
    draws = find_spec("matplotlib") is not None
    if not draws:
        say("matplotlib is not installed (extra `research`): no plots are drawn")
    found: list[Figures] = []
    for seed in order.seeds:
        say(f"seed {seed}")
        lab = session.lab(seed)
        found.append(experiment.run(lab))
        outcome = session.outcome(experiment, found, lab)
        paths = write_files(outcome, order.out)
        paths += plot(outcome, order.out) if draws else []
    say(f"{session.work.seconds():.0f} s of work, {len(session.work.made)} pieces made now")
    say("wrote " + ", ".join(str(path) for path in paths))
    return outcome


class Session:
    """What the seeds of an experiment share: teacher, work folder, images that all have."""

    def __init__(self, order: Order, say: Say) -> None:
        self._order = order
        self.work = Work(order.work, fingerprint_of(self._device, order.threads), say)
        self._sets: dict[tuple[Source, ...], list[Labelled]] = {}

    def lab(self, seed: int) -> Lab:
        """The method taken apart, for one seed."""
        order = self._order
        train, held_out = self._images(seed)
        return Lab(
            train,
            held_out,
            replace(order.config, seed=seed),
            teacher=self._teacher,
            work=self.work,
            name=f"seed {seed}",
            threads=order.threads,
            device=self._device,
            weights_dir=order.weights,
        )

    def outcome(self, experiment: Experiment, found: Sequence[Figures], lab: Lab) -> Outcome:
        """What is known after the seeds so far, of which `lab` had the last."""
        order = self._order
        config = order.config.to_dict()
        del config["seed"]
        return Outcome(
            experiment=experiment.NAME,
            command=order.command,
            commit=commit(),
            hardware=self._hardware(),
            seconds=round(self.work.seconds(), 1),
            preset=order.preset,
            config=config,
            data={
                "images": len(lab.train.files),
                "held out": len(lab.held_out.files) if order.held_out else 0,
                "classes": len(lab.train.classes),
            },
            seeds=list(order.seeds[: len(found)]),
            figures=by_seed(found),
            published=experiment.PUBLISHED,
            notes=experiment.notes(lab),
        )

    @cached_property
    def _device(self) -> torch.device:
        return device_of(self._order.device)

    @cached_property
    def _teacher(self) -> Teacher:
        return distill.load_teacher_of(
            self._order.config, device=self._device, weights_dir=self._order.weights
        )

    def _images(self, seed: int) -> tuple[Labelled, Labelled]:
        """Training and held-out images of a seed, read once if all seeds have the same."""
        order = self._order
        asked = order.train, order.held_out or order.train
        sources = tuple(source.at(seed) for source in dict.fromkeys(asked))
        if sources not in self._sets:
            truths = [source.read() for source in sources]
            classes = choose_classes(order.classes, truths)
            self._sets = {
                sources: [
                    read_set(
                        Path(source.folder),
                        truth,
                        classes,
                        work=self.work,
                        threads=order.threads,
                    )
                    for source, truth in zip(sources, truths, strict=True)
                ]
            }
        sets = self._sets[sources]
        return sets[0], sets[-1]

    def _hardware(self) -> dict[str, Any]:
        return {
            "processor": processor(),
            "device": device_name(self._device),
            "threads": self._order.threads,
            "torch": torch.__version__,
        }


def commit() -> str:
    """The commit of this code, or its version where no repository tracks it.

    An environment that it is installed in may lie in a repository of something else.
    """
    here = Path(__file__)
    try:
        _git(here.parent, "ls-files", "--error-unmatch", here.name)
        return _git(here.parent, "describe", "--always", "--dirty", "--abbrev=7")
    except (OSError, subprocess.CalledProcessError):
        return f"version {code_version()}"


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def processor() -> str:
    """The machine's processor, as the system calls it, and its cores."""
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text().splitlines() if cpu_info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"
