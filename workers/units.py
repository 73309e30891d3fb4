"""What a unit of work reads and leaves behind, and what a worker keeps in memory between units."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import structlog
import torch
import torchvision
from safetensors.torch import load_file, save
from torch import Tensor

from models import distill
from models.config import METHOD_VERSION, DistillConfig
from models.data import ImageFiles
from models.portable import LoadedStudent, load_student
from models.prompts import ClassPrompt, canonical_order
from models.teacher import Teacher, TeacherError
from models.training import Training
from workers.digests import digest_of
from workers.files import DataFolder
from workers.halving import is_halved as was_halved
from workers.hardware import device_name, device_of
from workers.jobs import Claim, Phase
from workers.rows import content_files
from workers.settings import Settings

logger = structlog.get_logger()

OnBatch = Callable[[int], None]


class OnCounted(Protocol):
    """As `OnBatch`, of a unit whose images nobody counted before."""

    def __call__(self, done: int, total: int = 0, /) -> None: ...


#: Fields of the config that decide what the teacher's image features are.
EMBED_FIELDS = ("teacher", "view_size", "normalisation", "precision", "teacher_batch")


@dataclass(frozen=True)
class Finished:
    """What a unit leaves behind, for the record."""

    #: Name of the output folder; empty where the unit has none.
    output: str
    #: Images that the unit was about.
    done: int
    plan: Sequence[Phase] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    #: Whether the output lay there already.
    reused: bool = False


class Workbench:
    """What a worker process keeps in memory from one unit to the next: one of each, the latest."""

    def __init__(self, settings: Settings, folder: DataFolder) -> None:
        self.settings = settings
        self.folder = folder
        self._teacher: tuple[str, Teacher] | None = None
        self._files: tuple[str, ImageFiles] | None = None
        self._training: tuple[str, Training] | None = None
        self._student: tuple[str, LoadedStudent] | None = None

    @property
    def device(self) -> torch.device:
        """The device of this worker: as set, or CUDA where there is one."""
        return device_of(self.settings.device)

    @property
    def threads(self) -> int:
        """Threads of torch and of decoding: as set, or one a core."""
        return self.settings.threads or len(os.sched_getaffinity(0))

    def teacher(self, config: DistillConfig) -> Teacher:
        """The teacher of `config`, loaded once."""
        key = json.dumps([config.logit_scale, subset(config, EMBED_FIELDS)])
        if self._teacher is None or self._teacher[0] != key:
            self._teacher = None  # the old one goes before the new one comes
            loaded = distill.load_teacher_of(
                config, device=self.device, weights_dir=self.settings.weights_folder
            )
            self._teacher = (key, loaded)
        return self._teacher[1]

    def files(self, dataset_id: str) -> ImageFiles:
        """The distinct images of a dataset."""
        if self._files is None or self._files[0] != dataset_id:
            self._files = (dataset_id, ImageFiles(*content_files(self.folder.dataset(dataset_id))))
        return self._files[1]

    def student(self, path: Path, sha256: str) -> LoadedStudent:
        """The student in a file with this digest, loaded once, on the CPU."""
        if self._student is None or self._student[0] != sha256:
            self._student = None  # as above
            self._student = (sha256, load_student(path)[0])
        return self._student[1]

    def start_training(self, config: DistillConfig, num_classes: int) -> Training:
        """A fresh student and its optimizer on this worker's device."""
        return distill.start_training(
            config,
            num_classes,
            self.teacher(config),
            self.device,
            self.settings.weights_folder,
        )

    def free_memory(self) -> None:
        """Let go of everything that can be had again."""
        self._teacher = self._training = self._student = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def keep_training(self, digest: str, training: Training) -> None:
        """Remember a training as it stands after the epoch `digest`."""
        self._training = (digest, training)

    def take_training(self, digest: str) -> Training | None:
        """The training that stands after `digest`, if it is the one kept; it is kept no longer."""
        kept, self._training = self._training, None
        return kept[1] if kept is not None and kept[0] == digest else None

    def fingerprint(self) -> dict[str, Any]:
        """Versions, device and threads: same fingerprint and inputs, same bytes (on a CPU)."""
        return fingerprint_of(self.device, self.threads)


class OutputDamaged(Exception):
    """The output of a unit that is done is damaged, and cannot be made again as it was."""

    code = "artifact_corrupt"
    hint = "start the job again: what is whole is not done again"
    retryable = True

    def __init__(self, name: str) -> None:
        super().__init__(f"the files of {name} are damaged, and this worker makes others")


