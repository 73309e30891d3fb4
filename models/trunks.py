"""The convolutional trunks that a student can have, dilated where their grid would be coarse."""

from __future__ import annotations

from collections import OrderedDict
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from safetensors.torch import load_file
from torch import Tensor, nn

from models.dilation import dilate_resnet, pad_statically
from models.errors import TeacherError, WeightsMissing
from models.graph import NotPlain, graph_of
from models.hub import reachable
from models.offline import lite0_state
from models.random import stream_seed
from models.teacher import IMAGENET_MEAN, IMAGENET_STD, Teacher

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101")
LITE0 = "tf_efficientnet_lite0"
TEACHER_TOWER = "teacher-tower"
STUDENTS = (*RESNETS, LITE0, TEACHER_TOWER)

#: Pixels of input between two cells of the last feature map, as these networks are published.
NATIVE_STRIDE = 32


@dataclass(frozen=True, kw_only=True)
class Trunk:
    """A network from normalised images to feature maps.

    Attributes:
        features: (B, 3, S, S) to (B, channels, h, w).
        channels: of the feature maps.
        mean: of the input's three channels, for values in [0, 1].
        std: of the input's three channels.
    """

    features: nn.Module
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def make_trunk(
    name: str,
    *,
    size: int,
    stride: int | None,
    weights: str,
    seed: int,
    teacher: Teacher | None,
    weights_dir: Path | None,
) -> Trunk:
    """The trunk of that name; arguments as of `build_student`."""
    wanted = NATIVE_STRIDE if stride is None else stride
    if name == TEACHER_TOWER:
        if teacher is None:
            raise ValueError("a teacher-tower student needs the teacher")
        return _teacher_tower(teacher, size, wanted)
    if name not in STUDENTS:
        raise TeacherError(
            "unknown_student", f"there is no student {name!r}", f"Take one of {STUDENTS}."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed((seed, "trunk")))
        if name == LITE0:
            return _lite0(size, wanted, weights)
        return _resnet(name, wanted, weights, weights_dir)


def _resnet(name: str, stride: int, weights: str, weights_dir: Path | None) -> Trunk:
    network = torchvision.models.get_model(name)
    dilate_resnet(network, stride)
    channels = network.fc.in_features
    stages = OrderedDict(network.named_children())
    del stages["avgpool"], stages["fc"]
    features = nn.Sequential(stages)
    if weights != "random":
        _start(features, _resnet_state(name, weights, weights_dir), name)
    return Trunk(features=features, channels=channels, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def _resnet_state(name: str, weights: str, weights_dir: Path | None) -> dict[str, Tensor]:
    """ImageNet weights (torchvision's first version, the released code's) or those of a file."""
    if weights != "imagenet":
        return _read_state(name, Path(weights))
    published = torchvision.models.get_model_weights(name).IMAGENET1K_V1
    file, folders = resnet_file(name, weights_dir)
    for folder in folders:
        if (folder / file).is_file():
            return _read_state(name, folder / file)
    if not reachable(published.url):
        raise WeightsMissing(name, file)
    try:
        state: dict[str, Tensor] = published.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise WeightsMissing(name, file) from error
    return state


def resnet_file(name: str, weights_dir: Path | None) -> tuple[str, list[Path]]:
    """The name of a ResNet's file of ImageNet weights, and the folders it may lie in."""
    url = torchvision.models.get_model_weights(name).IMAGENET1K_V1.url
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    return url.rsplit("/", 1)[-1], [cache] if weights_dir is None else [weights_dir, cache]


def _read_state(name: str, path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsMissing(name, path.name)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes its reader raise
        raise _unreadable(name, str(error)) from error
    return state


def _start(features: nn.Module, state: dict[str, Tensor], name: str) -> None:
    """Load the weights of a classifier into its trunk; all but its last layer must be there."""
    kept = {k: v for k, v in state.items() if not k.startswith(("fc.", "classifier."))}
    try:
        found = features.load_state_dict(kept, strict=False)
    except RuntimeError as error:
        raise _unreadable(name, str(error)) from error
    missing = [k for k in found.missing_keys if not k.endswith("num_batches_tracked")]
    if missing or found.unexpected_keys:
        wrong = [*missing, *found.unexpected_keys]
        raise _unreadable(name, f"{len(wrong)} names differ, such as {wrong[0]}")


def _unreadable(name: str, reason: str) -> TeacherError:
    hint = "Take a file of the network's state_dict, as torchvision publishes it."
    return TeacherError("weights_unreadable", f"not the weights of {name}: {reason}", hint)


def _lite0(size: int, stride: int, weights: str) -> Trunk:
    features: Any = timm.create_model(LITE0, num_classes=0, global_pool="", output_stride=stride)
    if weights != "random":
        state = lite0_state() if weights == "imagenet" else _read_state(LITE0, Path(weights))
        _start(features, state, LITE0)
    pad_statically(features, size)
    half = (0.5, 0.5, 0.5)  # its published weights were trained on values in [-1, 1]
    return Trunk(features=features, channels=features.num_features, mean=half, std=half)


def _teacher_tower(teacher: Teacher, size: int, stride: int) -> Trunk:
    """A copy of the teacher's convolutions, dilated; the teacher itself is left as it is."""
    tower: Any = teacher.image_tower
    if isinstance(tower, TimmModel):
        features, channels = _timm_copy(tower.trunk, size, stride)
    elif isinstance(tower, ModifiedResNet):
        features, channels = _clip_resnet_copy(tower, stride)
    else:
        raise _not_convolutional(teacher.name)
    try:
        graph_of(features)
    except NotPlain as error:  # better now than when the student is to be saved
        raise _not_convolutional(teacher.name) from error
    features.requires_grad_(requires_grad=True)
    return Trunk(features=features, channels=channels, mean=teacher.mean, std=teacher.std)


def _timm_copy(trunk: Any, size: int, stride: int) -> tuple[nn.Module, int]:
    """The same timm network without its pooling, dilated by timm's own `output_stride`."""
    architecture = trunk.pretrained_cfg["architecture"]
    try:
        features: Any = timm.create_model(
            architecture, num_classes=0, global_pool="", output_stride=stride
        )
    except (TypeError, AssertionError) as error:
        raise _not_convolutional(architecture) from error
    features.load_state_dict(trunk.state_dict())
    pad_statically(features, size)
    return features, features.num_features


def _clip_resnet_copy(tower: Any, stride: int) -> tuple[nn.Module, int]:
    """A CLIP ResNet without its attention pool."""
    features = deepcopy(tower)
    channels = features.attnpool.positional_embedding.shape[1]
    features.attnpool = nn.Identity()
    dilate_resnet(features, stride)
    return features, channels


def _not_convolutional(name: str) -> TeacherError:
    return TeacherError(
        "unsuitable_teacher",
        f"the image tower of {name} is not a convolutional network of plain calls",
        f"Take one of {', '.join((*RESNETS, LITE0))} as student.",
    )
