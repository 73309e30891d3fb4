"""Target classes of the house, the table and the street."""

from math import cos, radians, sin

from demo.pen import Colour, Pen, Random, arc_points, bend, between, darker, pick
from demo.vehicles import PAINTS

WOODS: tuple[Colour, ...] = ((150, 100, 58), (110, 70, 44), (196, 150, 96), (70, 52, 44))
_METAL: Colour = (70, 72, 78)


def draw_traffic_light(pen: Pen, rng: Random) -> None:
    """A traffic light with one lamp of three lit, with or without its post."""
    case = pick(rng, (40, 44, 46), (60, 62, 40), (36, 54, 46), spread=8)
    if rng.random() < 0.6:
        pen.box((-0.08, 0.2, 0.08, 1.0), (110, 112, 116))
        pen.box((-0.24, 0.93, 0.24, 1.0), (90, 92, 96))
    pen.box((-0.36, -1.0, 0.36, 0.42), case, corner=0.14)
    lit = int(rng.integers(3))
    lamps: tuple[Colour, ...] = ((250, 50, 40), (255, 200, 40), (60, 230, 90))
    for place, lamp in enumerate(lamps):
        y = -0.74 + place * 0.45
        pen.oval((0, y), (0.23, 0.2), darker(case, 0.5))
        pen.oval((0, y + 0.01), (0.185, 0.175), lamp if place == lit else darker(lamp, 0.34))
    pen.oval((-0.06, -0.8 + lit * 0.45), (0.06, 0.05), (255, 250, 235))


def draw_chair(pen: Pen, rng: Random) -> None:
    """A wooden chair seen at an angle, its back with bars or a panel."""
    wood = pick(rng, *WOODS, (190, 60, 50), (60, 100, 150), (235, 230, 220))
    dark = darker(wood, 0.7)
    pen.line([(0.3, 0.06), (0.34, 0.76)], 0.11, dark)
    pen.line([(-0.3, 0.12), (-0.32, 0.8)], 0.11, dark)
    for x in (-0.5, 0.12):
        pen.line([(x, -0.98), (x, 0.2)], 0.12, wood)
    if rng.random() < 0.5:
        for y in (-0.84, -0.54, -0.24):
            pen.line([(-0.48, y), (0.1, y)], 0.12, darker(wood, 1.1))
    else:
        pen.box((-0.46, -0.94, 0.08, -0.26), darker(wood, 1.15))
    pen.polygon([(-0.56, 0.06), (0.2, 0.06), (0.62, 0.28), (-0.2, 0.28)], darker(wood, 1.2))
    pen.polygon([(-0.2, 0.28), (0.62, 0.28), (0.62, 0.38), (-0.2, 0.38)], dark)
    pen.polygon([(-0.56, 0.06), (-0.2, 0.28), (-0.2, 0.38), (-0.56, 0.16)], darker(wood, 0.85))
    for x, top in ((-0.5, 0.16), (-0.14, 0.36), (0.56, 0.36)):
        pen.line([(x, top), (x, 0.98 if x > -0.3 else 0.82)], 0.12, wood)


def draw_lamp(pen: Pen, rng: Random) -> None:
    """A table or standard lamp, lit or not."""
    cloth = pick(
        rng, (240, 210, 140), (220, 110, 90), (150, 180, 160), (235, 230, 215), (120, 140, 190)
    )
    stem = pick(rng, (150, 110, 60), (60, 60, 66), (190, 190, 196))
    tall = rng.random() < 0.4
    wide = 0.4 if tall else 0.62
    low = -0.46 if tall else -0.14
    if tall:
        pen.line([(0, low), (0, 0.94)], 0.07, stem)
        pen.oval((0, 0.95), (0.3, 0.07), darker(stem, 0.8))
    else:
        pen.line([(0, low), (0, 0.3)], 0.1, stem)
        pen.oval((0, 0.52), (0.26, 0.34), darker(stem, 1.1))
        pen.oval((-0.08, 0.42), (0.07, 0.13), darker(stem, 1.5))
        pen.box((-0.3, 0.82, 0.3, 0.95), darker(stem, 0.8), corner=0.04)
    pen.polygon([(-wide * 0.55, -0.95), (wide * 0.55, -0.95), (wide, low), (-wide, low)], cloth)
    pen.polygon(
        [(-wide * 0.1, -0.95), (wide * 0.55, -0.95), (wide, low), (wide * 0.3, low)],
        darker(cloth, 0.85),
    )
    pen.polygon(
        [(-wide, low), (wide, low), (wide * 0.96, low - 0.09), (-wide * 0.96, low - 0.09)],
        darker(cloth, 0.7),
    )
    pen.oval((0, low), (wide * 0.5, 0.06), (255, 250, 210))


