"""Does the health report name what was broken on purpose, and leave a clean set alone?

The tuning seeds of the drawn world, preset `tiny`. The limits of models/health.py were chosen on
the first two of them. `--names` tells instead how near synonyms lie in a sentence encoder.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from operator import itemgetter
from pathlib import Path
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

from demo.world import CLASSES, TUNING_SEEDS, WORLD, WorldSettings, write_world
from models import distill
from models.config import PRESETS
from models.data import ImageFiles
from models.evidence import Evidence, Views, whole_views
from models.health import Severity, findings
from models.prompts import BACKGROUND_NAMES, ClassPrompt
from models.teacher import Teacher
from models.vitals import Vitals, closest_names, take_vitals
from workers.experiments.benchmarks import VOC_CLASSES

NAMES = [ClassPrompt(name) for name in sorted(CLASSES)]
TWIN, MISSING, GREEDY = "sheep", "banana", "lamp"

#: Two names each for one thing.
SYNONYMS = (
    *(("sofa", "couch"), ("car", "automobile"), ("bicycle", "bike"), ("airplane", "aeroplane")),
    *(("television", "tv"), ("motorcycle", "motorbike"), ("telephone", "phone"), ("cup", "mug")),
    *(("refrigerator", "fridge"), ("carpet", "rug"), ("ship", "boat"), ("spectacles", "glasses")),
)


@dataclass(frozen=True)
class Case:
    """A job that is clean, or broken in one way.

    Attributes:
        name: what is wrong with it.
        expected: the code of the finding that says so; None: no warning is to be raised.
        world: how its scenes are drawn.
        classes: what is looked for.
        tamper: changes (T, D) text features, given (N, D) image features.
    """

    name: str
    expected: str | None
    world: WorldSettings = WORLD
    classes: tuple[ClassPrompt, ...] = tuple(NAMES)
    tamper: Callable[[Tensor, Tensor], Tensor] = lambda text, _: text


def towards_all_images(text: Tensor, images: Tensor) -> Tensor:
    """The features of `GREEDY` moved half the way to the mean image: it is seen everywhere."""
    row = [name.name for name in NAMES].index(GREEDY)
    moved = text.clone()
    moved[row] = F.normalize(text[row] + F.normalize(images.mean(dim=0), dim=0), dim=0)
    return moved


CASES = (
    Case("clean", None),
    Case(
        "two classes with the same prompt",
        "names_coincide",
        classes=(*NAMES, ClassPrompt(f"{TWIN} again", (f"a photo of the {TWIN}",))),
    ),
    Case("a class that never occurs", "hardly_seen", WorldSettings(weights={MISSING: 0.0})),
    Case("30 % of the images show none", "none_of_the_classes", WorldSettings(none_share=0.3)),
    Case("a class heavily over-predicted", "over_predicted", tamper=towards_all_images),
)


def main() -> None:
    """Command line: `python -m benchmarks.health`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(TUNING_SEEDS))
    parser.add_argument("--names", action="store_true", help="how near synonyms lie")
    arguments = parser.parse_args()
    if arguments.names:
        print(name_table())
        return
    torch.set_num_threads(arguments.threads)
    print("| seed | case | figures | warnings |\n| --- | --- | --- | --- |")
    for seed in arguments.seeds:
        for case in CASES:
            with tempfile.TemporaryDirectory() as folder:
                vitals = run(case, Path(folder), seed, arguments.scenes, arguments.threads)
            print(row(seed, case, vitals), flush=True)


def name_table() -> str:
    """Distances of names over the usual one, for the offline teacher."""
    config = PRESETS["offline"]
    teacher = distill.load_teacher_of(config, device=torch.device("cpu"), weights_dir=None)

    def features(names: Iterable[str]) -> Tensor:
        return teacher.encode_classes([ClassPrompt(name) for name in names], config.templates)

    different = list(dict.fromkeys((*VOC_CLASSES, *BACKGROUND_NAMES)))
    nearest = closest_names(features(different), len(different))[0]
    rows = {
        " and ".join(pair): torch.dist(*features(pair)).item() / nearest.usual for pair in SYNONYMS
    }
    names = f"{different[nearest.a]} and {different[nearest.b]}, nearest of {len(different)} others"
    rows[names] = nearest.distance / nearest.usual
    lines = (f"| {name} | {ratio:.2f} |" for name, ratio in sorted(rows.items(), key=itemgetter(1)))
    return "\n".join(["| names | distance over the usual one |", "| --- | --- |", *lines])


