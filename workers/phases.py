"""The phases of a job, their inputs and outputs, and how each splits into units.

A unit's output is a folder named by a digest of everything it depends on. A unit whose folder is
already there has nothing to do: that is how jobs resume, and how one reuses another's work.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from models import distill
from models.config import DistillConfig
from models.debias import Bias
from models.portable import load_student
from models.prompts import class_texts
from models.tokens import check_names
from workers.digests import digest_of
from workers.durable import sync_file, sync_folder
from workers.epochs import Epochs
from workers.evaluation_unit import evaluate_unit
from workers.export import checked_images, export
from workers.export_labels import export_labels
from workers.files import MANIFEST, WEIGHTS, read_json, write_json
from workers.folder_run import PREDICT_BATCH
from workers.halving import fact_of
from workers.job_warnings import never_top_1
from workers.jobs import Claim, Lane, Phase
from workers.register import register
from workers.render import render_cam
from workers.report import report, shown_images
from workers.results import read_tensor
from workers.rows import manifest_count
from workers.scoring import score
from workers.units import (
    EMBED_FIELDS,
    Finished,
    JobUnit,
    OnCounted,
    Workbench,
    digest_of_tensors,
)

DEBIAS_FIELDS = (
    "logit_scale",
    "templates",
    "background",
    "min_names",
    "entropy_cut",
    "entropy_relative",
    "floor_classes",
)
LOCALIZE_FIELDS = ("cam_size", "cam_threshold", "box_margin", "classes_per_image")
UPDATE_FIELDS = ("alpha", "floor_classes")

#: Rough cost of one image in each phase, for the percentage alone: a pass of a network is 1, a
#: training step on one view 3 (forward, and twice as much backward).
COST_PASS, COST_STEP, COST_SMALL = 1.0, 3.0, 0.05

#: Most units of `embed` and of `localize`. Opening a phase writes all of them in one script, for
#: which everybody else waits: 0.14 s for 10,000, docs/scaling.md, where others give up after 2 s.
MAX_SHARDS = 10_000


def run_unit(
    claim: Claim,
    outputs: Mapping[tuple[str, int], str],
    bench: Workbench,
    on_batch: OnCounted,
    *,
    is_halved: bool = False,
) -> Finished:
    """Run the claimed unit to its published output.

    Args:
        claim: the unit.
        outputs: folder names of the record's units that are done.
        bench: what this process keeps in memory.
        on_batch: told after every batch how many images of the unit are done, and of how many if
            the plan does not tell; may raise.
        is_halved: whether memory ran out, and half the batch is tried.
    """
    finished = _run(claim, outputs, bench, on_batch, is_halved=is_halved)
    if is_halved:
        finished = replace(finished, facts={**finished.facts, **fact_of(claim)})
    return finished


def _run(
    claim: Claim,
    outputs: Mapping[tuple[str, int], str],
    bench: Workbench,
    on_batch: OnCounted,
    *,
    is_halved: bool,
) -> Finished:
    if claim.phase == "register":
        return register_images(claim, bench, on_batch)
    if claim.phase == "predict":
        return predict(claim, bench, on_batch)
    if claim.phase == "cam":
        return render_cam(claim, bench, on_batch)
    if claim.phase == "evaluate":
        return evaluate_unit(claim, bench, on_batch)
    if claim.phase == "export_labels":
        return export_labels(claim, bench, on_batch)
    unit = JobUnit(claim, outputs, bench, on_batch, is_halved=is_halved, run=_run_method)
    torch.set_num_threads(unit.threads)
    return _run_method(unit)


def _run_method(unit: JobUnit) -> Finished:
    return METHOD[unit.claim.phase](unit)


def plan_of(config: DistillConfig, num_images: int, shard_images: int) -> list[Phase]:
    """The phases after `check`, with their units and their share of the work."""
    shards = -(-num_images // shard_images)
    views = 1 + config.classes_per_image
    main_step = COST_STEP * (2 if config.consistency_weight > 0 else 1)
    rows = [
        ("embed", shards, False, COST_PASS, 1),
        ("debias", 1, False, COST_SMALL, 1),
        ("warm_up", config.warm_up_epochs + 1, True, COST_STEP, config.warm_up_epochs + 1),
        ("localize", shards, False, COST_PASS * views, 1),
        ("update", 1, False, COST_SMALL, 1),
        ("train", config.train_epochs, True, main_step, config.train_epochs),
        ("score", 1, False, COST_PASS, 1),
    ]
    method = [
        Phase(name, Lane.METHOD, units, chained, weight=cost * passes, items=num_images * passes)
        for name, units, chained, cost, passes in rows
        if units
    ]
    # A weight is the cost of one image of the dataset: these look at a few of them.
    few = [("export", checked_images(num_images)), ("report", shown_images(num_images))]
    return method + [
        Phase(name, Lane.IO, weight=COST_PASS * looked_at / max(num_images, 1), items=looked_at)
        for name, looked_at in few
    ]


def shard_size(num_images: int, wanted: int) -> int:
    """Images of one unit: as many as wanted, or more where that would make too many units."""
    return max(wanted, -(-num_images // MAX_SHARDS))


def register_images(claim: Claim, bench: Workbench, on_files: OnCounted) -> Finished:
    """A folder or archive becomes a dataset."""
    facts = register(
        claim.record.id,
        claim.record.request,
        folder=bench.folder,
        nonce=claim.nonce,
        settings=bench.settings,
        on_files=on_files,
    )
    return Finished("", facts["counts"]["found"], facts=facts)


def predict(claim: Claim, bench: Workbench, on_batch: OnCounted) -> Finished:
    """A student's scores on the images of a dataset."""
    request = claim.record.request
    files = bench.files(request["dataset_id"])
    weights = bench.folder.student(request["student_id"]) / WEIGHTS
    digest = digest_of(
        hashlib.sha256(weights.read_bytes()).hexdigest(), list(files.sha256), bench.fingerprint()
    )

    def make(staging: Path) -> None:
        student, header = load_student(weights)
        probs = distill.predict(
            student,
            files,
            range(len(files)),
            side=header["preprocessing"]["side"],
            batch_size=PREDICT_BATCH,
            threads=bench.threads,
            on_batch=lambda done: on_batch(done, len(files)),
        )
        save_file({"probs": probs}, staging / "scores.safetensors")

    name = bench.folder.produce(f"predict-{digest}", make, nonce=claim.nonce)
    return Finished(name, len(files), facts={"counts": {"distinct": len(files)}})