def draw_clock(pen: Pen, rng: Random) -> None:
    """A clock: round or square on the wall, or an alarm clock with two bells."""
    rim = pick(rng, *WOODS, (200, 50, 50), (50, 90, 160), (40, 40, 44), (220, 180, 70))
    kind = int(rng.integers(3))
    if kind == 1:
        pen.box((-0.9, -0.9, 0.9, 0.9), rim, corner=0.16)
    if kind == 2:
        for side in (-1, 1):
            pen.line([(side * 0.4, 0.6), (side * 0.62, 0.98)], 0.13, darker(rim, 0.6))
            pen.oval((side * 0.5, -0.74), (0.32, 0.24), darker(rim, 0.8), tilt=side * 38)
    radius = 0.78 if kind else 0.92
    pen.oval((0, 0), (radius, radius), rim)
    pen.oval(
        (0, 0),
        (radius * 0.84, radius * 0.84),
        pick(rng, (250, 248, 240), (240, 232, 205), spread=5),
    )
    for hour in range(12):
        x, y = cos(radians(hour * 30)), sin(radians(hour * 30))
        reach = 0.62 if hour % 3 == 0 else 0.68
        pen.line(
            [(x * radius * reach, y * radius * reach), (x * radius * 0.77, y * radius * 0.77)],
            0.055,
            _METAL,
        )
    for reach, width in ((0.42, 0.1), (0.62, 0.065)):
        angle = radians(between(rng, 0, 360))
        pen.line(
            [(0, 0), (cos(angle) * radius * reach, sin(angle) * radius * reach)],
            width,
            (30, 30, 34),
        )
    pen.oval((0, 0), (0.07, 0.07), (200, 50, 40))


def draw_cup(pen: Pen, rng: Random) -> None:
    """A cup with a handle, some with a saucer or a band."""
    glaze = pick(rng, *PAINTS, (245, 240, 230))
    slope = between(rng, 0.05, 0.22)
    if rng.random() < 0.4:
        pen.oval((0.02, 0.76), (0.92, 0.13), (226, 222, 214))
        pen.oval((0.02, 0.74), (0.7, 0.08), (200, 196, 188))
    pen.ring((0.62, 0.02), (0.28, 0.3), 0.13, darker(glaze, 0.82))
    pen.polygon([(-0.64, -0.56), (0.64, -0.56), (0.64 - slope, 0.6), (-0.64 + slope, 0.6)], glaze)
    pen.oval((0, 0.6), (0.64 - slope, 0.13), glaze)
    pen.polygon(
        [(0.3, -0.56), (0.64, -0.56), (0.64 - slope, 0.6), (0.28, 0.66)], darker(glaze, 0.84)
    )
    if rng.random() < 0.5:
        trim = pick(rng, (250, 250, 245), darker(glaze, 0.5))
        pen.line([(-0.6 + slope * 0.4, -0.06), (0.6 - slope * 0.4, -0.06)], 0.12, trim)
    pen.oval((0, -0.56), (0.64, 0.17), darker(glaze, 1.2))
    pen.oval((0, -0.54), (0.54, 0.12), pick(rng, (84, 50, 30), (170, 100, 40), (240, 236, 226)))


