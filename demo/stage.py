"""Puts drawn objects into a picture: size, spot, light, shadow, litter and the camera's noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from demo.catalogue import ALOFT, PAINTERS
from demo.pen import Pen, Random, between, pick
from demo.places import SIDE

Box = tuple[int, int, int, int]

_MOST_HIDDEN = 0.3  # part of the smaller of two boxes that the other may cover
_TRIES = 16
_SHRINKS = (8, 12)  # the tries before which an object is made smaller
_SHRINKABLE = 900  # pixels; a smaller one would fall under the smallest size of the world
_LARGEST_SIDE = 0.94 * SIDE


@dataclass(frozen=True)
class Thing:
    """One drawn object: its name and its box (x0, y0, x1, y1), right and bottom exclusive."""

    name: str
    box: Box

    @property
    def area(self) -> float:
        """Area of the box as part of the image."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0) / SIDE**2


def put_thing(
    canvas: Image.Image,
    rng: Random,
    *,
    name: str,
    area: float,
    horizon: int,
    taken: Sequence[Thing],
) -> Thing | None:
    """Draw one object where it hides no other, smaller if it must be; None if there is no room."""
    sheet = _draw_object(name, rng, area)
    for attempt in range(_TRIES):
        if attempt in _SHRINKS and sheet.width * sheet.height >= _SHRINKABLE:
            sheet = sheet.resize((sheet.width * 2 // 3, sheet.height * 2 // 3))
        x, y = _spot(sheet, horizon, rng, aloft=name in ALOFT)
        box = (x, y, x + sheet.width, y + sheet.height)
        if all(_hidden(box, thing.box) <= _MOST_HIDDEN for thing in taken):
            if name not in ALOFT:
                _shadow(canvas, box)
            canvas.paste(sheet, (x, y), sheet)
            return Thing(name, box)
    return None


def _draw_object(name: str, rng: Random, area: float) -> Image.Image:
    """The object cut out tightly, its box covering `area` of an image."""
    wanted = area**0.5 * SIDE
    side = max(72, round(2.6 * wanted))
    pen = Pen(side, mirrored=rng.random() < 0.5, tilt=5 * float(rng.standard_normal()))
    PAINTERS[name](pen, rng)
    sheet = pen.sheet.crop(pen.sheet.getbbox())
    scale = wanted / (sheet.width * sheet.height) ** 0.5
    scale = min(scale, _LARGEST_SIDE / sheet.width, _LARGEST_SIDE / sheet.height)
    size = (max(4, round(sheet.width * scale)), max(4, round(sheet.height * scale)))
    return _light(sheet.resize(size, Image.Resampling.BOX), rng)


def _light(sheet: Image.Image, rng: Random) -> Image.Image:
    """The sheet lit from one side, with a little grain."""
    pixels = np.asarray(sheet).astype(np.float32)
    across = np.linspace(-1, 1, sheet.width, dtype=np.float32)[None, :]
    down = np.linspace(-1, 1, sheet.height, dtype=np.float32)[:, None]
    light = between(rng, 0.84, 1.06) + between(rng, -0.13, 0.13) * across
    light = light - between(rng, 0.02, 0.16) * down
    grain = 4 * rng.standard_normal((sheet.height, sheet.width), dtype=np.float32)
    pixels[:, :, :3] = pixels[:, :, :3] * light[:, :, None] + grain[:, :, None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _spot(sheet: Image.Image, horizon: int, rng: Random, *, aloft: bool) -> tuple[int, int]:
    """Left and top of the sheet: in the air or on the ground, now and then anywhere."""
    room_x, room_y = SIDE - sheet.width, SIDE - sheet.height
    x = round(between(rng, 0, room_x))
    if rng.random() < 0.1:
        return x, round(between(rng, 0, room_y))
    if aloft:
        return x, round(between(rng, 0, max(0, min(room_y, horizon - 0.6 * sheet.height))))
    return x, round(between(rng, min(room_y, max(0, horizon + 4 - sheet.height)), room_y))


def _hidden(first: Box, second: Box) -> float:
    """Part of the smaller box that lies inside the other."""
    wide = min(first[2], second[2]) - max(first[0], second[0])
    high = min(first[3], second[3]) - max(first[1], second[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return max(0, wide) * max(0, high) / smaller


def _soft_disc(side: int) -> Image.Image:
    axis = np.linspace(-1, 1, side)
    away = np.hypot(axis[:, None], axis[None, :])
    return Image.fromarray((110 * np.clip(1 - away, 0, 1)).astype(np.uint8))


_SHADOW = _soft_disc(64)


def _shadow(canvas: Image.Image, box: Box) -> None:
    """Darken the ground under an object."""
    wide, high = round((box[2] - box[0]) * 1.1), max(4, round((box[2] - box[0]) * 0.2))
    shade = _SHADOW.resize((wide, high))
    canvas.paste((24, 24, 30), ((box[0] + box[2] - wide) // 2, box[3] - round(high * 0.6)), shade)


def litter(canvas: Image.Image, rng: Random, horizon: int, most: int) -> None:
    """Strew small shapes over the ground."""
    draw = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(most + 1))):
        x, y, size = between(rng, 0, SIDE), between(rng, horizon, SIDE), between(rng, 1.5, 4.5)
        shade = pick(rng, (120, 110, 90), (80, 90, 70), (180, 160, 120), (150, 80, 70), spread=30)
        if rng.random() < 0.5:
            draw.ellipse((x - size, y - size * 0.6, x + size, y + size * 0.6), fill=shade)
        else:
            corners = [(x - size, y), (x + size * 0.4, y - size), (x + size, y + size * 0.5)]
            draw.polygon(corners, fill=shade)


def photograph(canvas: Image.Image, rng: Random) -> Image.Image:
    """The canvas as a camera would give it: exposure, tint and noise."""
    pixels = np.asarray(canvas).astype(np.float32)
    gain = between(rng, 0.82, 1.12) * (1 + 0.03 * rng.standard_normal(3, dtype=np.float32))
    noise = between(rng, 1.5, 6) * rng.standard_normal((SIDE, SIDE), dtype=np.float32)
    pixels = (pixels - 128) * between(rng, 0.8, 1.1) + 128
    return Image.fromarray(np.clip(pixels * gain + noise[:, :, None], 0, 255).astype(np.uint8))