# The phases of a job, in order


def check(unit: JobUnit) -> Finished:
    """Everything the API cannot know: weights, class names, student. Then the plan."""
    # The user's list: messages name its indices.
    given = sorted(zip(unit.class_order, unit.classes, strict=True), key=lambda pair: pair[0])
    check_names(unit.teacher.check_texts, [class_ for _, class_ in given], unit.config)
    training = unit.bench.start_training(unit.config, len(unit.classes))
    images = manifest_count(_copy_manifest(unit))
    shard_images = shard_size(len(unit.files), unit.bench.settings.shard_images)
    return Finished(
        "",
        len(unit.files),
        plan=plan_of(unit.config, len(unit.files), shard_images),
        facts={
            "fingerprint": {**unit.fingerprint, "teacher": unit.teacher.digest},
            "logit_scale": unit.teacher.logit_scale,
            "student_start": digest_of_tensors(training.weights()),
            "class_order": unit.class_order,
            "shard_images": shard_images,
            "counts": {"images": images, "distinct": len(unit.files)},
        },
    )


def _copy_manifest(unit: JobUnit) -> Path:
    """The job keeps its own list of images, so that its labels outlive the dataset."""
    source = unit.folder.dataset(unit.request["dataset_id"]) / MANIFEST
    target = unit.folder.job(unit.job_id) / MANIFEST
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{MANIFEST}-{unit.claim.nonce}")
    shutil.copyfile(source, partial)
    sync_file(partial)
    partial.replace(target)
    sync_folder(target.parent)
    return target


def embed(unit: JobUnit) -> Finished:
    """Teacher features of the global views of one shard."""

    def make(staging: Path) -> None:
        features = distill.embed(
            unit.teacher,
            unit.files,
            unit.shard,
            batch_size=unit.teacher_batch,
            threads=unit.threads,
            on_batch=unit.on_batch,
        )
        save_file({"features": features}, staging / "features.safetensors")

    digest = unit.digest(unit.shard_sha256, *unit.halving, fields=EMBED_FIELDS)
    name = unit.produce(f"embed-{digest}", make)
    return Finished(name, len(unit.shard), reused=unit.was_there)