def draw_bottle(pen: Pen, rng: Random) -> None:
    """A bottle with a label and a cap."""
    glass = pick(rng, (40, 110, 70), (120, 70, 30), (90, 160, 190), (180, 40, 60), (200, 210, 205))
    wide = between(rng, 0.26, 0.36)
    neck = between(rng, 0.1, 0.14)
    shoulder = between(rng, -0.36, -0.1)
    side = bend((neck, -0.66), (neck, shoulder - 0.04), (wide, shoulder + 0.16))
    outline = [*side, (wide, 0.92), (wide - 0.06, 0.99), (-wide + 0.06, 0.99), (-wide, 0.92)]
    outline += [(-x, y) for x, y in reversed(side)]
    pen.polygon(outline, glass)
    pen.box((-neck, -0.9, neck, -0.6), glass)
    pen.box(
        (-neck - 0.03, -1.0, neck + 0.03, -0.82),
        pick(rng, (210, 60, 50), (230, 190, 70), (50, 50, 54)),
        corner=0.02,
    )
    pen.box((-wide, 0.24, wide, 0.68), pick(rng, (244, 238, 220), (240, 210, 110), (220, 90, 80)))
    pen.line([(-wide * 0.6, 0.38), (wide * 0.6, 0.38)], 0.05, (90, 70, 60))
    pen.line([(-wide * 0.4, 0.52), (wide * 0.4, 0.52)], 0.04, (130, 110, 100))
    pen.line([(-wide * 0.66, shoulder + 0.22), (-wide * 0.66, 0.18)], 0.06, darker(glass, 1.5))


def draw_banana(pen: Pen, rng: Random) -> None:
    """One to three bananas, green to ripe."""
    peel = pick(rng, (248, 216, 60), (240, 196, 50), (200, 210, 80), spread=10)
    for place in reversed(range(int(rng.integers(1, 4)))):
        drop = place * 0.24
        outer = bend((-0.94, -0.42 + drop), (-0.16, 0.98 + drop), (0.9, -0.34 + drop * 0.4))
        inner = bend((0.84, -0.46 + drop * 0.4), (-0.06, 0.3 + drop), (-0.8, -0.5 + drop))
        middle = bend((0.86, -0.4 + drop * 0.4), (-0.1, 0.56 + drop), (-0.86, -0.45 + drop))
        tone = darker(peel, 1 - 0.1 * place)
        pen.polygon([*outer, *inner], tone)
        pen.polygon([*outer, *middle], darker(tone, 0.84))
        pen.line([(-0.9, -0.48 + drop), (-0.84, -0.42 + drop)], 0.12, (90, 66, 36))
    pen.line([(0.86, -0.38), (0.96, -0.62)], 0.14, darker(peel, 0.7))


def draw_umbrella(pen: Pen, rng: Random) -> None:
    """An open umbrella or parasol with panels in two colours."""
    first = pick(rng, *PAINTS)
    second = pick(rng, (245, 242, 235), darker(first, 0.7))
    hooked = rng.random() < 0.55
    pen.line([(0, -0.8), (0, 0.84)], 0.06, (110, 84, 60))
    if hooked:
        pen.line(arc_points((0.12, 0.84), (0.12, 0.14), arc=(180, 0)), 0.075, (84, 60, 44))
    pen.oval((0, 0.02), (1.0, 0.84), first, arc=(180, 360))
    for left, right in ((-0.6, -0.2), (0.2, 0.6)):
        top = (0.0, -0.82)
        panel = [top, *bend(top, (left * 1.1, -0.7), (left, 0.02)), (right, 0.02)]
        pen.polygon([*panel, *bend((right, 0.02), (right * 1.1, -0.7), top)], second)
    for column in range(5):
        x = -0.8 + column * 0.4
        shade = first if column % 2 == 0 else second
        pen.oval((x, 0.0), (0.2, 0.08), darker(shade, 0.8), arc=(0, 180))
    pen.line([(0, -0.82), (0, -0.94)], 0.06, (110, 84, 60))


def draw_balloon(pen: Pen, rng: Random) -> None:
    """One to three toy balloons on strings."""
    for place in range(int(rng.integers(1, 4))):
        skin = pick(rng, *PAINTS)
        x = (0.0, -0.52, 0.5)[place]
        y = (-0.4, -0.16, -0.2)[place]
        pen.line(bend((x, y + 0.5), (x * 0.6 + 0.14, 0.6), (0.02, 1.0)), 0.03, (230, 230, 230))
        pen.oval((x, y), (0.42, 0.52), skin)
        pen.polygon([(x, y + 0.48), (x - 0.09, y + 0.6), (x + 0.09, y + 0.6)], darker(skin, 0.8))
        pen.oval((x - 0.15, y - 0.2), (0.08, 0.14), darker(skin, 1.7), tilt=20)
