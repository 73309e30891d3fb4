"""Model names to open_clip models: from the hub, a folder, the package, or built on the spot."""

from __future__ import annotations

import difflib
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import open_clip
import torch
import torch.nn.functional as F
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.model import resize_pos_embed
from open_clip.modified_resnet import ModifiedResNet
from open_clip.pretrained import (
    download_pretrained,
    download_pretrained_from_hf,
    get_pretrained_cfg,
)
from torch import nn

from models import offline
from models.errors import TeacherError, UnknownTeacher, WeightsMissing
from models.hub import cache_only_if_unreachable, reachable
from models.tokens import BUNDLED, word_tokenizer

T = TypeVar("T")

OFFLINE = f"offline:{offline.NAME}"

#: Tag of a model with random weights, always the same ones: for checks of shapes and speed.
RANDOM_TAG = "random"

#: Endings of a local file of weights, in the order in which they are looked for.
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")

#: Entries of OpenAI's TorchScript files that are no weights.
_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")

_HUB_HINT = "Load it once where the model hub answers; it stays in the hub's cache, HF_HOME."


@dataclass(frozen=True, kw_only=True)
class OpenClipModel:
    """A model with weights, its tokenizer, and what its images must look like."""

    model: nn.Module
    tokenizer: Any
    view_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    feature_dim: int


def open_model(name: str, *, view_size: int | None, weights_dir: Path | None) -> OpenClipModel:
    """The model of that name, on the CPU, for square views of `view_size` (None: its own).

    Raises:
        UnknownTeacher: no model has this name.
        WeightsMissing: its weights cannot be had.
    """
    if name in BUNDLED:
        return _from_folder(name, BUNDLED[name], view_size)
    if name.startswith("local-dir:"):
        return _from_folder(name, Path(name.removeprefix("local-dir:")), view_size)
    if name.startswith("hf-hub:"):
        return _from_hub(name, view_size, weights_dir)
    if name == OFFLINE:
        model, tokenizer = offline.load_offline(weights_dir)
        return _finish(model, tokenizer, offline.EMBED_DIM, view_size)
    return _from_tag(name, view_size, weights_dir)


def _from_folder(name: str, folder: Path, view_size: int | None) -> OpenClipModel:
    """A folder in open_clip's layout; with a `vocabulary.json` it gets the word tokenizer."""
    hint = "The folder must be one that open_clip can read."
    if not (folder / "open_clip_config.json").is_file():
        raise WeightsMissing(name, "open_clip_config.json", hint)
    if not any(path.suffix in SUFFIXES for path in folder.iterdir()):
        raise WeightsMissing(name, "open_clip_model.safetensors", hint)
    try:
        return _read_folder(folder, view_size)
    except TeacherError:
        raise
    except Exception as error:  # whatever a damaged file makes its reader raise
        message = f"the model in {folder.name} cannot be read: {type(error).__name__}, {error}"
        raise TeacherError("weights_unreadable", message, hint) from error


def _read_folder(folder: Path, view_size: int | None) -> OpenClipModel:
    source = f"local-dir:{folder}"
    config = open_clip.get_model_config(source)
    model = _create(source, config, view_size)
    tokenizer = word_tokenizer(folder) or open_clip.get_tokenizer(source)
    return _finish(model, tokenizer, config["embed_dim"], view_size)


def _from_hub(name: str, view_size: int | None, weights_dir: Path | None) -> OpenClipModel:
    """A repository of the hub, or its copy `OWNER--NAME` in the folder of weights."""
    repository = name.removeprefix("hf-hub:")
    copy = repository.replace("/", "--")
    if weights_dir is not None and (weights_dir / copy).is_dir():
        return _from_folder(name, weights_dir / copy, view_size)
    with cache_only_if_unreachable():
        config = _fetched(name, f"{copy}/open_clip_config.json", open_clip.get_model_config, name)
        weights = f"{copy}/open_clip_model.safetensors"
        _fetched(name, weights, download_pretrained_from_hf, repository)
        model = _create(name, config, view_size)
        tokenizer = _tokenizer(name, name)
    return _finish(model, tokenizer, config["embed_dim"], view_size)


def _from_tag(name: str, view_size: int | None, weights_dir: Path | None) -> OpenClipModel:
    arch, _, tag = name.partition("/")
    pretrained = get_pretrained_cfg(arch, tag)
    path = local_weights(arch, tag, weights_dir)
    if arch not in open_clip.list_models() or not (pretrained or path or tag == RANDOM_TAG):
        raise UnknownTeacher(name, _nearest(name))
    config = open_clip.get_model_config(arch)
    with nullcontext() if path else cache_only_if_unreachable():
        if path is None and tag != RANDOM_TAG:
            path = _fetched(name, _files_wanted(arch, tag), _download, pretrained)
        model = _create(arch, config, view_size, path=path, pretrained=pretrained)
        tokenizer = _tokenizer(name, arch)
    return _finish(model, tokenizer, config["embed_dim"], view_size)


