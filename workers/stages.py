"""The kinds of labels that a job leaves, and the files in which their scores lie."""

from dataclasses import dataclass
from enum import StrEnum

from models.config import DistillConfig


class Stage(StrEnum):
    """A kind of label, in the order in which a job makes them."""

    GLOBAL = "global"
    DEBIASED = "debiased"
    LOCAL = "local"
    PSEUDO = "pseudo"
    STUDENT = "student"


@dataclass(frozen=True)
class StageFile:
    """Where a stage's scores lie."""

    phase: str
    file: str
    tensor: str
    #: Each unit of the phase has a shard of the images.
    is_sharded: bool = False


STAGE_FILES = {
    Stage.GLOBAL: StageFile("debias", "labels.safetensors", "probs"),
    Stage.DEBIASED: StageFile("debias", "labels.safetensors", "labels"),
    Stage.LOCAL: StageFile("localize", "views.safetensors", "local_probs", is_sharded=True),
    Stage.PSEUDO: StageFile("update", "labels.safetensors", "labels"),
    Stage.STUDENT: StageFile("score", "scores.safetensors", "probs"),
}
VIEWS_FILE = StageFile("localize", "views.safetensors", "offsets", is_sharded=True)
PREDICTION_FILE = StageFile("predict", "scores.safetensors", "probs")

#: Stages whose labels are the classes with this score; those of the student have thresholds, the
#: others say nothing of what is a label.
CERTAIN = 1.0
CERTAIN_STAGES = frozenset({Stage.DEBIASED, Stage.PSEUDO})
#: Stages that say which classes are labels of an image.
LABELLED_STAGES = (Stage.DEBIASED, Stage.PSEUDO, Stage.STUDENT)


def passes_of(config: DistillConfig) -> int:
    """How often the phases of a job look at each image, as `workers.phases.plan_of` has them."""
    once = ("embed", "debias", "localize", "update", "score")
    return len(once) + config.warm_up_epochs + 1 + config.train_epochs


def student_id_of(job_id: str) -> str:
    """A student has the id of its job but for the prefix."""
    return f"stu_{job_id.removeprefix('job_')}"
