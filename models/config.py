"""Every number of the method, with its meaning, range and source, and the presets."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from models.rules import ConfigError, OneOf, Real, Rule, Switch, Templates, Text, Whole, shown

__all__ = [
    "DEFAULT_PRESET",
    "METHOD_VERSION",
    "PRESETS",
    "RULES",
    "STUDENTS",
    "ConfigError",
    "DistillConfig",
    "parse_settings",
    "resolve",
]

#: Part of the digest of every phase: raised when the same settings would give other results.
METHOD_VERSION = 2

#: Background names that there are; `min_names` cannot ask for more.
MAX_MIN_NAMES = 40

#: Entropy cut of the paper, 2 nats, as a fraction of the largest entropy of 20 names (ln 20).
PAPER_CUT_OF_20_NAMES = 2 / math.log(20)


@dataclass(frozen=True, kw_only=True)
class DistillConfig:
    """All settings of one run of the method; checked when made.

    The equations that the comments name are in docs/method.md. Defaults are the paper's where it
    gives one, see the preset `paper` for sources.

    Raises:
        ConfigError: a value has the wrong type or lies outside its range.
    """

    #: The frozen teacher, named as open_clip names it: "RN50x64/openai", "hf-hub:...",
    #: "local-dir:/path"; or "bundled:tiny", "offline:lite0-minilm".
    teacher: str
    #: Side of the teacher's square view in pixels, [32, 2048]; None: the model's own.
    view_size: int | None = None
    #: What the teacher's input is normalised with: its own numbers ("teacher") or ImageNet's.
    normalisation: str = "teacher"
    #: Multiplies the cosine before the softmax, (0, 1000]; None: the teacher's own.
    logit_scale: float | None = None
    #: Sentences for a class without prompts of its own; each holds {} once, where the name goes.
    templates: tuple[str, ...] = ("a photo of the {}",)
    #: Whether background names fill the softmax up to `min_names` names. docs/method.md 3.
    background: bool = False
    #: Names in the softmax at least, where `background` is on; [2, 40].
    min_names: int = 20
    #: Entropy up to which an image counts for the bias: nats, (0, 10], or, if
    #: `entropy_relative`, a fraction in (0, 1] of the largest possible. docs/method.md 4.
    entropy_cut: float
    #: Whether `entropy_cut` is a fraction of ln(names in the softmax).
    entropy_relative: bool
    #: The label floor is 1 / max(classes, floor_classes); [1, 10000]. docs/method.md 5.
    floor_classes: int = 20
    #: Weight of the global labels in the label update, [0, 1]. docs/method.md 11.
    alpha: float
    #: The network trained: one of `STUDENTS`; "teacher-tower" copies the teacher's image tower.
    student: str
    #: Where it starts: "imagenet", "random", or the path of a local file of weights. The student
    #: "teacher-tower" has its weights from the teacher and ignores this.
    student_weights: str = "imagenet"
    #: Side of the student's square view in pixels, [32, 2048].
    student_size: int
    #: Output stride of the trunk at most: later stages are dilated; None: as the network is.
    student_stride: int | None = None
    #: Positive CAM values are multiplied by this, (0, 100]. docs/method.md 6.
    boost: float = 3.0
    #: Side in pixels at which the student looks for boxes, [32, 2048].
    cam_size: int
    #: Pixels of a CAM above this, after min-max, make its box; [0, 1). docs/method.md 9.
    cam_threshold: float = 0.95
    #: Added to a box on each side, as a fraction of the view's side, [0, 0.5]: 80 of 640 pixels.
    box_margin: float = 0.125
    #: Wanted mean number of classes of an image that get a local view, (0, 1000].
    #: docs/method.md 8.
    classes_per_image: float
    #: Epochs on the debiased global labels, [1, 200].
    warm_up_epochs: int
    #: Epochs on the updated labels, [1, 200].
    train_epochs: int
    #: Images per training step, [1, 4096].
    batch_size: int
    #: Adam's learning rate for the trunk, [0, 1].
    backbone_lr: float
    #: Adam's learning rate for the 1x1 convolution, (0, 1].
    head_lr: float
    #: Adam's L2 penalty, [0, 1].
    weight_decay: float = 0.0
    #: "constant", or "cosine": to zero over all epochs.
    lr_schedule: str = "constant"
    #: Decay per step of the moving average of the weights, [0, 1); 0: no average.
    ema_decay: float = 0.0
    #: Weight of the consistency loss in the main training, [0, 100]. docs/method.md 12.
    consistency_weight: float = 1.0
    #: Strength of the strong view's colour jitter, [0, 0.5]; hue turns by at most this share of
    #: the circle.
    jitter: float = 0.5
    #: Arithmetic of teacher and student training on CUDA, "fp32", "bf16" or "fp16" (autocast);
    #: elsewhere always fp32.
    precision: str = "fp32"
    #: Views of one teacher pass, [1, 4096].
    teacher_batch: int
    #: Where all randomness starts, [0, 2^63). docs/method.md 16.
    seed: int = 0

    def __post_init__(self) -> None:
        for name, rule in RULES.items():
            object.__setattr__(self, name, rule.check(name, getattr(self, name)))
        if self.entropy_relative and self.entropy_cut > 1:
            raise ConfigError(
                "entropy_cut", self.entropy_cut, "lie in (0, 1] where entropy_relative is true"
            )

    @property
    def epochs(self) -> int:
        """Epochs of warm-up and main training together."""
        return self.warm_up_epochs + self.train_epochs

    def max_entropy(self, num_names: int) -> float:
        """Entropy cut in nats for a softmax over `num_names` names, background included."""
        return self.entropy_cut * (math.log(num_names) if self.entropy_relative else 1.0)

    def floor(self, num_classes: int) -> float:
        """Smallest probability that a class counts with before the bias is divided out."""
        return 1 / max(num_classes, self.floor_classes)

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON: `resolve` of them gives this configuration back."""
        return asdict(self) | {"templates": list(self.templates)}