def local_weights(arch: str, tag: str, weights_dir: Path | None) -> Path | None:
    """The file of weights that a user put into the folder, if there is one."""
    if weights_dir is None:
        return None
    wanted = [weights_dir / f"{arch}-{tag}{suffix}" for suffix in SUFFIXES]
    return next((path for path in wanted if path.is_file()), None)


def published_files(arch: str, tag: str) -> tuple[str, list[str]]:
    """The repository of the hub that open_clip takes these weights from, and its names for them."""
    repository, _, file = get_pretrained_cfg(arch, tag)["hf_hub"].rpartition("/")
    return repository, [file] if file else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]


def _files_wanted(arch: str, tag: str) -> str:
    return f"{arch}-{tag}{SUFFIXES[0]} (or {', '.join(SUFFIXES[1:])})"


def _nearest(name: str) -> list[str]:
    known = [f"{arch}/{tag}" for arch, tag in open_clip.list_pretrained()]
    return difflib.get_close_matches(name, [*known, *BUNDLED, OFFLINE], n=3)


def _download(pretrained: dict[str, Any]) -> Path:
    """The file of weights, from open_clip's caches or from where open_clip knows it to be."""
    url = pretrained.get("url", "")
    if not pretrained.get("hf_hub") and not reachable(url):
        raise OSError(f"{url} does not answer")
    return Path(download_pretrained(pretrained))


def _fetched(name: str, file: str, fetch: Callable[..., T], *arguments: object) -> T:
    """What `fetch` gives; whatever goes wrong on the way, the user needs the file."""
    try:
        return fetch(*arguments)
    except Exception as error:
        raise WeightsMissing(name, file) from error


def _tokenizer(name: str, source: str) -> Any:
    """open_clip's tokenizer; those of other makers than OpenAI come from the hub."""
    try:
        return open_clip.get_tokenizer(source)
    except Exception as error:
        raise WeightsMissing(name, "its tokenizer", _HUB_HINT) from error


def _create(
    source: str,
    config: dict[str, Any],
    view_size: int | None,
    *,
    path: Path | None = None,
    pretrained: dict[str, Any] | None = None,
) -> nn.Module:
    """The model with its weights; with random ones, always the same, if nothing names any.

    Raises:
        TeacherError: the weights are not those of this architecture.
    """
    pretrained = pretrained or {}
    # A CLIP ResNet is made at its own size and stretched afterwards: open_clip resizes only ViTs.
    stretches = not isinstance(config["vision_cfg"].get("layers"), list)
    torchscript = path is not None and _is_torchscript(path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            model: nn.Module = open_clip.create_model(
                source,
                pretrained=None if path is None or torchscript else str(path),
                # OpenAI's weights need QuickGELU; the name of the architecture does not say so.
                force_quick_gelu=pretrained.get("quick_gelu", False),
                force_image_size=view_size if stretches else None,
                force_preprocess_cfg={k: pretrained[k] for k in ("mean", "std") if k in pretrained},
                pretrained_text=False,
                require_pretrained=source.startswith(("local-dir:", "hf-hub:")),
            )
            if path is not None and torchscript:
                _load_torchscript(model, path)
        except OSError as error:  # a text tower of another maker, described on the hub
            raise WeightsMissing(source, "the description of its text tower", _HUB_HINT) from error
        except Exception as error:  # whatever a damaged file makes its reader raise
            raise TeacherError(
                "weights_unreadable", f"the weights of {source} cannot be read: {error}", ""
            ) from error
    return model


def _is_torchscript(path: Path) -> bool:
    """Is it one of OpenAI's own files, which hold a program as well?"""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _load_torchscript(model: nn.Module, path: Path) -> None:
    state = torch.jit.load(path, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    for name in _NOT_WEIGHTS:
        state.pop(name, None)
    resize_pos_embed(state, model)
    model.load_state_dict(state)


def _finish(
    model: nn.Module, tokenizer: Any, feature_dim: int, view_size: int | None
) -> OpenClipModel:
    visual: Any = model.get_submodule("visual")
    own_size = visual.image_size if isinstance(visual.image_size, int) else visual.image_size[0]
    if isinstance(visual, ModifiedResNet) and view_size not in {None, own_size}:
        stretch_attention_pool(visual, view_size)
    return OpenClipModel(
        model=model,
        tokenizer=tokenizer,
        view_size=view_size or own_size,
        mean=tuple(visual.image_mean),
        std=tuple(visual.image_std),
        feature_dim=feature_dim,
    )


def stretch_attention_pool(visual: ModifiedResNet, view_size: int) -> None:
    """Interpolate the position embedding of a CLIP ResNet's attention pool to another view size.

    Bilinear, as in the released code: 14 x 14 to 20 x 20 for RN50x64 at 640 pixels. The first
    row belongs to the mean of the grid and stays.
    """
    pool = visual.attnpool
    embedding = pool.positional_embedding.detach()
    first, grid = embedding[:1], embedding[1:]
    side, wanted = round(len(grid) ** 0.5), view_size // 32
    square = grid.T.reshape(1, -1, side, side)
    square = F.interpolate(square, size=(wanted, wanted), mode="bilinear", align_corners=False)
    pool.positional_embedding = nn.Parameter(torch.cat([first, square.flatten(2)[0].T]))
    visual.image_size = view_size
