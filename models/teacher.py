"""The frozen image-text model: images and class names in, features and probabilities out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.errors import (
    PromptTooLong,
    TeacherError,
    UnknownTeacher,
    UnknownWords,
    WeightsMissing,
)
from models.open_clip_models import OpenClipModel, open_model
from models.prompts import ClassPrompt, class_texts
from models.tokens import check_texts

__all__ = [
    "Names",
    "PromptTooLong",
    "Teacher",
    "TeacherError",
    "UnknownTeacher",
    "UnknownWords",
    "WeightsMissing",
    "load_teacher",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

#: Prompts encoded at once: 77 tokens each, so small beside any image batch.
TEXT_BATCH = 256

_AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Names:
    """What the teacher is asked about, encoded: the classes first, background names after them.

    Attributes:
        features: (T, D) text features, T = classes + background names.
        num_classes: the first `num_classes` rows are the user's classes, in canonical order.
        logit_scale: multiplies the cosine before the softmax.
    """

    features: Tensor
    num_classes: int
    logit_scale: float

    def probs(self, image_features: Tensor) -> Tensor:
        """Softmax over all T names for (N, D) image features: (N, T)."""
        return (self.logit_scale * image_features @ self.features.T).softmax(dim=1)


class Teacher:
    """A frozen open_clip model on one device.

    Attributes:
        name: as given to `load_teacher`.
        view_size: side of the square views it takes, in pixels.
        mean: of the three channels, for values in [0, 1].
        std: of the three channels.
        logit_scale: multiplies the cosine before the softmax.
        feature_dim: length D of a feature vector.
    """

    def __init__(
        self,
        built: OpenClipModel,
        *,
        name: str,
        imagenet_normalisation: bool = False,
        logit_scale: float | None = None,
        precision: str = "fp32",
        device: torch.device | str = "cpu",
    ) -> None:
        self.name = name
        self.view_size = built.view_size
        self.mean = IMAGENET_MEAN if imagenet_normalisation else built.mean
        self.std = IMAGENET_STD if imagenet_normalisation else built.std
        self.feature_dim = built.feature_dim
        self._model = built.model.to(device).eval().requires_grad_(requires_grad=False)
        self._tokenizer = built.tokenizer
        self._device = torch.device(device)
        self._precision = precision
        own_scale = float(self._model.get_parameter("logit_scale").exp())
        self.logit_scale = own_scale if logit_scale is None else logit_scale
        self._mean = torch.tensor(self.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(self.std, device=device).view(1, 3, 1, 1)

    @property
    def image_tower(self) -> nn.Module:
        """The image side of the network, open_clip's `visual`."""
        return self._model.get_submodule("visual")

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over weights, view size, normalisation and precision.

        Equal digests give equal features. The logit scale given to `load_teacher` is not in it:
        no feature depends on it.
        """
        found = hashlib.sha256()
        settings = (self.view_size, self.mean, self.std, self._precision)
        found.update(repr(settings).encode())
        for key, value in sorted(self._model.state_dict().items()):
            found.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
            found.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return found.hexdigest()

    @torch.inference_mode()
    def encode_images(self, images: Tensor) -> Tensor:
        """(B, D) float32 L2-normalised features, on the CPU, of (B, 3, S, S) uint8 views."""
        pixels = (images.to(self._device).float() / 255 - self._mean) / self._std
        with self._autocast():
            features = self._model.encode_image(pixels)  # type: ignore[operator]
        return F.normalize(features.float(), dim=-1).cpu()

    def encode_classes(self, classes: Sequence[ClassPrompt], templates: Sequence[str]) -> Tensor:
        """(C, D) float32 features, on the CPU: the normalised mean over the prompts of a class.

        Raises:
            UnknownWords: a word is not in a closed vocabulary.
            PromptTooLong: a prompt has too many tokens.
        """
        self.check_texts(classes, templates)
        texts = [class_texts(class_, templates) for class_ in classes]
        features = self._encode_texts([text for of_class in texts for text in of_class])
        parts = torch.split(features, [len(of_class) for of_class in texts])
        means = [part.mean(dim=0) for part in parts]
        return F.normalize(torch.stack(means), dim=-1)

    def check_texts(self, classes: Sequence[ClassPrompt], templates: Sequence[str]) -> None:
        """Nothing, or the error of the first class that the teacher cannot be asked about.

        Raises:
            UnknownWords: a word is not in a closed vocabulary.
            PromptTooLong: a prompt has too many tokens.
        """
        check_texts(self._tokenizer, classes, templates)

    def knows(self, class_: ClassPrompt, templates: Sequence[str]) -> bool:
        """Whether the teacher can be asked about a class."""
        try:
            self.check_texts([class_], templates)
        except TeacherError:
            return False
        return True

    def probs(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        """(N, T) softmax over T names, from (N, D) and (T, D) L2-normalised features."""
        return (self.logit_scale * image_features @ text_features.T).softmax(dim=1)

    @torch.inference_mode()
    def _encode_texts(self, texts: list[str]) -> Tensor:
        """(n, D) float32 L2-normalised features of single prompts, on the CPU."""
        features = []
        for start in range(0, len(texts), TEXT_BATCH):
            tokens = torch.as_tensor(self._tokenizer(texts[start : start + TEXT_BATCH]))
            with self._autocast():
                encoded = self._model.encode_text(tokens.to(self._device))  # type: ignore[operator]
            features.append(F.normalize(encoded.float(), dim=-1).cpu())
        return torch.cat(features)

    def _autocast(self) -> AbstractContextManager[Any]:
        """Mixed precision on CUDA, as asked for; elsewhere it would only be slow."""
        dtype = _AUTOCAST[self._precision]
        enabled = dtype is not None and self._device.type == "cuda"
        return torch.autocast(self._device.type, dtype=dtype, enabled=enabled)


def load_teacher(
    name: str,
    *,
    view_size: int | None = None,
    normalisation: str = "teacher",
    logit_scale: float | None = None,
    precision: str = "fp32",
    device: torch.device | str = "cpu",
    weights_dir: Path | None = None,
) -> Teacher:
    """The teacher of that name, ready to encode.

    Args:
        name: `ARCH/TAG` as open_clip lists them, `ARCH/random` for a check with random weights,
            `hf-hub:...`, `local-dir:...`, `bundled:tiny` or `offline:lite0-minilm`.
        view_size: side of its square view in pixels; None is the model's own.
        normalisation: "teacher" for the model's mean and std, "imagenet" for ImageNet's.
        logit_scale: None is the model's own.
        precision: "fp32", or "bf16" or "fp16" autocast on CUDA.
        device: where it runs.
        weights_dir: looked into first, for `ARCH-TAG.safetensors` or `.pt`; `offline:` models are
            built into it.

    Raises:
        UnknownTeacher: no model has this name.
        WeightsMissing: its weights cannot be had.
    """
    return Teacher(
        open_model(name, view_size=view_size, weights_dir=weights_dir),
        name=name,
        imagenet_normalisation=normalisation == "imagenet",
        logit_scale=logit_scale,
        precision=precision,
        device=device,
    )