#: Networks that can be trained, smallest ResNet first.
STUDENTS = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "tf_efficientnet_lite0",
    "teacher-tower",
)

SIDE = Whole(32, 2048)

#: What each field may hold.
RULES: dict[str, Rule] = {
    "teacher": Text(),
    "view_size": Whole(32, 2048, optional=True),
    "normalisation": OneOf(("teacher", "imagenet")),
    "logit_scale": Real(0, 1000, open_low=True, optional=True),
    "templates": Templates(),
    "background": Switch(),
    "min_names": Whole(2, MAX_MIN_NAMES),
    "entropy_cut": Real(0, 10, open_low=True),
    "entropy_relative": Switch(),
    "floor_classes": Whole(1, 10_000),
    "alpha": Real(0, 1),
    "student": OneOf(STUDENTS),
    "student_weights": Text(),
    "student_size": SIDE,
    "student_stride": OneOf((None, 8, 16, 32)),
    "boost": Real(0, 100, open_low=True),
    "cam_size": SIDE,
    "cam_threshold": Real(0, 1, open_high=True),
    "box_margin": Real(0, 0.5),
    "classes_per_image": Real(0, 1000, open_low=True),
    "warm_up_epochs": Whole(1, 200),
    "train_epochs": Whole(1, 200),
    "batch_size": Whole(1, 4096),
    "backbone_lr": Real(0, 1),
    "head_lr": Real(0, 1, open_low=True),
    "weight_decay": Real(0, 1),
    "lr_schedule": OneOf(("constant", "cosine")),
    "ema_decay": Real(0, 1, open_high=True),
    "consistency_weight": Real(0, 100),
    "jitter": Real(0, 0.5),
    "precision": OneOf(("fp32", "bf16", "fp16")),
    "teacher_batch": Whole(1, 4096),
    "seed": Whole(0, 2**63 - 1),
}

# Sources: [paper] the paper; [script] the released training script for VOC 2012; [inferred] from
# what the script's logs show; [ours] neither has it, or we have a reason to differ.
PAPER = DistillConfig(
    teacher="RN50x64/openai",  # [script] its only teacher
    view_size=640,  # [script]
    normalisation="teacher",  # [ours] the script feeds CLIP with ImageNet's numbers
    logit_scale=None,  # [script] 100, which is what this teacher learned
    templates=("a photo of the {}",),  # [script]
    background=False,  # [script] the softmax is over the classes alone
    min_names=20,  # [ours] of no effect without background
    entropy_cut=2.0,  # [script] nats, whatever the number of classes
    entropy_relative=False,  # [script]
    floor_classes=20,  # [script] the floor is 1/20 for VOC's 20 classes
    alpha=0.4,  # [paper] the peak of its sweep
    student="resnet101",  # [paper]
    student_weights="imagenet",  # [script] torchvision's first ImageNet weights
    student_size=448,  # [script]
    student_stride=None,  # [script] 32: CAMs of 14x14 at 448, 20x20 at 640
    boost=3.0,  # [script] BoostLU coefficient
    cam_size=640,  # [script] boxes are looked for at the teacher's size
    cam_threshold=0.95,  # [paper], [script]
    box_margin=0.125,  # [script] 80 of 640 pixels
    classes_per_image=10,  # [inferred] logs of the script: 9.5 to 11.0 at the cropping size
    warm_up_epochs=2,  # [script] labels are updated at the start of its third epoch
    train_epochs=8,  # [script] ten in all
    batch_size=16,  # [script]
    backbone_lr=1e-5,  # [script] Adam
    head_lr=1e-4,  # [script] ten times the trunk's
    weight_decay=0.0,  # [script]
    lr_schedule="constant",  # [script]
    ema_decay=0.0,  # [script] none
    consistency_weight=1.0,  # [script]
    jitter=0.5,  # [script] brightness, contrast, saturation and hue alike
    precision="fp32",  # [script] the student; its teacher runs in fp16
    teacher_batch=8,  # [ours] the script has 1; does not change the labels
    seed=0,  # [ours] the script sets none
)

