"""Weak and strong views: mirrored, and with colours changed as torchvision changes them."""

from itertools import permutations

import pytest
import torch
import torchvision.transforms.functional as TF
from torch import Tensor

from models.augment import JITTER_DRAWS, color_jitter, flip

ORDERS = list(permutations(range(4)))
UNCHANGED = 0.5  # the middle of every range


def random_images(count: int = 6, side: int = 9) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def random_draws(count: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, JITTER_DRAWS, generator=generator, dtype=torch.float64)


def reference(image: Tensor, draws: Tensor, strength: float) -> Tensor:
    """One image through torchvision, the changes in the order of the last draw."""
    shifts = ((2 * draws[:4] - 1) * strength).tolist()
    changes = (
        lambda x: TF.adjust_brightness(x, 1 + shifts[0]),
        lambda x: TF.adjust_contrast(x, 1 + shifts[1]),
        lambda x: TF.adjust_saturation(x, 1 + shifts[2]),
        lambda x: TF.adjust_hue(x, shifts[3]),
    )
    for change in ORDERS[int(draws[4] * 24)]:
        image = changes[change](image)
    return image


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_only_the_marked_images_are_mirrored(dtype):
    images = (255 * random_images(2)).to(dtype)

    flipped = flip(images, torch.tensor([True, False]))

    assert torch.equal(flipped[0, :, :, 0], images[0, :, :, -1])
    assert torch.equal(flipped[1], images[1])
    assert flipped.dtype == dtype


def test_mirroring_twice_changes_nothing():
    images, mask = random_images(4), torch.tensor([True, False, True, True])

    assert torch.equal(flip(flip(images, mask), mask), images)


def test_brightness_by_hand():
    image = torch.full((1, 3, 2, 2), 0.4)
    draws = torch.tensor([[0.75, UNCHANGED, UNCHANGED, UNCHANGED, 0.0]])

    # A draw of 0.75 at strength 0.5 is the factor 1.25.
    jittered = color_jitter(image, draws, 0.5)

    assert torch.allclose(jittered, torch.tensor(0.5), atol=1e-6)


def test_hue_turned_by_a_third_makes_red_green():
    red = torch.zeros(1, 3, 2, 2)
    red[:, 0] = 1.0
    turn = 1 / 3 + 0.5  # (2 * draw - 1) * 0.5 = 1/3
    draws = torch.tensor([[UNCHANGED, UNCHANGED, UNCHANGED, turn, 0.0]], dtype=torch.float64)

    jittered = color_jitter(red, draws, 0.5)

    assert torch.allclose(jittered, red[:, [1, 0, 2]], atol=1e-6)


@pytest.mark.parametrize("strength", [0.1, 0.5])
def test_every_image_is_what_torchvision_makes_of_it(strength):
    images, draws = random_images(48), random_draws(48)
    draws[:24, 4] = (torch.arange(24) + 0.5) / 24  # every order once

    jittered = color_jitter(images, draws, strength)

    for image, draw, found in zip(images, draws, jittered, strict=True):
        assert torch.allclose(found, reference(image, draw, strength), atol=2e-5)


def test_greys_and_pure_colours_are_what_torchvision_makes_of_them():
    levels = torch.tensor([0.0, 0.5, 1.0])
    colours = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, 3, 9)
    images, draws = colours.repeat(30, 1, 1, 1), random_draws(30, seed=2)

    jittered = color_jitter(images, draws, 0.5)

    for image, draw, found in zip(images, draws, jittered, strict=True):
        assert torch.allclose(found, reference(image, draw, 0.5), atol=2e-5)


def test_no_strength_changes_nothing():
    images = random_images()

    assert torch.allclose(color_jitter(images, random_draws(6), 0.0), images, atol=1e-6)


def test_a_batch_is_its_images_one_by_one():
    images, draws = random_images(10), random_draws(10)

    alone = [color_jitter(images[i : i + 1], draws[i : i + 1], 0.5) for i in range(10)]

    assert torch.allclose(color_jitter(images, draws, 0.5), torch.cat(alone), atol=1e-6)


def test_colours_stay_in_the_unit_interval_and_the_input_as_it_was():
    images, draws = random_images(50), random_draws(50, seed=3)
    before = images.clone()

    jittered = color_jitter(images, draws, 0.5)

    assert jittered.min() >= 0
    assert jittered.max() <= 1
    assert torch.equal(images, before)


def test_mirroring_and_jitter_can_change_places():
    images, draws, mask = random_images(), random_draws(6), torch.arange(6) % 2 == 0

    assert torch.allclose(
        color_jitter(flip(images, mask), draws, 0.5),
        flip(color_jitter(images, draws, 0.5), mask),
        atol=1e-5,
    )


def test_an_empty_batch_stays_empty():
    assert color_jitter(torch.zeros(0, 3, 4, 4), torch.zeros(0, 5), 0.5).shape == (0, 3, 4, 4)
