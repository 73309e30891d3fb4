"""A class activation map laid over its image: upsampled, coloured, blended (docs/method.md 19)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.views import MIN_MAX_EPSILON

#: Lightness of the coldest and of the hottest colour in OKLab. Our choice: far enough apart that
#: the order survives without any hue, and inside of black and white, where no hue is left.
DARKEST, LIGHTEST = 0.30, 0.90
#: Hue of the coldest colour (blue) and the way to the hottest (yellow, through red), in degrees.
COLDEST_HUE, HUE_SPAN = 285.0, 185.0
#: Distance of every colour from grey. Our choice: the most that sRGB can show all along the way.
CHROMA = 0.16

#: Weight of the colour over the image in grey. Our choice: one weight for all of the map, so that
#: on every grey hotter stays brighter; a weight that rose with the heat would darken a white sky.
WEIGHT = 0.55
#: Rows that are coloured at a time: on the way to its colour a pixel takes 90 bytes.
STRIP_ROWS = 64

#: OKLab to cone responses (each to be cubed), and those to linear sRGB. Björn Ottosson, 2020.
_TO_CONES = (
    (1.0, 0.3963377774, 0.2158037573),
    (1.0, -0.1055613458, -0.0638541728),
    (1.0, -0.0894841775, -1.2914855480),
)
_TO_LINEAR = (
    (4.0767416621, -3.3077115913, 0.2309699292),
    (-1.2684380046, 2.6097574011, -0.3413193965),
    (-0.0041960863, -0.7034186147, 1.7076147010),
)
#: Share of red, green and blue in what the eye takes for brightness (Rec. 709).
_BRIGHTNESS = (0.2126, 0.7152, 0.0722)


def upsample(cam: Tensor, *, height: int, width: int) -> Tensor:
    """A CAM at the size of the upright image, (height, width) float32, bilinear.

    Args:
        cam: (h, w) activations of the image squashed to a square: cell (i, j) saw the part of
            the image between i / h and (i + 1) / h of its height, j / w and (j + 1) / w of its
            width.
        height: of the result, in pixels.
        width: of the result, in pixels.
    """
    size = (height, width)
    return F.interpolate(cam[None, None].float(), size, mode="bilinear", align_corners=False)[0, 0]


def min_max(heat: Tensor) -> Tensor:
    """A map moved and stretched into [0, 1], as docs/method.md 9; a flat one is 0 everywhere."""
    low, high = heat.amin(), heat.amax()
    return (heat - low) / (high - low + MIN_MAX_EPSILON)


def heat_colors(heat: Tensor) -> Tensor:
    """Colours, (..., 3) sRGB in [0, 1], of values in [0, 1]: blue, purple, red, orange, yellow.

    A helix in OKLab: lightness and hue rise evenly at one chroma, so equal steps of heat look
    equal, and lightness alone tells their order to those who see no hue.
    """
    hue = torch.deg2rad(COLDEST_HUE + HUE_SPAN * heat)
    lightness = DARKEST + (LIGHTEST - DARKEST) * heat
    lab = torch.stack([lightness, CHROMA * hue.cos(), CHROMA * hue.sin()], dim=-1)
    linear = (lab @ lab.new_tensor(_TO_CONES).T) ** 3 @ lab.new_tensor(_TO_LINEAR).T
    return _encoded(linear)


def overlay(image: Tensor, heat: Tensor) -> Tensor:
    """The image in grey under the colours of the map, (3, H, W) uint8.

    Args:
        image: (3, H, W) uint8, upright.
        heat: (H, W) in [0, 1].
    """
    picture = torch.empty_like(image)
    strips = (torch.split(part, STRIP_ROWS, dim=-2) for part in (picture, image, heat))
    for of_picture, of_image, of_heat in zip(*strips, strict=True):
        of_picture.copy_(_overlaid(of_image, of_heat))
    return picture


def _overlaid(image: Tensor, heat: Tensor) -> Tensor:
    """`overlay` of all rows at once, as values that are yet to be made uint8."""
    grey = image.float() / 255 * image.new_tensor(_BRIGHTNESS, dtype=torch.float).view(3, 1, 1)
    grey = grey.sum(dim=0)
    blended = (1 - WEIGHT) * grey + WEIGHT * heat_colors(heat).movedim(-1, 0)
    return (blended * 255).round()


def _encoded(linear: Tensor) -> Tensor:
    """Linear light as sRGB's values, cut to [0, 1]."""
    linear = linear.clamp(0, 1)
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
