"""Objects that are none of the target classes: they fill scenes and must not be taken for one."""

from math import cos, radians, sin

from demo.pen import Colour, Pen, Random, bend, between, darker, pick
from demo.things import WOODS
from demo.vehicles import GLASS, PAINTS, STEEL

_GREENS: tuple[Colour, ...] = ((60, 130, 60), (90, 150, 60), (40, 100, 70), (140, 160, 60))


def draw_tree(pen: Pen, rng: Random) -> None:
    """A round tree or a fir."""
    leaf = pick(rng, *_GREENS)
    pen.polygon([(-0.1, 0.1), (0.1, 0.1), (0.16, 1.0), (-0.16, 1.0)], pick(rng, *WOODS))
    if rng.random() < 0.5:
        for step in range(3):
            top = -1.0 + step * 0.42
            wide = 0.42 + step * 0.16
            pen.polygon(
                [(0, top), (wide, top + 0.72), (-wide, top + 0.72)], darker(leaf, 0.85 + step * 0.1)
            )
        return
    for x, y, radius in (
        (-0.36, -0.16, 0.4),
        (0.36, -0.12, 0.4),
        (0.0, -0.5, 0.48),
        (0.02, -0.08, 0.4),
    ):
        pen.oval((x, y), (radius, radius), darker(leaf, between(rng, 0.85, 1.15)))


def draw_house(pen: Pen, rng: Random) -> None:
    """A house with a pitched roof."""
    wall = pick(rng, (230, 210, 180), (200, 120, 90), (220, 225, 230), (240, 220, 140))
    pen.box((-0.74, -0.22, 0.74, 0.9), wall)
    pen.box((0.32, -0.92, 0.52, -0.3), darker(wall, 0.6))
    pen.polygon(
        [(-0.98, -0.18), (0, -0.96), (0.98, -0.18)],
        pick(rng, (160, 60, 50), (80, 80, 100), (120, 80, 60)),
    )
    pen.box((-0.16, 0.3, 0.16, 0.9), pick(rng, *WOODS))
    for x in (-0.56, 0.28):
        pen.box((x, 0.0, x + 0.3, 0.3), (250, 250, 245))
        pen.box((x + 0.03, 0.03, x + 0.27, 0.27), GLASS)


def draw_flower(pen: Pen, rng: Random) -> None:
    """A flower with a stem and two leaves."""
    petal = pick(
        rng, (230, 70, 110), (250, 250, 240), (240, 200, 60), (160, 90, 200), (240, 130, 60)
    )
    stem = pick(rng, *_GREENS)
    pen.line(bend((0, -0.4), (0.12, 0.3), (0, 1.0)), 0.08, stem)
    pen.oval((0.26, 0.46), (0.26, 0.1), stem, tilt=-30)
    pen.oval((-0.24, 0.6), (0.26, 0.1), stem, tilt=30)
    count = int(rng.integers(5, 9))
    for place in range(count):
        angle = 360 * place / count
        x, y = 0.36 * cos(radians(angle)), 0.36 * sin(radians(angle))
        pen.oval((x, -0.44 + y), (0.26, 0.15), darker(petal, 0.9 + 0.1 * (place % 2)), tilt=angle)
    pen.oval((0, -0.44), (0.19, 0.19), pick(rng, (250, 200, 60), (110, 70, 40)))


def draw_mushroom(pen: Pen, rng: Random) -> None:
    """A mushroom with a spotted cap."""
    cap = pick(rng, (200, 50, 40), (160, 110, 70), (220, 150, 60))
    pen.polygon([(-0.22, 0.0), (0.22, 0.0), (0.3, 0.9), (-0.3, 0.9)], (240, 232, 214))
    pen.oval((0, 0.06), (0.84, 0.86), cap, arc=(180, 360))
    pen.oval((0, 0.06), (0.84, 0.13), darker(cap, 0.7))
    for x, y in ((-0.4, -0.2), (0.06, -0.5), (0.44, -0.16), (0.04, -0.12)):
        pen.oval((x, y), (0.12, 0.1), (250, 245, 235))


