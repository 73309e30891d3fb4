"""The student: its maps, its two kinds of parameters, and where it starts."""

import pytest
import torch

from models.student import build_student, start_head
from models.teacher import IMAGENET_MEAN


def student(name="resnet18", num_classes=3, **options):
    return build_student(name, num_classes, size=64, weights="random", **options).eval()


def pixels(count: int = 2, side: int = 64) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_logits_are_the_means_of_the_maps():
    model = student()

    assert torch.equal(model(pixels()), model.cams(pixels()).mean(dim=(2, 3)))
    assert model.cams(pixels()).shape == (2, 3, 2, 2)


def test_the_positive_part_of_a_map_is_boosted():
    model, plain = student(boost=3.0), student(boost=1.0)

    maps = plain.cams(pixels())
    boosted = torch.where(maps > 0, 3 * maps, maps)

    assert (maps > 0).any()
    assert (maps < 0).any()
    assert torch.allclose(model.cams(pixels()), boosted)


def test_a_black_and_a_white_picture_are_normalised():
    model = student()

    prepared = model.prepare(
        torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).repeat(1, 3, 1, 1)
    )

    mean, std = 0.485, 0.229  # red, ImageNet
    assert prepared[:, 0, 0, 0].tolist() == pytest.approx([-mean / std, (1 - mean) / std])


def test_floats_up_to_255_are_prepared_like_bytes():
    images = torch.arange(12, dtype=torch.uint8).view(1, 3, 2, 2)

    assert torch.equal(student().prepare(images), student().prepare(images.float()))


def test_every_parameter_is_either_backbone_or_head():
    model = student()

    groups = [*model.backbone_parameters(), *model.head_parameters()]

    assert {id(p) for p in groups} == {id(p) for p in model.parameters() if p.requires_grad}
    assert len(groups) == len(set(map(id, groups)))


def test_a_class_starts_the_same_whatever_follows_it():
    small, large = student(num_classes=2), student(num_classes=5)

    assert torch.equal(small.head.weight, large.head.weight[:2])
    assert torch.equal(small.head.bias, large.head.bias[:2])


def test_another_seed_is_another_head_and_trunk():
    one, other = student(seed=0), student(seed=1)

    assert not torch.equal(one.head.weight, other.head.weight)
    assert not torch.equal(one.features.conv1.weight, other.features.conv1.weight)


def test_the_same_seed_is_the_same_student():
    torch.manual_seed(5)
    one = student().state_dict()
    torch.manual_seed(6)

    assert all(torch.equal(value, one[name]) for name, value in student().state_dict().items())


def test_the_head_starts_within_its_bound():
    head = torch.nn.Conv2d(16, 50, 1)

    start_head(head, seed=1)

    assert head.weight.abs().max() <= 0.25  # 1 / sqrt(16)
    assert head.weight.std().item() == pytest.approx(0.25 / 3**0.5, rel=0.1)


def test_a_student_knows_what_its_input_must_be():
    model = student()

    assert (model.size, model.mean, model.name) == (64, IMAGENET_MEAN, "resnet18")
