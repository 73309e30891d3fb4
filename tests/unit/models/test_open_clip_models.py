"""Teachers by name: where their weights come from, and what is said when there are none."""

import math
import time
from types import SimpleNamespace

import open_clip
import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from models import hub, open_clip_models
from models.errors import TeacherError, UnknownTeacher, WeightsMissing
from models.open_clip_models import open_model, stretch_attention_pool
from models.teacher import load_teacher
from models.tokens import BUNDLED

ARCH = "test-arch"


@pytest.fixture
def no_network(monkeypatch):
    monkeypatch.setattr(open_clip_models, "reachable", lambda url: False)
    monkeypatch.setattr(hub, "reachable", lambda url: False)


@pytest.fixture
def small_arch(monkeypatch):
    """A CLIP ResNet of a few thousand weights among open_clip's architectures."""
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8},
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 16,
            "heads": 2,
            "layers": 1,
        },
    }
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, ARCH, config)
    return config


def images(side: int) -> torch.Tensor:
    return torch.randint(
        0, 256, (2, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def test_a_misspelt_name_gets_the_nearest_ones():
    with pytest.raises(UnknownTeacher) as refused:
        open_model("RN50x64/opena", view_size=None, weights_dir=None)

    assert refused.value.nearest[0] == "RN50x64/openai"


@pytest.mark.parametrize(
    "name", ["", "RN50x64", "RN50x64/", "/openai", "bundled:huge", "offline:x"]
)
def test_a_name_that_is_no_model_is_refused(name):
    with pytest.raises(UnknownTeacher):
        open_model(name, view_size=None, weights_dir=None)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("RN50x64/openai", "RN50x64-openai.safetensors"),
        ("hf-hub:someone/something", "someone--something/open_clip_config.json"),
    ],
)
def test_weights_out_of_reach_are_named_at_once(no_network, tmp_path, monkeypatch, name, file):
    monkeypatch.setattr(hub.hub, "HF_HUB_CACHE", str(tmp_path))
    began = time.monotonic()

    with pytest.raises(WeightsMissing) as refused:
        open_model(name, view_size=None, weights_dir=tmp_path)

    assert time.monotonic() - began < 5
    assert file in refused.value.file
    assert (refused.value.setting, refused.value.code) == ("CCD_WEIGHTS", "weights_missing")
    assert "CCD_WEIGHTS" in str(refused.value)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(WeightsMissing, match=r"open_clip_config\.json"):
        open_model(f"local-dir:{tmp_path}", view_size=None, weights_dir=None)


def test_a_folder_without_weights_is_refused(tmp_path, teacher_folder):
    config = (teacher_folder / "open_clip_config.json").read_text()
    (tmp_path / "open_clip_config.json").write_text(config)

    with pytest.raises(WeightsMissing, match=r"open_clip_model\.safetensors"):
        open_model(f"local-dir:{tmp_path}", view_size=None, weights_dir=None)


@pytest.mark.parametrize("weights", [save({"logit_scale": torch.zeros(())}), b"torn"])
def test_other_or_damaged_weights_are_called_unreadable(tmp_path, teacher_folder, weights):
    config = (teacher_folder / "open_clip_config.json").read_text()
    (tmp_path / "open_clip_config.json").write_text(config)
    (tmp_path / "open_clip_model.safetensors").write_bytes(weights)

    with pytest.raises(TeacherError) as refused:
        open_model(f"local-dir:{tmp_path}", view_size=None, weights_dir=None)

    assert refused.value.code == "weights_unreadable"


def test_a_copy_of_a_hub_repository_is_found_in_the_folder_of_weights(tmp_path, teacher_folder):
    (tmp_path / "someone--something").symlink_to(teacher_folder)

    teacher = load_teacher("hf-hub:someone/something", weights_dir=tmp_path)

    assert teacher.digest == load_teacher(f"local-dir:{teacher_folder}").digest


def test_the_bundled_teacher_is_in_the_package():
    teacher = load_teacher("bundled:tiny")

    assert (teacher.view_size, teacher.feature_dim) == (80, 128)
    assert sum(path.stat().st_size for path in BUNDLED["bundled:tiny"].iterdir()) < 16e6


def test_random_weights_are_always_the_same(small_arch):
    state = torch.random.get_rng_state()

    digests = {load_teacher(f"{ARCH}/random").digest for _ in range(2)}

    assert len(digests) == 1
    assert torch.equal(torch.random.get_rng_state(), state)


def test_local_weights_are_found_by_name(small_arch, tmp_path):
    model = open_clip.create_model(ARCH)
    with torch.no_grad():
        model.logit_scale.fill_(math.log(7))
    save_file(model.state_dict(), tmp_path / f"{ARCH}-mine.safetensors")

    assert load_teacher(f"{ARCH}/mine", weights_dir=tmp_path).logit_scale == pytest.approx(7)


class Program(nn.Module):
    """The shape of OpenAI's own files: a TorchScript archive with a few numbers beside weights."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for name, value in weights.items():
            owner = self
            *path, last = name.split(".")
            for part in path:
                if not hasattr(owner, part):
                    owner.add_module(part, nn.Module())
                owner = getattr(owner, part)
            owner.register_buffer(last, value)
        self.register_buffer("input_resolution", torch.tensor(64))
        self.register_buffer("context_length", torch.tensor(77))
        self.register_buffer("vocab_size", torch.tensor(49408))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_openais_own_files_are_read(small_arch, tmp_path):
    model = open_clip.create_model(ARCH)
    program = torch.jit.trace(Program(model.state_dict()), torch.zeros(1), check_trace=False)
    torch.jit.save(program, tmp_path / f"{ARCH}-openai.pt")

    teacher = load_teacher(f"{ARCH}/openai", weights_dir=tmp_path)

    assert torch.equal(teacher.image_tower.conv1.weight, model.visual.conv1.weight)


def test_a_clip_resnet_takes_another_view_size(small_arch):
    teacher = load_teacher(f"{ARCH}/random", view_size=96)

    assert teacher.view_size == 96
    assert teacher.encode_images(images(96)).shape == (2, 16)


def test_the_native_view_size_changes_nothing(small_arch):
    asked = load_teacher(f"{ARCH}/random", view_size=64)
    native = load_teacher(f"{ARCH}/random")

    assert torch.equal(asked.encode_images(images(64)), native.encode_images(images(64)))


def test_a_position_embedding_is_stretched_as_a_picture():
    # a 2 x 2 grid of one channel, 0 to the left and 1 to the right; first row: the mean's own
    visual = SimpleNamespace(
        attnpool=SimpleNamespace(
            positional_embedding=nn.Parameter(torch.tensor([[9.0], [0], [1], [0], [1]]))
        )
    )

    stretch_attention_pool(visual, 4 * 32)

    first, grid = visual.attnpool.positional_embedding.split([1, 16])
    assert first.item() == 9
    # cell centres at 1/8, 3/8, 5/8, 7/8; those of the two given ones at 1/4 and 3/4
    assert grid.reshape(4, 4)[0].tolist() == pytest.approx([0, 0.25, 0.75, 1])
    assert visual.image_size == 128