def draw_cactus(pen: Pen, rng: Random) -> None:
    """A cactus with arms, in the open or in a pot."""
    skin = pick(rng, *_GREENS)
    pen.line([(0, -0.8), (0, 0.8)], 0.36, skin)
    high = between(rng, -0.4, 0.0)
    pen.line([(0, 0.3), (-0.5, 0.3), (-0.5, high)], 0.22, darker(skin, 0.9))
    pen.line([(0, 0.1), (0.48, 0.1), (0.48, high - 0.26)], 0.22, darker(skin, 0.9))
    for x in (-0.08, 0.08):
        pen.line([(x, -0.7), (x, 0.7)], 0.025, darker(skin, 1.4))
    if rng.random() < 0.5:
        pen.polygon([(-0.44, 0.5), (0.44, 0.5), (0.32, 1.0), (-0.32, 1.0)], (180, 96, 60))


def draw_rock(pen: Pen, rng: Random) -> None:
    """A grey rock with one lit face."""
    stone = pick(rng, (130, 128, 124), (110, 100, 92), (150, 146, 150))
    peak = between(rng, -0.3, 0.3)
    pen.polygon(
        [
            (-0.95, 0.6),
            (-0.7, -0.1),
            (peak - 0.2, -0.6),
            (peak + 0.3, -0.5),
            (0.8, 0.0),
            (0.95, 0.6),
        ],
        stone,
    )
    pen.polygon(
        [(-0.7, -0.1), (peak - 0.2, -0.6), (peak + 0.06, 0.0), (-0.4, 0.24)], darker(stone, 1.25)
    )
    pen.polygon([(peak + 0.06, 0.0), (0.8, 0.0), (0.95, 0.6), (0.0, 0.6)], darker(stone, 0.75))


def draw_box(pen: Pen, rng: Random) -> None:
    """A cardboard box or a wrapped present."""
    side = pick(rng, (190, 140, 90), (170, 120, 76), *PAINTS[:4])
    pen.polygon([(-0.8, -0.3), (0.3, -0.3), (0.3, 0.8), (-0.8, 0.8)], side)
    pen.polygon([(0.3, -0.3), (0.84, -0.62), (0.84, 0.44), (0.3, 0.8)], darker(side, 0.7))
    pen.polygon([(-0.8, -0.3), (-0.26, -0.62), (0.84, -0.62), (0.3, -0.3)], darker(side, 1.2))
    ribbon = pick(rng, (240, 230, 200), (240, 200, 70), (220, 60, 80))
    pen.box((-0.33, -0.3, -0.17, 0.8), ribbon)
    pen.polygon([(-0.33, -0.3), (0.21, -0.62), (0.37, -0.62), (-0.17, -0.3)], ribbon)


def draw_ball(pen: Pen, rng: Random) -> None:
    """A beach ball or a football."""
    skin = pick(rng, *PAINTS, (245, 245, 240))
    other = pick(rng, (245, 245, 240), darker(skin, 0.5))
    pen.oval((0, 0), (0.9, 0.9), skin)
    for start in (20, 140, 260):
        pen.polygon([(0, 0), *_rim(start, start + 60)], other)
    pen.oval((0, 0), (0.16, 0.16), darker(skin, 0.8))
    pen.oval((-0.36, -0.42), (0.16, 0.11), darker(skin, 1.6), tilt=-40)


def _rim(start: float, end: float) -> list[tuple[float, float]]:
    steps = [start + (end - start) * step / 8 for step in range(9)]
    return [(0.9 * cos(radians(angle)), 0.9 * sin(radians(angle))) for angle in steps]


def draw_book(pen: Pen, rng: Random) -> None:
    """A closed book, standing at an angle."""
    cover = pick(rng, *PAINTS)
    pen.polygon(
        [(-0.6, -0.8), (0.5, -0.8), (0.7, -0.68), (0.7, 0.86), (-0.4, 0.86), (-0.6, 0.74)],
        (245, 240, 225),
    )
    pen.polygon([(-0.6, -0.84), (0.5, -0.84), (0.5, 0.74), (-0.6, 0.74)], cover)
    pen.box((-0.6, -0.84, -0.46, 0.74), darker(cover, 0.65))
    pen.box((-0.28, -0.56, 0.34, -0.2), pick(rng, (245, 235, 200), (240, 200, 80)))
    pen.line([(-0.2, 0.3), (0.26, 0.3)], 0.05, darker(cover, 1.5))


