"""Target classes that live."""

from math import cos, radians, sin

from demo.pen import Colour, Pen, Random, bend, between, darker, pick

_EYE: Colour = (24, 22, 24)
_NOSE: Colour = (60, 40, 40)


def _legs(pen: Pen, columns: tuple[float, ...], top: float, foot: float, fill: Colour) -> None:
    for column, x in enumerate(columns):
        pen.line([(x, top), (x + 0.02, foot)], 0.13, darker(fill, 0.82 if column % 2 else 1.0))


def draw_cat(pen: Pen, rng: Random) -> None:
    """A cat that sits and looks at the viewer, plain or striped."""
    fur = pick(rng, (230, 150, 70), (120, 120, 126), (60, 56, 60), (238, 230, 218), (150, 110, 80))
    dark = darker(fur, 0.68)
    curl = between(rng, 0.7, 1.1)
    pen.line(bend((0.3, 0.82), (1.1, 0.8), (0.72, 0.72 - curl)), 0.15, dark)
    pen.oval((0.02, 0.42), (0.48, 0.56), fur)
    for side in (-1, 1):
        pen.polygon([(side * 0.46, -0.98), (side * 0.08, -0.62), (side * 0.52, -0.38)], fur)
        pen.polygon(
            [(side * 0.42, -0.84), (side * 0.2, -0.62), (side * 0.44, -0.5)], (226, 150, 150)
        )
        pen.oval((side * 0.34, 0.92), (0.2, 0.1), darker(fur, 0.9))
        pen.line([(side * 0.14, 0.4), (side * 0.15, 0.9)], 0.19, darker(fur, 0.92))
    pen.oval((0, -0.32), (0.52, 0.42), fur)
    if rng.random() < 0.6:
        for x in (-0.14, 0.0, 0.14):
            pen.line([(x, -0.68), (x, -0.54)], 0.06, dark)
        for y in (0.2, 0.38, 0.56):
            pen.line([(0.3, y), (0.47, y - 0.04)], 0.06, dark)
    iris = pick(rng, (120, 190, 90), (220, 190, 60), (90, 160, 210))
    for side in (-1, 1):
        pen.oval((side * 0.2, -0.36), (0.105, 0.1), iris)
        pen.oval((side * 0.2, -0.36), (0.035, 0.085), _EYE)
        for y in (-0.2, -0.12):
            pen.line([(side * 0.12, -0.17), (side * 0.62, y)], 0.018, (235, 235, 235))
    pen.polygon([(-0.06, -0.22), (0.06, -0.22), (0, -0.14)], (220, 120, 120))


def draw_dog(pen: Pen, rng: Random) -> None:
    """A dog that stands, from the side, its tail up and its ear down."""
    fur = pick(rng, (150, 96, 50), (206, 160, 100), (70, 58, 52), (226, 214, 196), (180, 120, 70))
    patch = pick(rng, darker(fur, 0.55), (240, 236, 228))
    pen.line(bend((-0.68, -0.08), (-1.0, -0.2), (-0.94, -0.62)), 0.11, fur)
    _legs(pen, (-0.55, -0.38, 0.22, 0.4), 0.2, 0.88, fur)
    pen.box((-0.74, -0.18, 0.5, 0.38), fur, corner=0.27)
    if rng.random() < 0.6:
        pen.oval((-0.28, -0.02), (0.26, 0.17), patch)
    pen.polygon([(0.18, -0.1), (0.4, -0.62), (0.68, -0.3), (0.5, 0.2)], fur)
    pen.oval((0.54, -0.54), (0.29, 0.26), fur)
    pen.box((0.58, -0.58, 1.0, -0.32), darker(fur, 1.08), corner=0.1)
    pen.oval((0.98, -0.53), (0.08, 0.07), _NOSE)
    pen.line([(0.72, -0.36), (0.94, -0.37)], 0.025, _NOSE)
    pen.oval((0.6, -0.62), (0.045, 0.05), _EYE)
    pen.oval((0.36, -0.42), (0.12, 0.28), darker(fur, 0.6), tilt=12)
    pen.line([(0.24, -0.08), (0.46, 0.06)], 0.09, pick(rng, (200, 40, 40), (40, 90, 190)))


def draw_cow(pen: Pen, rng: Random) -> None:
    """A cow from the side: patches, horns and an udder."""
    hide = pick(rng, (244, 242, 238), (150, 84, 50), (60, 54, 54))
    patch = darker(hide, 0.2) if hide[0] > 160 else (240, 236, 230)
    pen.line(bend((-0.78, -0.3), (-1.02, -0.1), (-0.92, 0.28)), 0.06, hide)
    _legs(pen, (-0.62, -0.44, 0.2, 0.38), 0.24, 0.8, hide)
    pen.box((-0.82, -0.42, 0.52, 0.36), hide, corner=0.17)
    for _ in range(int(rng.integers(3, 6))):
        centre = (between(rng, -0.6, 0.32), between(rng, -0.26, 0.18))
        pen.oval(centre, (between(rng, 0.1, 0.22), between(rng, 0.08, 0.16)), patch)
    pen.oval((-0.28, 0.4), (0.16, 0.12), (236, 170, 170))
    pen.polygon([(0.36, -0.36), (0.62, -0.6), (0.78, -0.16), (0.5, 0.14)], hide)
    for x, tip in ((0.56, 0.46), (0.76, 0.9)):
        pen.line(bend((x, -0.62), (tip, -0.7), (tip, -0.9)), 0.075, (226, 214, 180))
    pen.oval((0.46, -0.52), (0.15, 0.08), darker(hide, 0.8), tilt=15)
    pen.box((0.52, -0.68, 0.84, -0.12), hide, corner=0.13)
    pen.oval((0.74, -0.14), (0.2, 0.14), (230, 176, 166))
    pen.oval((0.84, -0.16), (0.03, 0.035), _NOSE)
    pen.oval((0.68, -0.46), (0.045, 0.05), _EYE if hide[0] > 100 else (250, 250, 250))