def run(case: Case, folder: Path, seed: int, scenes: int, threads: int) -> Vitals:
    """The figures of one job."""
    write_world(folder, count=scenes, seed=seed, settings=case.world)
    paths = sorted(folder.glob("*.jpg"))
    files = ImageFiles(paths, [sha256(path.read_bytes()).hexdigest() for path in paths])
    config = replace(PRESETS["tiny"], seed=seed)
    teacher = distill.load_teacher_of(config, device=torch.device("cpu"), weights_dir=None)
    return _distilled(case, files, teacher, config, threads)


def _distilled(
    case: Case, files: ImageFiles, teacher: Teacher, config: distill.DistillConfig, threads: int
) -> Vitals:
    """The phases of `models.distill.distill`, with the text features changed on the way.

    The student is that of the last epoch.
    """
    everything = range(len(files))
    features = distill.embed(
        teacher, files, everything, batch_size=config.teacher_batch, threads=threads
    )
    honest = distill.encode_names(teacher, case.classes, config)
    names = replace(honest, features=case.tamper(honest.features, features))
    found = distill.label_globally(features, names, config)
    training = distill.start_training(config, len(case.classes), teacher, "cpu", None)

    def train(labels: Tensor, epochs: range) -> None:
        for epoch in epochs:
            distill.train_epoch(
                training, files, labels, epoch=epoch, config=config, threads=threads
            )

    train(found.labels, range(config.warm_up_epochs))
    student = training.averaged_student()
    views = distill.localize(
        teacher,
        names,
        student,
        files,
        everything,
        threshold=distill.find_class_threshold(student, files, config=config, threads=threads),
        config=config,
        threads=threads,
    )
    pseudo = distill.blend(found, views.local_probs, config)
    train(pseudo, range(config.warm_up_epochs, config.epochs))
    scores = distill.predict(
        training.averaged_student(),
        files,
        everything,
        side=config.student_size,
        batch_size=config.batch_size,
        threads=threads,
    )
    whole = whole_views(
        [features],
        names.features,
        distill.encode_reference(teacher, case.classes, honest, config),
        num_classes=len(case.classes),
        logit_scale=names.logit_scale,
    )
    evidence = Evidence(
        names=[class_.name for class_ in case.classes],
        text=names.features,
        whole=whole,
        max_entropy=config.max_entropy(len(names.features)),
        bias=found.bias,
        global_probs=found.probs,
        local_probs=views.local_probs,
        pseudo=pseudo,
        scores=scores,
        thresholds=distill.label_thresholds(scores, pseudo),
    )
    return take_vitals(evidence, lambda: [Views(views.boxes, views.classes, views.offsets)])


def row(seed: int, case: Case, vitals: Vitals) -> str:
    """One line of the table; what was not to be found, or was not found, is marked."""
    warnings = [f for f in findings(vitals) if f.severity is Severity.WARNING]
    codes = {finding.code for finding in warnings}
    is_right = not codes if case.expected is None else case.expected in codes
    told = "; ".join(f"{f.code} {', '.join(f.classes)}".strip() for f in warnings) or "none"
    pair, near = vitals.pairs[0], vitals.name_pairs[0]
    region = "-" if pair.region is None else f"{pair.region:.2f}"
    figures = [
        f"nearest names {near.distance / near.usual:.2f}",
        f"closest pair {pair.overlap:.2f} in {pair.images}, region {region}",
        f"next pair {vitals.pairs[1].overlap:.2f}, mean region {fmean(_regions(vitals)):.2f}",
        f"rarest sighting {min(_seen(vitals)):.2f}",
        f"background {vitals.background_share:.2f}, unseen {vitals.unseen_share:.2f}",
        f"most frequent first {max(vitals.first_shares):.2f}",
        f"agreement {vitals.agreement:.2f}, lowest {min(_agreements(vitals)):.2f}",
        f"sure {vitals.low_entropy:.2f}",
    ]
    return (
        f"| {seed} | {case.name} | {'; '.join(figures)} | {'' if is_right else 'WRONG: '}{told} |"
    )


def _seen(vitals: Vitals) -> list[float]:
    """Sightings of each class that fires, over the images that it is given to."""
    both = zip(vitals.sightings, vitals.fired, strict=True)
    return [seen / fired for seen, fired in both if fired]


def _regions(vitals: Vitals) -> list[float]:
    """Overlap of the local views of the pairs that fire together most."""
    return [pair.region for pair in vitals.pairs if pair.region is not None]


def _agreements(vitals: Vitals) -> list[float]:
    return [agreement for agreement in vitals.class_agreement if agreement is not None]


if __name__ == "__main__":
    main()
