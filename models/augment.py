"""Weak and strong views of a training image (docs/method.md 12).

All randomness comes in as uniform draws, one row for each image: `models.random`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import torch
from torch import Tensor

#: Weights of red, green and blue in grey (ITU-R BT.601), as Pillow and torchvision have them.
GREY = (0.2989, 0.587, 0.114)

#: Draws of `color_jitter` for each image: four factors and the order of the four changes.
JITTER_DRAWS = 5


def flip(images: Tensor, mask: Tensor) -> Tensor:
    """(B, 3, S, S) images of any type, those where the (B,) bool mask is true mirrored."""
    return torch.where(mask.to(images.device)[:, None, None, None], images.flip(3), images)


def color_jitter(images: Tensor, draws: Tensor, strength: float) -> Tensor:
    """Brightness, contrast, saturation and hue changed at random, in random order.

    Same ranges and same formulas as torchvision's ColorJitter with `strength` for all four.

    Args:
        images: (B, 3, S, S) float in [0, 1].
        draws: (B, 5) in [0, 1): brightness, contrast, saturation and hue factor, order.
        strength: in [0, 0.5]. The first three factors are uniform in [1 - strength, 1 + strength],
            the hue turns by a share of the circle uniform in [-strength, strength].

    Returns:
        (B, 3, S, S) in [0, 1].
    """
    shifts = ((2 * draws[:, :4] - 1) * strength).to(images)
    factors = shifts + shifts.new_tensor([1, 1, 1, 0])
    orders = torch.tensor(list(permutations(range(4))))
    order = orders[(draws[:, 4] * len(orders)).long().cpu()]  # (B, 4)
    images = images.clone()
    for place in range(4):
        for change, apply in enumerate(CHANGES):
            rows = (order[:, place] == change).nonzero()[:, 0].to(images.device)
            images[rows] = apply(images[rows], factors[rows, change, None, None, None])
    return images


def _brightness(images: Tensor, factor: Tensor) -> Tensor:
    return (images * factor).clamp(0, 1)


def _contrast(images: Tensor, factor: Tensor) -> Tensor:
    return _blend(images, _grey(images).mean(dim=(1, 2, 3), keepdim=True), factor)


def _saturation(images: Tensor, factor: Tensor) -> Tensor:
    return _blend(images, _grey(images), factor)


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return (factor * images + (1 - factor) * other).clamp(0, 1)


def _grey(images: Tensor) -> Tensor:
    weights = images.new_tensor(GREY)[None, :, None, None]
    return (images * weights).sum(dim=1, keepdim=True)


def _hue(images: Tensor, turn: Tensor) -> Tensor:
    """Colours turned by a share of the hue circle; value and saturation stay as they are."""
    red, green, blue = images.unbind(1)
    value, chroma = images.amax(1), images.amax(1) - images.amin(1)
    width = torch.where(chroma > 0, chroma, 1.0)
    # Hue in sixths of the circle: distance from the nearest of red 0, green 2, blue 4.
    sixths = torch.where(
        value == red,
        (green - blue) / width,
        torch.where(value == green, 2 + (blue - red) / width, 4 + (red - green) / width),
    )
    sixths = sixths + 6 * turn[:, 0]
    channels = [value - chroma * _missing(sixths + offset) for offset in (5, 3, 1)]
    return torch.stack(channels, dim=1).clamp(0, 1)


def _missing(sixths: Tensor) -> Tensor:
    """How much of the chroma a channel lacks at a hue: 0 at its own colour, 1 opposite of it."""
    place = sixths.remainder(6)
    return torch.minimum(place, 4 - place).clamp(0, 1)


CHANGES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    _brightness,
    _contrast,
    _saturation,
    _hue,
)
