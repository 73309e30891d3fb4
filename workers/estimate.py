"""What a job would take: from what jobs like it took here, else from a table of costs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from models.config import DistillConfig
from models.errors import TeacherError
from models.prompts import ClassPrompt
from models.tokens import BUNDLED, check_names, check_texts, word_tokenizer
from workers.files import DataFolder
from workers.forecast import crew_of
from workers.jobs import DEFAULT_PROJECT, Kind, Lane, Record, Status
from workers.store import Store

#: Jobs that are looked through for some like it, newest first; of so many projects; and how many
#: of those like it are asked for their times.
MOST_JOBS, MOST_PROJECTS, MOST_ALIKE = 500, 50, 50
#: A job took as long an image as another where these are equal; epochs and images are counted.
PACE_FIELDS = (
    *("teacher", "view_size", "precision", "teacher_batch", "student", "student_size"),
    *("student_stride", "cam_size", "classes_per_image", "batch_size", "consistency_weight"),
)
#: Features are those of another job where these are, and the images.
EMBED_FIELDS = ("teacher", "view_size", "normalisation", "precision", "teacher_batch")
#: Without a time of each of these nothing is measured.
TIMED = ("embed", "warm_up", "localize", "train", "score")
#: A job that had fewer than one in so many of the images spent its time on other things.
MOST_GROWTH = 100
#: What no measurement sees: other work on the machine, and pauses between units, in seconds.
SLOWER, FASTER, PAUSES = 1.5, 0.7, 3.0

#: Operations for an image, from docs/scaling.json: (side in pixels, one look of the teacher).
TEACHER_OPERATIONS = {
    "RN50x64/openai": (640, 1.08e12),
    "ViT-L-14-336/openai": (336, 3.49e11),
    "ViT-B-16/openai": (224, 3.37e10),
    "offline:lite0-minilm": (224, 7.69e8),
    "bundled:tiny": (112, 1.12e8),
}
#: The same of a step of training, forwards and back.
STUDENT_OPERATIONS = {
    "resnet18": (224, 3.63e9),
    "resnet34": (224, 7.3e9),
    "resnet50": (448, 3.27e10),
    "resnet101": (448, 6.24e10),
    "tf_efficientnet_lite0": (224, 7.7e8),
    "teacher-tower": (112, 3.83e8),
}
#: Bytes of a student's weights.
STUDENT_BYTES = {
    "resnet18": 45e6,
    "resnet34": 87e6,
    "resnet50": 95e6,
    "resnet101": 171e6,
    "tf_efficientnet_lite0": 14e6,
    "teacher-tower": 40e6,
}
#: Weights that a job leaves, in sizes of a student: of three epochs, of the optimizer after two
#: (twice the size each), as the student itself and as ONNX.
COPIES = 3 + 2 * 2 + 2
#: Operations a second: of a core, as docs/scaling.json has it, and of a GPU, a careful guess.
CPU_OPERATIONS, GPU_OPERATIONS = 1.5e10, 1e13
#: Decoding of an image for one look at it, in seconds of a core; docs/scaling.json.
DECODING = 0.0025
#: What a job takes whatever its images, in seconds; and how far the table may be wrong.
START, OFF_BY = 15.0, 4.0
#: Bytes of an image in all phases, beside its features and its scores; floats are 4 bytes.
IMAGE_BYTES, FEATURES, SCORES = 800, 1024, 6


@dataclass(frozen=True)
class Seconds:
    """From the work of the job taken up to its end, without the time that it waits for its turn."""

    low: float
    likely: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """What a job would take."""

    #: Images that differ in their bytes; None where nobody knows.
    images: int | None
    #: Looks of the teacher at an image or a part of it.
    teacher_passes: int | None
    seconds: Seconds | None
    disk_bytes: int | None
    #: `measured` or `table`.
    basis: str
    warnings: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Wanted:
    """The job in question."""

    config: DistillConfig
    classes: Sequence[Mapping[str, Any]]
    #: None where nobody knows.
    images: int | None
    #: None for images that are not registered.
    dataset_id: str | None = None
    #: Whose jobs are looked at before others'.
    project: str = DEFAULT_PROJECT


def estimate(wanted: Wanted, store: Store, data: DataFolder) -> Estimate:
    """Low, likely and high; nothing is made."""
    jobs = list(_recent_jobs(store, wanted.project))
    crew = crew_of(Lane.METHOD, store)
    warnings = []
    if not crew:
        warnings.append(_warning("no_workers", "no worker of lane method is there to do it"))
    warnings += _name_warnings(wanted)
    if wanted.images is None:
        warnings.append(_warning("images_unknown", "the images are not counted yet; ask again"))
        return Estimate(None, None, None, None, "table", warnings)
    is_embedded = any(_has_features(job, wanted, store, data) for job in jobs)
    if is_embedded:
        message = "the teacher has seen these images: another job's features are used"
        warnings.append(_warning("features_reused", message))
    is_done = any(_is_same(job, wanted) for job in jobs)
    if is_done:
        message = "the same job was done before: as far as its files are there they are used"
        warnings.append(_warning("results_reused", message))
    measured = _measured(wanted, _times_of(jobs, wanted, store), is_embedded=is_embedded)
    gpus = sum(each.gpu is not None for each in crew)
    seconds = measured or _from_table(wanted, gpus, is_embedded=is_embedded)
    return Estimate(
        images=wanted.images,
        teacher_passes=_passes(wanted, is_embedded=is_embedded),
        seconds=Seconds(0.0 if is_done else seconds.low, seconds.likely, seconds.high),
        disk_bytes=_disk_bytes(wanted, is_embedded=is_embedded),
        basis="measured" if measured else "table",
        warnings=warnings,
    )


def _recent_jobs(store: Store, own: str) -> Iterator[Record]:
    """Of other projects too: how long one's job took says how long another's takes."""
    left = MOST_JOBS
    others = [project for project in store.projects() if project != own]
    for project in [own, *others][:MOST_PROJECTS]:
        found = store.list(Kind.JOB, project=project, limit=left)[0]
        yield from found
        left -= len(found)
        if not left:
            return


def _warning(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


def _name_warnings(wanted: Wanted) -> list[dict[str, Any]]:
    """What phase `check` would find of the names, where that is known without the teacher."""
    folder = BUNDLED.get(wanted.config.teacher)
    tokenizer = folder and word_tokenizer(folder)
    if not tokenizer:
        return []
    classes = [ClassPrompt(spec["name"], tuple(spec["prompts"])) for spec in wanted.classes]
    try:
        check_names(partial(check_texts, tokenizer), classes, wanted.config)
    except TeacherError as error:
        return [
            {**_warning(error.code, f"the job would fail: {error.message}"), "hint": error.hint}
        ]
    return []


def _has_features(job: Record, wanted: Wanted, store: Store, data: DataFolder) -> bool:
    """Whether another job left features of the images by the same teacher."""
    if job.request["dataset_id"] != wanted.dataset_id or not _agree(job, wanted, EMBED_FIELDS):
        return False
    names = [name for (phase, _), name in store.outputs(job.id).items() if phase == "embed"]
    planned = [phase.units for phase in job.phases if phase.name == "embed"]
    return planned == [len(names)] and all(data.phase(name).is_dir() for name in names)


def _is_same(job: Record, wanted: Wanted) -> bool:
    request = job.request
    return (
        job.status is Status.SUCCEEDED
        and request["dataset_id"] == wanted.dataset_id
        and request["config"] == wanted.config.to_dict()
        and list(request["classes"]) == list(wanted.classes)
    )


def _agree(job: Record, wanted: Wanted, fields: Sequence[str]) -> bool:
    config = wanted.config.to_dict()
    return all(job.request["config"].get(name) == config[name] for name in fields)


#: Of a phase: (seconds, items), one for each job that did it.
Times = dict[str, list[tuple[float, int]]]


def _times_of(jobs: Sequence[Record], wanted: Wanted, store: Store) -> Times:
    """How long the phases of jobs like it were in work, those left out that found work done."""
    alike = [job for job in jobs if _agree(job, wanted, PACE_FIELDS)][:MOST_ALIKE]
    times: Times = {}
    for job in alike:
        spent: dict[str, tuple[int, int, int]] = json.loads(store.spent(job.id))
        for phase, (milliseconds, items, reused) in spent.items():
            if not reused:
                times.setdefault(phase, []).append((milliseconds / 1000, items))
    return times


def _measured(wanted: Wanted, times: Times, *, is_embedded: bool) -> Seconds | None:
    if not all(phase in times for phase in TIMED if not (is_embedded and phase == "embed")):
        return None
    items = _items(wanted)
    low = likely = high = 0.0
    for phase, found in times.items():
        if is_embedded and phase == "embed":
            continue
        # What a phase takes grows with its images, or not at all, or something in between.
        grown = [(seconds, _growth(items.get(phase), before)) for seconds, before in found]
        grown = [(seconds, growth) for seconds, growth in grown if growth <= MOST_GROWTH]
        if not grown:
            return None
        low += min(seconds * min(1, growth) for seconds, growth in grown)
        likely += statistics.median(seconds * growth for seconds, growth in grown)
        high += max(seconds * max(1, growth) for seconds, growth in grown)
    return Seconds(low * FASTER, likely, high * SLOWER + PAUSES)


def _growth(items: int | None, before: int) -> float:
    return items / before if items and before else 1


def _items(wanted: Wanted) -> dict[str, int]:
    """Looks at an image of each phase that looks at all of them."""
    assert wanted.images is not None, "looked at before"
    times = {
        **dict.fromkeys(("embed", "debias", "localize", "update", "score"), 1),
        "warm_up": wanted.config.warm_up_epochs + 1,
        "train": wanted.config.train_epochs,
    }
    return {phase: wanted.images * many for phase, many in times.items()}


def _passes(wanted: Wanted, *, is_embedded: bool) -> int:
    assert wanted.images is not None, "looked at before"
    views = min(wanted.config.classes_per_image, len(wanted.classes))
    return round(wanted.images * ((0 if is_embedded else 1) + views))


def _from_table(wanted: Wanted, gpus: int, *, is_embedded: bool) -> Seconds:
    config, images = wanted.config, wanted.images or 0
    side, look = TEACHER_OPERATIONS.get(config.teacher, (336, 3.49e11))
    teacher = look * ((config.view_size or side) / side) ** 2
    side, step = STUDENT_OPERATIONS[config.student]
    student = step * (config.student_size / side) ** 2
    steps = config.warm_up_epochs + 1 + config.train_epochs * (1 + (config.consistency_weight > 0))
    cam = student / 3 * (config.cam_size / config.student_size) ** 2
    operations = _passes(wanted, is_embedded=is_embedded) * teacher
    operations += images * (cam + (steps + 1) * student)
    rate = gpus * GPU_OPERATIONS or CPU_OPERATIONS
    decoding = images * (steps + 3) * DECODING
    likely = START + decoding + operations / rate
    return Seconds(likely / OFF_BY, likely, likely * OFF_BY)


def _disk_bytes(wanted: Wanted, *, is_embedded: bool) -> int:
    features = 0 if is_embedded else FEATURES * 4
    scores = SCORES * 4 * len(wanted.classes)
    per_image = IMAGE_BYTES + features + scores
    return round(COPIES * STUDENT_BYTES[wanted.config.student] + (wanted.images or 0) * per_image)


def shown(found: Estimate) -> dict[str, Any]:
    """As JSON has it, seconds rounded to tenths."""
    content = asdict(found)
    if found.seconds is not None:
        content["seconds"] = {name: round(s, 1) for name, s in asdict(found.seconds).items()}
    return content