def draw_star(pen: Pen, rng: Random) -> None:
    """A five-pointed star."""
    gold = pick(rng, (250, 210, 60), (230, 90, 80), (240, 240, 235), (120, 180, 220))
    depth = between(rng, 0.38, 0.5)
    points = []
    for corner in range(10):
        reach = 0.98 if corner % 2 == 0 else depth
        angle = radians(corner * 36 - 90)
        points.append((reach * cos(angle), reach * sin(angle)))
    pen.polygon(points, gold)
    for corner in range(0, 10, 2):
        pen.polygon([points[corner], points[(corner + 1) % 10], (0, 0)], darker(gold, 0.8))


def draw_tent(pen: Pen, rng: Random) -> None:
    """A tent with its flap open."""
    cloth = pick(rng, *PAINTS)
    pen.polygon([(-0.3, -0.7), (0.6, -0.78), (1.0, 0.66), (0.4, 0.8)], darker(cloth, 0.7))
    pen.polygon([(-0.3, -0.7), (0.4, 0.8), (-0.98, 0.8)], cloth)
    pen.polygon([(-0.3, -0.5), (0.02, 0.8), (-0.62, 0.8)], (50, 44, 44))
    pen.polygon([(-0.3, -0.5), (-0.3, 0.8), (-0.62, 0.8)], darker(cloth, 1.3))


def draw_fence(pen: Pen, rng: Random) -> None:
    """A paling fence."""
    wood = pick(rng, *WOODS, (240, 238, 230))
    for y in (-0.2, 0.34):
        pen.box((-1.0, y, 1.0, y + 0.14), darker(wood, 0.75))
    count = int(rng.integers(4, 7))
    for place in range(count):
        x = -0.94 + place * 1.9 / count
        pale = [(x, 0.7), (x, -0.46), (x + 0.11, -0.66), (x + 0.22, -0.46), (x + 0.22, 0.7)]
        pen.polygon(pale, wood)


def draw_barrel(pen: Pen, rng: Random) -> None:
    """A barrel with iron hoops."""
    wood = pick(rng, *WOODS)
    side = bend((0.5, -0.86), (0.86, 0.0), (0.5, 0.86))
    pen.polygon([*side, *((-x, y) for x, y in reversed(side))], wood)
    pen.oval((0, -0.86), (0.5, 0.12), darker(wood, 0.7))
    for y, wide in ((-0.54, 0.59), (0.5, 0.6)):
        pen.line(bend((-wide, y), (0, y + 0.16), (wide, y)), 0.11, (74, 74, 80))
    for x in (-0.26, 0.0, 0.26):
        pen.line(bend((x, -0.74), (x * 1.3, 0.0), (x, 0.8)), 0.025, darker(wood, 0.6))


def draw_apple(pen: Pen, rng: Random) -> None:
    """An apple with a leaf."""
    skin = pick(rng, (200, 40, 44), (120, 180, 60), (230, 180, 60))
    for x in (-0.3, 0.3):
        pen.oval((x, 0.12), (0.56, 0.68), skin)
    pen.oval((0, -0.5), (0.22, 0.09), darker(skin, 0.6))
    pen.line(bend((0, -0.5), (0.02, -0.8), (0.12, -0.94)), 0.09, (90, 60, 40))
    pen.oval((0.36, -0.76), (0.28, 0.12), pick(rng, *_GREENS), tilt=-20)
    pen.oval((-0.44, -0.12), (0.1, 0.2), darker(skin, 1.5), tilt=24)


def draw_hat(pen: Pen, rng: Random) -> None:
    """A hat with a ribbon."""
    felt = pick(rng, *WOODS, *PAINTS)
    pen.oval((0, 0.4), (1.0, 0.24), darker(felt, 0.8))
    pen.box((-0.5, -0.56, 0.5, 0.42), felt, corner=0.2)
    pen.box((-0.51, 0.1, 0.51, 0.32), pick(rng, (40, 40, 46), (220, 60, 60), (240, 230, 200)))