def draw_sheep(pen: Pen, rng: Random) -> None:
    """A sheep from the side: a cloud of wool on thin legs."""
    wool = pick(rng, (244, 240, 230), (226, 218, 204), (250, 248, 244), spread=8)
    face = pick(rng, (52, 46, 46), (120, 96, 80), (220, 196, 176))
    for x in (-0.5, -0.3, 0.18, 0.36):
        pen.line([(x, 0.3), (x, 0.86)], 0.1, face)
    pen.oval((-0.08, 0.02), (0.72, 0.44), wool)
    for step in range(11):
        angle = step * 33.0
        x, y = _on_oval(angle, 0.62, 0.36)
        radius = between(rng, 0.2, 0.27)
        pen.oval((x - 0.08, y + 0.02), (radius, radius), darker(wool, between(rng, 0.93, 1.0)))
    for x, y in ((-0.4, 0.0), (-0.05, -0.14), (0.2, 0.12), (-0.2, 0.2)):
        pen.line(bend((x - 0.1, y), (x, y + 0.12), (x + 0.1, y)), 0.03, darker(wool, 0.84))
    pen.oval((0.74, -0.2), (0.21, 0.29), face, tilt=-18)
    pen.oval((0.54, -0.32), (0.16, 0.07), darker(face, 0.85), tilt=24)
    pen.oval((0.62, -0.46), (0.2, 0.13), wool)
    pen.oval((0.8, -0.28), (0.04, 0.045), (250, 250, 250))
    pen.oval((0.81, -0.28), (0.02, 0.025), _EYE)


def _on_oval(angle: float, wide: float, high: float) -> tuple[float, float]:
    return wide * cos(radians(angle)), high * sin(radians(angle))


def draw_bird(pen: Pen, rng: Random) -> None:
    """A bird, perched or with its wings spread."""
    coat = pick(rng, (60, 120, 200), (200, 70, 60), (240, 200, 70), (90, 90, 96), (80, 160, 100))
    belly = pick(rng, darker(coat, 1.4), (245, 235, 215))
    flying = rng.random() < 0.5
    if flying:
        pen.polygon(
            [(-0.1, -0.05), *bend((-0.1, -0.05), (-0.2, -0.7), (-0.7, -0.9)), (0.3, -0.05)],
            darker(coat, 0.7),
        )
    else:
        for x in (-0.06, 0.14):
            pen.line([(x, 0.4), (x + 0.04, 0.78), (x + 0.16, 0.8)], 0.05, (220, 140, 50))
    pen.polygon([(-0.4, 0.0), (-1.0, 0.1), (-0.94, 0.36), (-0.3, 0.26)], darker(coat, 0.8))
    pen.oval((0.0, 0.1), (0.56, 0.36), coat, tilt=-12)
    pen.oval((0.12, 0.22), (0.36, 0.22), belly, tilt=-12)
    pen.polygon([(0.72, -0.3), (1.06, -0.18), (0.72, -0.1)], (240, 160, 40))
    pen.oval((0.5, -0.22), (0.29, 0.27), coat)
    pen.oval((0.58, -0.28), (0.075, 0.075), (250, 250, 250))
    pen.oval((0.6, -0.28), (0.042, 0.042), _EYE)
    if flying:
        pen.polygon(
            [(0.22, 0.0), *bend((0.22, 0.0), (0.2, -0.8), (-0.2, -1.0)), (-0.4, 0.06)],
            darker(coat, 0.86),
        )
    else:
        pen.polygon(
            [*bend((0.2, -0.04), (-0.1, 0.5), (-0.72, 0.2)), (-0.3, -0.1)], darker(coat, 0.72)
        )


def draw_fish(pen: Pen, rng: Random) -> None:
    """A fish from the side, plain or striped."""
    scale = pick(
        rng, (240, 130, 40), (70, 150, 200), (230, 200, 70), (150, 160, 175), (220, 80, 110)
    )
    fin = darker(scale, 0.74)
    pen.polygon([(-0.5, 0.0), (-1.0, -0.44), (-0.86, 0.0), (-1.0, 0.44)], fin)
    pen.polygon([(-0.3, -0.3), *bend((-0.3, -0.3), (0.1, -0.8), (0.4, -0.3))], fin)
    pen.polygon([(-0.1, 0.3), (-0.2, 0.62), (0.2, 0.36)], fin)
    pen.oval((0.14, 0.0), (0.76, 0.44), scale)
    pen.oval((0.16, 0.14), (0.6, 0.26), darker(scale, 1.25))
    if rng.random() < 0.55:
        band = pick(rng, (250, 250, 245), darker(scale, 0.5))
        for x in (-0.24, 0.06, 0.34):
            pen.line(bend((x, -0.3), (x - 0.1, 0.0), (x, 0.3)), 0.1, band)
    pen.polygon([(0.1, 0.02), (-0.16, 0.22), (0.12, 0.24)], fin)
    pen.oval((0.6, -0.1), (0.11, 0.11), (252, 252, 250))
    pen.oval((0.63, -0.1), (0.055, 0.055), _EYE)
    pen.line([(0.76, 0.16), (0.88, 0.1)], 0.03, darker(scale, 0.5))
