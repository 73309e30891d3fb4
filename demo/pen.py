"""A pen that draws one object in its own frame, on a transparent sheet."""

from collections.abc import Sequence
from math import cos, hypot, pi, radians, sin

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Points = Sequence[tuple[float, float]]
Random = np.random.Generator

_ARC_STEPS = 30
_FRAME = 0.62  # part of the half sheet that one unit takes, so that a tilted object stays on it


class Pen:
    """Draws in a frame whose x runs right and y runs down, both from about -1 to 1."""

    def __init__(self, side: int, *, mirrored: bool = False, tilt: float = 0.0) -> None:
        """Lay out a transparent sheet of `side` pixels; `tilt` turns the frame, in degrees."""
        self.sheet = Image.new("RGBA", (side, side), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self.sheet)
        self._unit = side / 2 * _FRAME
        self._centre = side / 2
        self._turn = (cos(radians(tilt)), sin(radians(tilt)))
        self._sign = -1.0 if mirrored else 1.0

    def polygon(self, points: Points, fill: Colour) -> None:
        """Fill the polygon through `points`."""
        self._draw.polygon(self._place(points), fill=fill)

    def oval(
        self,
        centre: tuple[float, float],
        radii: tuple[float, float],
        fill: Colour,
        *,
        arc: tuple[float, float] = (0, 360),
        tilt: float = 0.0,
    ) -> None:
        """Fill an ellipse, or the part of it between two angles (degrees, clockwise from right)."""
        self.polygon(arc_points(centre, radii, arc=arc, tilt=tilt), fill)

    def box(
        self, corners: tuple[float, float, float, float], fill: Colour, *, corner: float = 0.0
    ) -> None:
        """Fill the rectangle (x0, y0, x1, y1), its corners rounded with radius `corner`."""
        x0, y0, x1, y1 = corners
        inner = ((x1, y1, 0), (x0, y1, 90), (x0, y0, 180), (x1, y0, 270))
        points: list[tuple[float, float]] = []
        for x, y, start in inner:
            centre = (x + (corner if x == x0 else -corner), y + (corner if y == y0 else -corner))
            span = (start, start + 90)
            points += arc_points(centre, (corner, corner), arc=span) if corner else [(x, y)]
        self.polygon(points, fill)

    def line(self, points: Points, width: float, fill: Colour) -> None:
        """Draw a stroke of `width` units through `points`, with round ends."""
        placed = self._place(points)
        pixels = max(1, round(width * self._unit))
        self._draw.line(placed, fill=fill, width=pixels, joint="curve")
        for x, y in (placed[0], placed[-1]):
            half = pixels / 2
            self._draw.ellipse((x - half, y - half, x + half, y + half), fill=fill)

    def ring(
        self, centre: tuple[float, float], radii: tuple[float, float], width: float, fill: Colour
    ) -> None:
        """Draw the outline of an ellipse as a stroke of `width` units."""
        self.line(arc_points(centre, radii), width, fill)

    def _place(self, points: Points) -> list[tuple[float, float]]:
        turn_cos, turn_sin = self._turn
        return [
            (
                self._centre + self._unit * (self._sign * x * turn_cos - y * turn_sin),
                self._centre + self._unit * (self._sign * x * turn_sin + y * turn_cos),
            )
            for x, y in points
        ]


def arc_points(
    centre: tuple[float, float],
    radii: tuple[float, float],
    *,
    arc: tuple[float, float] = (0, 360),
    tilt: float = 0.0,
) -> list[tuple[float, float]]:
    """Points along an ellipse, angles in degrees clockwise from the right."""
    start, end = radians(arc[0]), radians(arc[1])
    steps = max(3, round(_ARC_STEPS * abs(end - start) / (2 * pi)))
    turn_cos, turn_sin = cos(radians(tilt)), sin(radians(tilt))
    points = []
    for step in range(steps + 1):
        angle = start + (end - start) * step / steps
        x, y = radii[0] * cos(angle), radii[1] * sin(angle)
        points.append(
            (centre[0] + x * turn_cos - y * turn_sin, centre[1] + x * turn_sin + y * turn_cos)
        )
    return points


def bend(start: tuple[float, float], pull: tuple[float, float], end: tuple[float, float]) -> Points:
    """Points along the curve from `start` to `end` that is drawn towards `pull`."""
    steps = max(4, round(12 * hypot(end[0] - start[0], end[1] - start[1])))
    curve = []
    for step in range(steps + 1):
        t = step / steps
        a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t * t
        curve.append(
            (a * start[0] + b * pull[0] + c * end[0], a * start[1] + b * pull[1] + c * end[1])
        )
    return curve


def darker(colour: Colour, factor: float) -> Colour:
    """The colour multiplied by `factor`; above 1 it gets lighter, up to white."""
    red, green, blue = (min(255, max(0, round(part * factor))) for part in colour)
    return red, green, blue


def pick(rng: Random, *palette: Colour, spread: int = 18) -> Colour:
    """One colour of the palette, each channel moved by up to `spread`."""
    base = palette[int(rng.integers(len(palette)))]
    shift = rng.integers(-spread, spread + 1, size=3)
    red, green, blue = (
        int(min(255, max(0, part + move))) for part, move in zip(base, shift, strict=True)
    )
    return red, green, blue


def between(rng: Random, low: float, high: float) -> float:
    """A uniform number from `low` to `high`."""
    return low + (high - low) * float(rng.random())
