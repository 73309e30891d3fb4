"""Training as a chain of epochs on disk: each starts where the one before it ended."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from models import distill
from models.config import DistillConfig
from models.student import Student
from models.training import Training
from workers.files import read_json, write_json
from workers.halving import is_halved
from workers.units import Finished, JobUnit, OnBatch

#: Fields of the config that the student depends on from the first epoch on.
STUDENT_FIELDS = (
    "student",
    "student_weights",
    "student_size",
    "student_stride",
    "boost",
    "batch_size",
    "backbone_lr",
    "head_lr",
    "weight_decay",
    "lr_schedule",
    "ema_decay",
    "precision",
    "seed",
    "warm_up_epochs",
)
#: Fields that matter from the first epoch of the main training on.
TRAIN_FIELDS = ("consistency_weight", "jitter")

STATE = "state.safetensors"


def fields_of(config: DistillConfig, epoch: int) -> tuple[str, ...]:
    """Fields of the config that decide what an epoch, from 0 on, makes of the one before."""
    fields: tuple[str, ...] = STUDENT_FIELDS
    if epoch >= config.warm_up_epochs:
        fields += TRAIN_FIELDS
    if config.lr_schedule != "constant":
        fields += ("train_epochs",)
    return fields


class TrainingDiverged(Exception):
    """The loss is no longer a number."""

    code = "training_diverged"
    hint = "Choose smaller backbone_lr and head_lr in config."

    def __init__(self, epoch: int) -> None:
        super().__init__(f"the loss of epoch {epoch} (from 0) is not finite")


class Epochs:
    """The epochs of one job, counted from 0 over warm-up and main training.

    An epoch publishes three folders of one digest: `optimizer` and `weights`, from which the next
    one starts, and last its own, which says that it is done and how it went.
    """

    def __init__(self, unit: JobUnit) -> None:
        self._unit = unit
        self._config = unit.config
        #: Epochs of the past whose state is on disk only because it was needed once more.
        self._again: list[int] = []

    def run(self, epoch: int) -> Finished:
        """The unit of one epoch."""
        unit, phase = self._unit, self._unit.claim.phase

        def make(staging: Path) -> None:
            write_json(staging / "epoch.json", self._told(epoch) or self._trained(epoch))

        name = unit.produce(f"{phase}-{self.digest(epoch)}", make)
        reused = unit.was_there
        self._prune(epoch)
        facts = read_json(unit.whole(name) / "epoch.json")
        curve = [*self._curve, {"phase": phase, **facts}]
        return Finished(name, len(unit.files), facts={"curve": curve}, reused=reused)

    @property
    def _curve(self) -> list[dict[str, Any]]:
        """How the epochs that are done went, as the record tells it."""
        curve: list[dict[str, Any]] = self._unit.facts.get("curve", [])
        return curve

    def _told(self, epoch: int) -> dict[str, Any] | None:
        """How an epoch went that is done already, whose own folder alone is gone or damaged."""
        told = [entry for entry in self._curve if entry["epoch"] == epoch]
        return {key: told[0][key] for key in ("epoch", "loss", "map")} if told else None

    def _trained(self, epoch: int) -> dict[str, Any]:
        """How the epoch of this unit goes, which is trained now."""
        training, result = self._train(epoch, self._unit.on_batch)
        self._unit.bench.keep_training(self.digest(epoch), training)
        return {"epoch": epoch, "loss": result.loss, "map": result.mean_average_precision}

    @cache  # noqa: B019 - an `Epochs` lives as long as its unit
    def digest(self, epoch: int) -> str:
        """Digest of the student after `epoch`: the labels and settings that led to it."""
        fields = fields_of(self._config, epoch)
        before = self.digest(epoch - 1) if epoch else self._unit.facts["student_start"]
        halving = ("in two parts",) if self._is_halved(epoch) else ()
        return self._unit.digest(before, self._labels_name(epoch), epoch, *halving, fields=fields)

    def _is_halved(self, epoch: int) -> bool:
        """Whether an epoch has, or had, its batches in two parts, because memory ran out."""
        phase, number = self._unit_of(epoch)
        claim = self._unit.claim
        is_this = (phase, number) == (claim.phase, claim.unit)
        return self._unit.is_halved if is_this else is_halved(self._unit.facts, phase, number)

    def _unit_of(self, epoch: int) -> tuple[str, int]:
        """Phase and number of the unit that an epoch is."""
        warm_up = self._config.warm_up_epochs
        return ("warm_up", epoch) if epoch < warm_up else ("train", epoch - warm_up)

    def training_map(self) -> list[float]:
        """Training mAP of every epoch that is done."""
        return [entry["map"] for entry in self._curve]

    def student_after(self, epoch: int) -> Student:
        """The student as it stands after `epoch`, from disk or trained again."""
        weights = self._state("weights", epoch)
        if not self._unit.folder.is_complete(weights):
            student = self._training_after(epoch).averaged_student()
            self._prune(len(self._curve) - 1)
            return student
        student = self._fresh().student
        student.load_state_dict(load_file(weights / STATE))
        return student

    def _train(self, epoch: int, on_batch: OnBatch) -> tuple[Training, distill.EpochResult]:
        """Train one epoch on top of the one before, and publish where it led."""
        unit = self._unit
        training = self._training_after(epoch - 1)
        result = distill.train_epoch(
            training,
            unit.files,
            unit.tensors(self._labels_name(epoch), "labels.safetensors")["labels"],
            epoch=epoch,
            config=self._config,
            threads=unit.threads,
            parts=2 if self._is_halved(epoch) else 1,
            on_batch=on_batch,
        )
        if not math.isfinite(result.loss):
            raise TrainingDiverged(epoch)
        optimizer, weights = training.optimizer_state(), training.weights()
        unit.produce(
            self._state("optimizer", epoch).name, lambda s: save_file(optimizer, s / STATE)
        )
        unit.produce(self._state("weights", epoch).name, lambda s: save_file(weights, s / STATE))
        return training, result

    def _training_after(self, epoch: int) -> Training:
        """The training as it stands after `epoch` (-1: a fresh one).

        From memory, from disk, or, where its files are gone or damaged, by training again: the
        same inputs give the same bytes.
        """
        if epoch < 0:
            return self._fresh()
        kept = self._unit.bench.take_training(self.digest(epoch))
        if kept is not None:
            return kept
        folders = [self._state("weights", epoch), self._state("optimizer", epoch)]
        if not all(map(self._unit.folder.is_complete, folders)):
            self._again.append(epoch)
            return self._train(epoch, self._on_batch_again)[0]
        training = self._fresh()
        training.restore(*(load_file(folder / STATE) for folder in folders))
        return training

    def _on_batch_again(self, _done: int) -> None:
        """An epoch that is trained again moves no bar, but it is alive and can be stopped."""
        self._unit.on_batch(0)

    def _fresh(self) -> Training:
        return self._unit.bench.start_training(self._config, len(self._unit.classes))

    def _labels_name(self, epoch: int) -> str:
        """Name of the folder whose `labels` an epoch learns from."""
        warm = epoch < self._config.warm_up_epochs
        return self._unit.output("debias" if warm else "update")

    def _state(self, kind: str, epoch: int) -> Path:
        return self._unit.folder.phase(f"{kind}-{self.digest(epoch)}")

    def _prune(self, epoch: int) -> None:
        """Drop what no epoch after `epoch` starts from, of those before and those made again."""
        for later in (epoch, *(again + 2 for again in self._again)):
            if later <= epoch:
                self._prune_before(later)

    def _prune_before(self, epoch: int) -> None:
        """Drop the state of the epoch before the last of the same phase, unless it is selected."""
        first = 0 if epoch < self._config.warm_up_epochs else self._config.warm_up_epochs
        old = epoch - 2
        if old < first:
            return
        folder = self._unit.folder
        folder.discard(self._state("optimizer", old))
        scores = self.training_map()[:epoch]
        if distill.select_epoch(scores, self._config.warm_up_epochs) != old:
            folder.discard(self._state("weights", old))
