"""Small charts as inline SVG: no script, no style attribute; colours are the page's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

#: Units of the coordinate systems; the page scales them to the room there is.
HISTOGRAM_WIDTH, HISTOGRAM_HEIGHT = 120, 28
CURVE_WIDTH, CURVE_HEIGHT = 360, 200
#: Room for a curve's axes and for what is written at its lines.
LEFT, RIGHT, ABOVE, BELOW = 34, 14, 16, 24
#: About the width of a character of a line's name.
CHARACTER_WIDTH = 6.5
#: Values marked on the y axis, zero included.
TICKS = 5


def tag(name: str, *children: Markup | str, **attributes: float | str) -> Markup:
    """An SVG element; `class_` is class, `text_anchor` is text-anchor. Everything is escaped."""
    pairs = (
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _written(value))
        for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(
        name, Markup("").join(pairs), Markup("").join(children)
    )


def bar(share: float) -> Markup:
    """A horizontal bar as long as a share in [0, 1]."""
    parts = [
        tag("rect", class_="track", width=100, height=10),
        tag("rect", class_="bar", width=100 * min(max(share, 0), 1), height=10),
    ]
    return _svg("meter", 100, 10, *parts, preserveAspectRatio="none", aria_hidden="true")


def histogram(counts: Sequence[int], threshold: float | None) -> Markup:
    """Bars of equal width over [0, 1], and a line at the threshold.

    Heights go with the square root: nearly all scores of a class lie next to 0, and nothing else
    would be seen on a linear scale.
    """
    most, width = max(*counts, 1), HISTOGRAM_WIDTH / len(counts)
    heights = [HISTOGRAM_HEIGHT * math.sqrt(count / most) for count in counts]
    parts = [
        tag(
            "rect",
            class_="bar",
            x=i * width,
            y=HISTOGRAM_HEIGHT - high,
            width=width - 1,
            height=high,
        )
        for i, high in enumerate(heights)
        if high
    ]
    base = tag("rect", class_="axis", y=HISTOGRAM_HEIGHT, width=HISTOGRAM_WIDTH, height=1)
    if threshold is not None:
        x = HISTOGRAM_WIDTH * threshold
        base += tag("rect", class_="mark", x=x - 0.75, width=1.5, height=HISTOGRAM_HEIGHT)
    width_and_height = HISTOGRAM_WIDTH, HISTOGRAM_HEIGHT + 1
    return _svg("histogram", *width_and_height, *parts, base, aria_hidden="true")


@dataclass(frozen=True)
class Line:
    """One line of a curve.

    Attributes:
        name: written over its middle.
        kind: `first` or `second`, its colour.
        points: (x, y), x whole numbers from 1 up.
    """

    name: str
    kind: str
    points: Sequence[tuple[int, float]]


def curve(
    lines: Sequence[Line], *, title: str, y_max: float | None = None, ring: int | None = None
) -> Markup:
    """Lines over whole numbers, the y axis from 0 up.

    Args:
        lines: those without points are left out; at least one has some.
        title: for those who cannot see it.
        y_max: top of the y axis; None: a round number over the largest value.
        ring: the x of the point to be set off.
    """
    points = [point for line in lines for point in line.points]
    frame = _Frame(
        x_max=max(x for x, _ in points), y_max=y_max or _round_up(max(y for _, y in points))
    )
    drawn = [part for line in lines if line.points for part in frame.line(line, ring)]
    content = [tag("title", title), *frame.axes(), *drawn]
    return _svg("curve", CURVE_WIDTH, CURVE_HEIGHT, *content, role="img")


@dataclass(frozen=True)
class _Frame:
    """Where the points of a curve lie."""

    x_max: int
    y_max: float

    def x(self, value: float) -> float:
        steps = max(self.x_max - 1, 1)
        return LEFT + 8 + (value - 1) / steps * (CURVE_WIDTH - LEFT - RIGHT - 16)

    def y(self, value: float) -> float:
        return CURVE_HEIGHT - BELOW - value / self.y_max * (CURVE_HEIGHT - ABOVE - BELOW)

    def axes(self) -> list[Markup]:
        """Lines across with their values, and whole numbers below."""
        parts = []
        for tick in range(TICKS + 1):
            value = self.y_max * tick / TICKS
            y = self.y(value)
            line = tag("line", class_="grid", x1=LEFT, x2=CURVE_WIDTH - RIGHT, y1=y, y2=y)
            parts += [line, tag("text", f"{value:.2g}", x=LEFT - 6, y=y + 3.5, text_anchor="end")]
        step = math.ceil(self.x_max / 12)
        for value in range(1, self.x_max + 1, step):
            at = {"x": self.x(value), "y": CURVE_HEIGHT - 6}
            parts.append(tag("text", str(value), text_anchor="middle", **at))
        return parts

    def line(self, line: Line, ring: int | None) -> list[Markup]:
        """The line, its points, and its name over the middle of it."""
        places = [(self.x(x), self.y(y)) for x, y in line.points]
        path = " ".join(f"{_written(x)},{_written(y)}" for x, y in places)
        dots = [tag("circle", class_=line.kind, cx=x, cy=y, r=2.6) for x, y in places]
        rings = [
            tag("circle", class_="ring", cx=self.x(x), cy=self.y(y), r=6)
            for x, y in line.points
            if x == ring
        ]
        x, y = places[len(places) // 2]
        x = max(x, LEFT + len(line.name) * CHARACTER_WIDTH / 2)  # beside the y axis's values
        name = tag("text", line.name, class_=f"name {line.kind}", x=x, y=max(y - 10, 11))
        return [tag("polyline", class_=line.kind, points=path), *dots, *rings, name]


def _svg(kind: str, width: float, height: float, *content: Markup, **more: str) -> Markup:
    box = f"0 0 {_written(width)} {_written(height)}"
    return tag("svg", *content, class_=kind, viewBox=box, **more)


def _round_up(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten; 1 for what is not positive."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(k * unit for k in (1, 2, 5, 10) if value <= k * unit)


def _written(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
