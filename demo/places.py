"""Backgrounds: places with a sky or wall above a horizon and a ground below it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from demo.pen import Colour, Random, arc_points, between, darker, pick

SIDE = 224
_DETAIL = 2  # details are drawn at twice the size and shrunk, so that their edges are smooth
_COARSE = 56  # gradients and cloudy texture need no more resolution

_Painter = Callable[[ImageDraw.ImageDraw, Random, int], None]


@dataclass(frozen=True)
class Place:
    """How a place looks."""

    above: tuple[Colour, ...]  # colours at the top
    below: tuple[Colour, ...]  # colours at the bottom
    horizon: tuple[float, float]  # where the two meet, as a range of the height
    mottle: float  # strength of the cloudy texture, in grey levels
    details: _Painter


@dataclass(frozen=True)
class Backdrop:
    """A painted background and the row of its horizon."""

    image: Image.Image
    horizon: int


def paint_place(name: str, rng: Random) -> Backdrop:
    """A background of 224 x 224 pixels."""
    place = PLACES[name]
    horizon = round(between(rng, *place.horizon) * SIDE)
    image = _ground(place, rng, horizon / SIDE)
    large = image.resize((SIDE * _DETAIL, SIDE * _DETAIL), Image.Resampling.BILINEAR)
    place.details(ImageDraw.Draw(large), rng, horizon * _DETAIL)
    return Backdrop(large.reduce(_DETAIL), horizon)


def _ground(place: Place, rng: Random, horizon: float) -> Image.Image:
    rows = np.linspace(0, 1, _COARSE)[:, None, None]
    above = np.array(pick(rng, *place.above), dtype=np.float32)
    below = np.array(pick(rng, *place.below), dtype=np.float32)
    upper = above * (1.12 - 0.0 * rows) + (rows / max(horizon, 0.05)) * 28 - 20
    lower = below * (0.78 + 0.34 * (rows - horizon) / max(1 - horizon, 0.05))
    colours = np.where(rows < horizon, upper, lower)
    colours = np.broadcast_to(colours, (_COARSE, _COARSE, 3))
    cloudy = place.mottle * (_blotches(rng, 6) + 0.7 * _blotches(rng, 20))
    return Image.fromarray(np.clip(colours + cloudy[:, :, None], 0, 255).astype(np.uint8))


def _blotches(rng: Random, cells: int) -> NDArray[np.float32]:
    """Smooth noise of about unit strength: normal numbers on a coarse grid, enlarged."""
    grid = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    return np.asarray(grid.resize((_COARSE, _COARSE), Image.Resampling.BICUBIC))


def _street(draw: ImageDraw.ImageDraw, rng: Random, horizon: int) -> None:
    wide = SIDE * _DETAIL
    left = -between(rng, 0, 60)
    while left < wide:
        right = left + between(rng, 50, 110)
        top = horizon - between(rng, 50, 190)
        wall = pick(rng, (170, 130, 110), (150, 150, 160), (190, 170, 140), (130, 120, 130))
        draw.rectangle((left, top, right, horizon), fill=wall)
        pane = pick(rng, darker(wall, 0.65), (230, 220, 160), (150, 175, 190))
        for x in np.arange(left + 10, right - 14, 26):
            for y in np.arange(top + 12, horizon - 24, 34):
                draw.rectangle((x, y, x + 12, y + 18), fill=pane)
        left = right + between(rng, 0, 8)
    draw.rectangle((0, horizon, wide, horizon + 26), fill=pick(rng, (170, 166, 160), spread=10))
    y = horizon + between(rng, 70, 130)
    for x in range(-30, wide, 90):
        draw.polygon([(x, y), (x + 46, y), (x + 40, y + 10), (x - 6, y + 10)], fill=(226, 222, 206))


def _room(draw: ImageDraw.ImageDraw, rng: Random, horizon: int) -> None:
    wide = SIDE * _DETAIL
    paper = pick(rng, (214, 196, 170), (170, 190, 190), (200, 170, 170), (190, 200, 170))
    step = round(between(rng, 26, 60))
    for x in range(0, wide, step):
        draw.rectangle((x, 0, x + step // 3, horizon), fill=paper)
    if rng.random() < 0.6:
        left, top = between(rng, 20, 300), between(rng, 14, 70)
        frame = pick(rng, (110, 80, 60), (240, 238, 230))
        draw.rectangle((left, top, left + 120, top + 100), fill=frame)
        picture = pick(rng, (160, 200, 225), (190, 180, 150))
        draw.rectangle((left + 9, top + 9, left + 111, top + 91), fill=picture)
    draw.rectangle((0, horizon - 12, wide, horizon), fill=(236, 230, 220))
    plank = pick(rng, (120, 84, 56), (150, 110, 76), spread=10)
    for y in range(horizon, wide, 34):
        draw.line((0, y, wide, y), fill=plank, width=2)
        shift = round(between(rng, 0, 120))
        for x in range(shift, wide, 120):
            draw.line((x, y, x, y + 34), fill=plank, width=2)


def _kitchen(draw: ImageDraw.ImageDraw, rng: Random, horizon: int) -> None:
    wide = SIDE * _DETAIL
    tile = round(between(rng, 38, 64))
    seam = pick(rng, (235, 235, 230), (150, 160, 165))
    accent = pick(rng, (120, 160, 180), (210, 170, 120), (150, 180, 140))
    for x in range(0, wide, tile):
        for y in range(horizon - tile, -tile, -tile):
            if rng.random() < 0.16:
                draw.rectangle((x, y, x + tile, y + tile), fill=accent)
            draw.rectangle((x, y, x + tile, y + tile), outline=seam, width=3)
    draw.rectangle((0, horizon, wide, horizon + 12), fill=pick(rng, (120, 84, 60), (90, 86, 84)))
    grain = pick(rng, (140, 100, 66), (190, 160, 120))
    for _ in range(12):
        left_end = between(rng, horizon + 20, wide)
        right_end = left_end + between(rng, -14, 14)
        draw.line((0, left_end, wide, right_end), fill=grain, width=2)


def _beach(draw: ImageDraw.ImageDraw, rng: Random, horizon: int) -> None:
    wide = SIDE * _DETAIL
    water = pick(rng, (60, 140, 190), (80, 170, 190))
    shore = horizon + between(rng, 30, 80)
    edge = [(x, shore + between(rng, -6, 6)) for x in range(0, wide + 40, 40)]
    draw.polygon([(0, horizon), (wide, horizon), *reversed(edge)], fill=water)
    draw.line(edge, fill=(240, 244, 244), width=7)
    _clouds(draw, rng, horizon)
    _specks(draw, rng, round(shore), 60, ((200, 170, 120), (150, 120, 84), (240, 225, 190)))


def _meadow(draw: ImageDraw.ImageDraw, rng: Random, horizon: int) -> None:
    hill = pick(rng, (96, 140, 90), (120, 150, 110), (80, 120, 100))
    for _ in range(3):
        x = between(rng, -40, 490)
        draw.ellipse((x - 180, horizon - between(rng, 30, 80), x + 180, horizon + 120), fill=hill)
    draw.rectangle((0, horizon + 24, 448, horizon + 28), fill=darker(hill, 0.85))
    _clouds(draw, rng, horizon)
    blades = pick(rng, (70, 130, 50), (130, 170, 70))
    for _ in range(90):
        x, y = between(rng, 0, 448), between(rng, horizon + 30, 448)
        draw.line((x, y, x + between(rng, -5, 5), y - between(rng, 6, 16)), fill=blades, width=2)


def _sea(draw: ImageDraw.ImageDraw, rng: Random, horizon: int) -> None:
    _clouds(draw, rng, horizon)
    crest = pick(rng, (130, 190, 215), (90, 150, 190), (200, 225, 230))
    for _ in range(36):
        x, y = between(rng, 0, 448), between(rng, horizon + 8, 448)
        size = 8 + 22 * (y - horizon) / 448
        draw.arc((x - size, y - size / 3, x + size, y + size / 3), 200, 340, fill=crest, width=3)


def _sky(draw: ImageDraw.ImageDraw, rng: Random, horizon: int) -> None:
    _clouds(draw, rng, horizon)
    _clouds(draw, rng, horizon)
    if rng.random() < 0.4:
        x, y, size = between(rng, 20, 420), between(rng, 20, 160), between(rng, 18, 34)
        draw.ellipse((x - size, y - size, x + size, y + size), fill=(255, 236, 150))


def _forest(draw: ImageDraw.ImageDraw, rng: Random, horizon: int) -> None:
    for _ in range(14):
        x, wide = between(rng, -10, 450), between(rng, 8, 26)
        bark = pick(rng, (90, 66, 50), (70, 56, 48), (110, 90, 70))
        draw.rectangle((x, 0, x + wide, horizon + between(rng, 0, 60)), fill=bark)
    for _ in range(26):
        x, y, size = between(rng, 0, 448), between(rng, -20, 90), between(rng, 18, 46)
        leaf = pick(rng, (50, 100, 56), (70, 120, 60), (40, 84, 60))
        draw.ellipse((x - size, y - size, x + size, y + size), fill=leaf)
    _specks(draw, rng, horizon, 70, ((150, 100, 50), (80, 110, 50), (120, 80, 50)))


def _desert(draw: ImageDraw.ImageDraw, rng: Random, horizon: int) -> None:
    for layer in range(3):
        dune = darker(pick(rng, (224, 180, 110), spread=8), 1 - 0.08 * layer)
        x = between(rng, -100, 500)
        top = horizon + layer * 40 - between(rng, 10, 50)
        draw.polygon(arc_points((x, top + 150), (320, 150), arc=(180, 360)), fill=dune)
    _specks(draw, rng, horizon, 40, ((190, 150, 96), (160, 120, 80)))


def _snow(draw: ImageDraw.ImageDraw, rng: Random, horizon: int) -> None:
    for _ in range(3):
        x, high = between(rng, 0, 448), between(rng, 50, 140)
        hill = pick(rng, (150, 165, 185), (130, 145, 165), spread=10)
        draw.polygon([(x - high, horizon), (x, horizon - high), (x + high, horizon)], fill=hill)
        draw.polygon(
            [
                (x - high / 3, horizon - high * 2 / 3),
                (x, horizon - high),
                (x + high / 3, horizon - high * 2 / 3),
            ],
            fill=(244, 248, 252),
        )
    for _ in range(60):
        x, y, size = between(rng, 0, 448), between(rng, 0, 448), between(rng, 1, 4)
        draw.ellipse((x - size, y - size, x + size, y + size), fill=(250, 252, 255))


def _clouds(draw: ImageDraw.ImageDraw, rng: Random, horizon: int) -> None:
    for _ in range(int(rng.integers(1, 4))):
        x, y = between(rng, 0, 448), between(rng, 16, max(40, horizon * 0.7))
        size = between(rng, 12, 30)
        white = pick(rng, (240, 244, 248), (222, 228, 236), spread=6)
        for step in range(-2, 3):
            high = size * (1.1 - 0.25 * abs(step))
            draw.ellipse(
                (x + step * size - size, y - high, x + step * size + size, y + high * 0.7),
                fill=white,
            )


def _specks(
    draw: ImageDraw.ImageDraw, rng: Random, top: int, count: int, palette: tuple[Colour, ...]
) -> None:
    for _ in range(count):
        x, y, size = between(rng, 0, 448), between(rng, top, 448), between(rng, 1, 5)
        draw.ellipse((x - size, y - size * 0.6, x + size, y + size * 0.6), fill=pick(rng, *palette))


_DAY: tuple[Colour, ...] = ((140, 190, 230), (176, 206, 226), (230, 190, 160), (110, 150, 200))

PLACES: dict[str, Place] = {
    "street": Place(_DAY, ((110, 110, 116), (130, 124, 120)), (0.4, 0.6), 7, _street),
    "room": Place(
        ((222, 206, 186), (190, 206, 206), (206, 186, 190)),
        ((170, 124, 84), (140, 110, 90)),
        (0.55, 0.72),
        5,
        _room,
    ),
    "kitchen": Place(
        ((224, 226, 222), (200, 214, 216), (230, 216, 196)),
        ((186, 146, 104), (206, 200, 190), (130, 110, 100)),
        (0.45, 0.62),
        5,
        _kitchen,
    ),
    "beach": Place(_DAY, ((232, 208, 156), (216, 190, 140)), (0.32, 0.46), 7, _beach),
    "meadow": Place(_DAY, ((110, 164, 76), (140, 170, 80), (96, 140, 70)), (0.32, 0.5), 9, _meadow),
    "sea": Place(_DAY, ((40, 106, 160), (50, 130, 160), (60, 90, 130)), (0.3, 0.48), 8, _sea),
    "sky": Place(_DAY, ((190, 212, 228), (214, 200, 190), (150, 180, 215)), (0.85, 0.98), 10, _sky),
    "forest": Place(
        ((90, 130, 90), (120, 150, 110), (70, 110, 90)),
        ((110, 96, 60), (90, 110, 60)),
        (0.5, 0.66),
        11,
        _forest,
    ),
    "desert": Place(
        ((150, 196, 226), (236, 200, 150)),
        ((228, 186, 118), (210, 160, 100)),
        (0.38, 0.54),
        7,
        _desert,
    ),
    "snow": Place(
        ((170, 196, 220), (150, 170, 196)),
        ((232, 238, 246), (214, 224, 236)),
        (0.4, 0.56),
        6,
        _snow,
    ),
}