def debias(unit: JobUnit) -> Finished:
    """Global probabilities, bias and debiased labels: here the class names enter."""
    parents = unit.all_outputs("embed")

    def make(staging: Path) -> None:
        names = distill.encode_names(unit.teacher, unit.classes, unit.config)
        features = _joined(unit, parents, "features.safetensors", "features")
        found = distill.label_globally(features, names, unit.config)
        save_file({"probs": found.probs, "labels": found.labels}, staging / "labels.safetensors")
        save_file(
            {
                "features": names.features,
                "factors": found.bias.factors,
                "counts": found.bias.counts,
            },
            staging / "names.safetensors",
        )
        reference = distill.encode_reference(unit.teacher, unit.classes, names, unit.config)
        save_file({"features": reference}, staging / "reference.safetensors")

    texts = [[c.name, class_texts(c, unit.config.templates)] for c in unit.classes]
    name = unit.produce(f"debias-{unit.digest(parents, texts, fields=DEBIAS_FIELDS)}", make)
    bias = unit.tensors(name, "names.safetensors")
    counts = bias["counts"].tolist()
    facts = {
        "bias": {"factors": bias["factors"].tolist(), "images": counts},
        "warnings": never_top_1([c.name for c in unit.classes], counts),
    }
    return Finished(name, len(unit.files), facts=facts, reused=unit.was_there)


def warm_up(unit: JobUnit) -> Finished:
    """One epoch on the debiased labels; the last unit finds the class threshold."""
    epochs, last = Epochs(unit), unit.config.warm_up_epochs - 1
    if unit.claim.unit <= last:
        return epochs.run(unit.claim.unit)

    def make(staging: Path) -> None:
        threshold = distill.find_class_threshold(
            epochs.student_after(last),
            unit.files,
            config=replace(unit.config, batch_size=unit.batch_size),
            threads=unit.threads,
            on_batch=unit.on_batch,
        )
        write_json(staging / "threshold.json", {"class_threshold": threshold})

    digest = unit.digest(epochs.digest(last), *unit.halving, fields=LOCALIZE_FIELDS)
    name = unit.produce(f"threshold-{digest}", make)
    return Finished(name, len(unit.files), reused=unit.was_there)


def localize(unit: JobUnit) -> Finished:
    """Local views of one shard, chosen by the warmed-up student, labelled by the teacher."""
    chosen_by = unit.output("warm_up", unit.config.warm_up_epochs)
    labelled_by = unit.output("debias")

    def make(staging: Path) -> None:
        features = unit.tensors(labelled_by, "names.safetensors")["features"]
        chosen = read_json(unit.whole(chosen_by) / "threshold.json")
        views = distill.localize(
            unit.teacher,
            distill.Names(features, len(unit.classes), unit.teacher.logit_scale),
            Epochs(unit).student_after(unit.config.warm_up_epochs - 1),
            unit.files,
            unit.shard,
            threshold=chosen["class_threshold"],
            config=replace(unit.config, teacher_batch=unit.teacher_batch),
            threads=unit.threads,
            on_batch=unit.on_batch,
        )
        save_file(vars(views), staging / "views.safetensors")

    digest = unit.digest(chosen_by, labelled_by, unit.shard_sha256, *unit.halving)
    name = unit.produce(f"localize-{digest}", make)
    return Finished(name, len(unit.shard), reused=unit.was_there)


def update(unit: JobUnit) -> Finished:
    """Pseudo-labels: global and local labels blended."""
    parents, labelled_by = unit.all_outputs("localize"), unit.output("debias")

    def make(staging: Path) -> None:
        labels = unit.tensors(labelled_by, "labels.safetensors")
        bias = unit.tensors(labelled_by, "names.safetensors")
        found = distill.GlobalLabels(
            labels["probs"], labels["labels"], Bias(bias["factors"], bias["counts"])
        )
        local_probs = _joined(unit, parents, "views.safetensors", "local_probs")
        pseudo = distill.blend(found, local_probs, unit.config)
        save_file({"labels": pseudo}, staging / "labels.safetensors")

    name = unit.produce(f"update-{unit.digest(labelled_by, parents, fields=UPDATE_FIELDS)}", make)
    return Finished(name, len(unit.files), reused=unit.was_there)


def train(unit: JobUnit) -> Finished:
    """One epoch of the main training, on the pseudo-labels."""
    return Epochs(unit).run(unit.config.warm_up_epochs + unit.claim.unit)


METHOD: dict[str, Callable[[JobUnit], Finished]] = {
    "check": check,
    "embed": embed,
    "debias": debias,
    "warm_up": warm_up,
    "localize": localize,
    "update": update,
    "train": train,
    "score": score,
    "export": export,
    "report": report,
}


def _joined(unit: JobUnit, names: Sequence[str], file: str, tensor: str) -> Tensor:
    """One tensor of every shard, one below the other; nothing else of the shards is read."""
    return torch.cat([read_tensor(unit.whole(name) / file, tensor) for name in names])
