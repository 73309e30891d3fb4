"""A teacher in the shape of the bundled one, with random weights and a vocabulary of nine."""

import json
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from models.teacher import Teacher, load_teacher

WORDS = ["<pad>", "<start>", "<end>", "a", "photo", "of", "cat", "dog", "traffic", "light"]
MODEL = {
    "embed_dim": 16,
    "vision_cfg": {
        "timm_model_name": "tf_efficientnet_lite0",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": 64,
    },
    "text_cfg": {
        "context_length": 8,
        "vocab_size": len(WORDS),
        "width": 16,
        "heads": 2,
        "layers": 1,
        "pool_type": "eos",
        "eos_id": 2,
        "pad_id": 0,
    },
}


def write_teacher(
    folder: Path, *, model: dict | None = None, words: list[str] | None = WORDS
) -> None:
    """A folder in open_clip's layout: half precision, mean and std 0.5."""
    model = model or MODEL
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        state = open_clip.CLIP(**model).half().state_dict()
    save_file(state, folder / "open_clip_model.safetensors")
    preprocess = {"size": [64, 64], "mean": [0.5] * 3, "std": [0.5] * 3}
    config = {"model_cfg": model, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    if words:
        (folder / "vocabulary.json").write_text(json.dumps(words))


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    write_teacher(folder)
    return folder


@pytest.fixture(scope="session")
def small_teacher(teacher_folder: Path) -> Teacher:
    return load_teacher(f"local-dir:{teacher_folder}")