#: The settings in which the released script differs from the paper or from CLIP's own numbers.
RELEASED = replace(
    PAPER,
    normalisation="imagenet",  # [script]
    logit_scale=100.0,  # [script] written out
    alpha=0.2,  # [script] its argument `ratio`
    student="resnet50",  # [script] built whatever its argument `arch` says
)

BALANCED = replace(
    PAPER,
    teacher="ViT-L-14-336/openai",
    view_size=336,
    background=True,  # users' lists are short: 3 names without it label every photo
    entropy_cut=PAPER_CUT_OF_20_NAMES,  # the paper's 2 nats at its 20 classes, fair at any number
    entropy_relative=True,
    student="resnet50",
    precision="fp16",  # as the script's teacher, on any CUDA card
    teacher_batch=64,
)

FAST = replace(
    BALANCED,
    teacher="ViT-B-16/openai",
    view_size=224,
    student="resnet18",
    student_size=224,
    cam_size=320,  # 224 x 640/448: the paper's own step from training to cropping; CAMs of 10x10
    classes_per_image=5,
    train_epochs=6,
    teacher_batch=128,
)

OFFLINE = replace(
    BALANCED,
    teacher="offline:lite0-minilm",
    view_size=224,
    templates=("a photo of a {}.",),  # the sentence its two towers were joined with
    # Over 80 names 76 of 128 photos count so, 62 % of them with a right first name; at the paper's
    # 0.668 it would be 104 photos and 53 %.
    entropy_cut=0.5,
    alpha=0.6,  # on 128 photos, tiles as local views: mAP of the labels +3.6 at 0.6, +2.6 at 0.4
    student="tf_efficientnet_lite0",
    student_size=224,
    cam_size=320,  # as `fast`
    classes_per_image=5,
    train_epochs=4,
    # Ten times the paper's: for folders of hundreds of photos, a tenth of the steps of VOC's 5,717.
    backbone_lr=1e-4,
    head_lr=1e-3,
    precision="fp32",
    teacher_batch=32,
)

TINY = replace(
    PAPER,
    teacher="bundled:tiny",
    view_size=None,  # 80: small objects get lost in it, which is the point
    student="teacher-tower",
    student_size=112,
    student_stride=16,  # CAMs of 7x7; 8 trains three times slower on a CPU
    cam_size=160,  # 112 x 640/448, the paper's own step: boxes from CAMs of 10x10
    classes_per_image=5,
    train_epochs=4,
    batch_size=32,
    # 20 times the paper's: 2,000 scenes are 63 steps an epoch, VOC's 5,717 photos are 358.
    backbone_lr=2e-4,
    head_lr=2e-3,
    teacher_batch=64,
)

PRESETS: Mapping[str, DistillConfig] = {
    "paper": PAPER,
    "released": RELEASED,
    "balanced": BALANCED,
    "fast": FAST,
    "offline": OFFLINE,
    "tiny": TINY,
}

DEFAULT_PRESET = "balanced"


def resolve(preset: str, overrides: Mapping[str, object]) -> DistillConfig:
    """The preset with some of its fields replaced.

    Raises:
        ConfigError: no such preset or field (the message names the nearest); a value not allowed.
    """
    if preset not in PRESETS:
        allowed = f"be one of {', '.join(PRESETS)}"
        message = f"preset must {allowed}, is {shown(preset)}{_nearest(preset, PRESETS)}"
        raise ConfigError("preset", preset, allowed, message=message)
    for name, value in overrides.items():
        if name not in RULES:
            message = f"{shown(name)} is not a setting{_nearest(name, RULES)}"
            raise ConfigError(name, value, "be a known setting", message=message)
    changes: dict[str, Any] = dict(overrides)
    return replace(PRESETS[preset], **changes)


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """`["alpha=0.2", "student=resnet18"]` -> values read as JSON where they are JSON.

    Raises:
        ConfigError: one is not given as name=value.
    """
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            message = f"config is given as name=value, is {pair!r}"
            raise ConfigError("config", pair, "be given as name=value", message=message)
        try:
            settings[name] = json.loads(value)
        except json.JSONDecodeError:
            settings[name] = value
    return settings


def _nearest(name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""