def draw_key(pen: Pen, rng: Random) -> None:
    """A door key."""
    metal = pick(rng, (220, 180, 70), (180, 184, 190), (150, 110, 70))
    pen.ring((-0.58, 0), (0.3, 0.3), 0.16, metal)
    pen.line([(-0.26, 0), (0.94, 0)], 0.15, metal)
    for x, long in ((0.58, 0.3), (0.84, 0.38)):
        pen.line([(x, 0), (x, long)], 0.14, darker(metal, 0.85))


def draw_drum(pen: Pen, rng: Random) -> None:
    """A drum with two sticks."""
    shell = pick(rng, *PAINTS)
    pen.box((-0.8, -0.24, 0.8, 0.64), shell)
    pen.oval((0, 0.64), (0.8, 0.22), shell)
    for x in (-0.8, -0.4, 0.0, 0.4):
        pen.line([(x, -0.2), (x + 0.2, 0.76), (x + 0.4, -0.2)], 0.035, (240, 230, 200))
    pen.oval((0, -0.24), (0.8, 0.24), (246, 240, 226))
    for start, end in (((-0.2, -0.26), (-0.86, -0.9)), ((0.2, -0.26), (0.86, -0.86))):
        pen.line([start, end], 0.07, (170, 120, 70))


def draw_cake(pen: Pen, rng: Random) -> None:
    """A layer cake with candles."""
    cream = pick(rng, (250, 220, 220), (120, 76, 50), (250, 240, 220), (220, 160, 190))
    pen.oval((0, 0.76), (0.98, 0.16), (220, 222, 226))
    pen.box((-0.74, 0.0, 0.74, 0.72), darker(cream, 0.85), corner=0.08)
    pen.box((-0.74, 0.28, 0.74, 0.4), pick(rng, (200, 60, 80), (250, 245, 235)))
    pen.oval((0, 0.0), (0.74, 0.17), cream)
    for x in (-0.4, 0.0, 0.4):
        pen.line([(x, -0.02), (x, -0.5)], 0.08, pick(rng, *PAINTS))
        pen.oval((x, -0.68), (0.07, 0.13), (255, 190, 60))


def draw_snowman(pen: Pen, rng: Random) -> None:
    """A snowman with a hat and a carrot."""
    snow = pick(rng, (244, 248, 252), (226, 234, 242), spread=5)
    pen.oval((0, 0.56), (0.5, 0.44), darker(snow, 0.94))
    pen.oval((0, 0.0), (0.37, 0.33), darker(snow, 0.97))
    pen.oval((0, -0.42), (0.27, 0.25), snow)
    hat = pick(rng, (40, 40, 46), (160, 40, 40), (50, 70, 120))
    pen.line([(-0.32, -0.6), (0.32, -0.6)], 0.08, hat)
    pen.box((-0.2, -0.98, 0.2, -0.6), hat)
    pen.polygon([(0.0, -0.44), (0.36, -0.36), (0.0, -0.35)], (240, 130, 40))
    for x in (-0.1, 0.1):
        pen.oval((x, -0.48), (0.04, 0.04), (30, 30, 34))
    for side in (-1, 1):
        pen.line([(side * 0.34, -0.06), (side * 0.78, -0.34)], 0.05, (100, 70, 50))


def draw_sign(pen: Pen, rng: Random) -> None:
    """A road sign: round, square or three-cornered."""
    field = pick(rng, (220, 50, 50), (50, 90, 180), (250, 200, 50))
    pen.box((-0.06, 0.0, 0.06, 1.0), STEEL)
    kind = int(rng.integers(3))
    if kind == 0:
        pen.oval((0, -0.4), (0.56, 0.56), field)
        pen.oval((0, -0.4), (0.4, 0.4), (248, 248, 244))
    elif kind == 1:
        pen.box((-0.52, -0.92, 0.52, 0.12), field, corner=0.1)
        pen.polygon([(-0.28, -0.2), (0, -0.7), (0.28, -0.2)], (248, 248, 244))
    else:
        pen.polygon([(0, -0.98), (0.64, 0.1), (-0.64, 0.1)], field)
        pen.polygon([(0, -0.72), (0.42, -0.02), (-0.42, -0.02)], (248, 248, 244))
    pen.line([(-0.16, -0.36), (0.16, -0.36)], 0.1, (40, 40, 44))