class JobUnit:
    """One unit of a job: its inputs by name, and where its output goes."""

    def __init__(
        self,
        claim: Claim,
        outputs: Mapping[tuple[str, int], str],
        bench: Workbench,
        on_batch: OnBatch,
        *,
        is_halved: bool = False,
        run: Callable[[JobUnit], Finished],
    ) -> None:
        """`run` runs any unit of a job; see `whole`."""
        #: Whether this is the second try after memory ran out.
        self.is_halved = is_halved
        self._run = run
        self.claim, self.outputs, self.bench, self.on_batch = claim, outputs, bench, on_batch
        self.folder = bench.folder
        self.job_id = claim.record.id
        self.facts = dict(claim.record.facts)
        self.request = claim.record.request
        self.config = DistillConfig(**self.request["config"])
        self.was_there = False

    @property
    def is_last_resort(self) -> bool:
        """Whether this is the last attempt, after all others took their worker down."""
        return 1 < self.claim.attempt >= self.bench.settings.max_attempts

    @cached_property
    def class_order(self) -> list[int]:
        """For each column of the results, the class's position in the user's list."""
        return canonical_order([c["name"] for c in self.request["classes"]])

    @cached_property
    def classes(self) -> list[ClassPrompt]:
        """The classes in canonical order."""
        given = self.request["classes"]
        return [ClassPrompt(given[i]["name"], tuple(given[i]["prompts"])) for i in self.class_order]

    @cached_property
    def files(self) -> ImageFiles:
        """The distinct images of the job's dataset."""
        return self.bench.files(self.request["dataset_id"])

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What the bytes of the results depend on besides the inputs; fixed by `check`."""
        return self.facts.get("fingerprint") or self.bench.fingerprint()

    @property
    def threads(self) -> int:
        return int(self.fingerprint["threads"])

    @property
    def teacher(self) -> Teacher:
        """The teacher of the job.

        Raises:
            TeacherError: its weights are no longer those that `check` found.
        """
        teacher = self.bench.teacher(self.config)
        if self.fingerprint.get("teacher", teacher.digest) != teacher.digest:
            raise TeacherError(
                "weights_changed",
                f"the weights of {teacher.name} changed while the job was running",
                "Start the job again.",
            )
        return teacher

    @property
    def teacher_batch(self) -> int:
        """Views that the teacher sees at once in this unit."""
        return self.config.teacher_batch // (2 if self.is_halved else 1)

    @property
    def batch_size(self) -> int:
        """Images that the student answers on at once in this unit."""
        return self.config.batch_size // (2 if self.is_halved else 1)

    @property
    def halving(self) -> tuple[str, ...]:
        """A part of the digests of what this unit makes: half a batch may round otherwise."""
        return ("half the batch",) if self.is_halved else ()

    @property
    def shard(self) -> range:
        """The images of this unit of `embed` or `localize`."""
        size = self.facts["shard_images"]
        start = self.claim.unit * size
        return range(start, min(start + size, len(self.files)))

    @property
    def shard_sha256(self) -> list[str]:
        """The contents of the shard's images."""
        return [self.files.sha256[i] for i in self.shard]

    def output(self, phase: str, unit: int = 0) -> str:
        """Name of the folder of a unit that is done."""
        return self.outputs[phase, unit]

    def all_outputs(self, phase: str) -> list[str]:
        """Names of the folders of a phase's units, in order."""
        return [name for (of_phase, _), name in sorted(self.outputs.items()) if of_phase == phase]

    def tensors(self, name: str, file: str) -> dict[str, Tensor]:
        """Tensors of one file of the output of a unit that is done."""
        return load_file(self.whole(name) / file)

    def whole(self, name: str) -> Path:
        """The output folder of a unit that is done, made again where it is gone or damaged.

        Raises:
            OutputDamaged: the same inputs now give another folder.
        """
        path = self.folder.phase(name)
        if not self.folder.is_complete(path):
            logger.warning("output.damaged", output=name)
            if not self._works_alike or self._made_again(name) != name:
                raise OutputDamaged(name)
        return path

    @property
    def _works_alike(self) -> bool:
        """Whether this worker has the versions and the device with which the job was begun."""
        own = {**self.bench.fingerprint(), "threads": self.threads}
        return own.items() <= self.fingerprint.items()

    def _made_again(self, name: str) -> str:
        phase, number = next(key for key, output in self.outputs.items() if output == name)
        unit = JobUnit(
            replace(self.claim, phase=phase, unit=number),
            self.outputs,
            self.bench,
            lambda _: self.on_batch(0),  # it moves no bar, but it is alive and can be stopped
            is_halved=was_halved(self.facts, phase, number),
            run=self._run,
        )
        return self._run(unit).output

    def digest(self, *inputs: object, fields: tuple[str, ...] = ()) -> str:
        """Digest of a unit's inputs: the fingerprint, `inputs` and some fields of the config."""
        return digest_of(self.fingerprint, *inputs, subset(self.config, fields))

    def produce(self, name: str, make: Callable[[Path], None]) -> str:
        """Name of the output folder `name`, made now unless it is already there."""
        was_there = self.folder.is_complete(self.folder.phase(name))
        self.folder.produce(name, make, nonce=self.claim.nonce)
        self.was_there = was_there  # last, because `make` may produce other folders
        return name


def fingerprint_of(device: torch.device, threads: int) -> dict[str, Any]:
    """Versions, device and threads: what the bytes of results depend on besides their inputs."""
    return {
        "method": METHOD_VERSION,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "machine": platform.machine(),
        "device": device_name(device),
        "threads": threads,
    }


def subset(config: DistillConfig, fields: tuple[str, ...]) -> dict[str, object]:
    """Some fields of a config, as JSON has them."""
    values = config.to_dict()
    return {name: values[name] for name in fields}


def digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """64 hex digits that stand for the bytes of named tensors."""
    return hashlib.sha256(save(dict(tensors))).hexdigest()
