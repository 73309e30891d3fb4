"""Target classes that carry people: road, water and air."""

from demo.pen import Colour, Pen, Random, bend, between, darker, pick

PAINTS: tuple[Colour, ...] = (
    (200, 40, 40), (40, 90, 190), (240, 190, 40), (40, 140, 90), (230, 230, 230),
    (70, 70, 80), (235, 120, 40), (130, 60, 150), (90, 180, 200),
)  # fmt: skip
GLASS: Colour = (176, 212, 228)
RUBBER: Colour = (38, 38, 42)
STEEL: Colour = (185, 188, 194)


def _wheel(pen: Pen, x: float, y: float, radius: float) -> None:
    pen.oval((x, y), (radius, radius), RUBBER)
    pen.oval((x, y), (radius * 0.55, radius * 0.55), STEEL)
    pen.oval((x, y), (radius * 0.2, radius * 0.2), (90, 90, 96))


def draw_car(pen: Pen, rng: Random) -> None:
    """A car from the side: saloon, estate or pickup."""
    paint = pick(rng, *PAINTS)
    tall = between(rng, 0.36, 0.5)
    rear = (-0.72, -0.92, -0.1)[int(rng.integers(3))]  # saloon, estate, pickup
    pen.polygon([(rear, -0.02), (rear + 0.16, -tall), (0.3, -tall), (0.62, -0.02)], paint)
    pen.polygon(
        [(rear + 0.1, -0.04), (rear + 0.22, -tall + 0.07), (0.02, -tall + 0.07), (0.02, -0.04)],
        GLASS,
    )
    pen.polygon([(0.08, -0.04), (0.08, -tall + 0.07), (0.27, -tall + 0.07), (0.5, -0.04)], GLASS)
    pen.box((-1, -0.06, 1, 0.34), paint, corner=0.13)
    pen.box((-0.98, 0.2, 0.98, 0.33), darker(paint, 0.72), corner=0.05)
    pen.line([(0.05, -0.02), (0.05, 0.22)], 0.02, darker(paint, 0.6))
    pen.line([(-0.12, 0.04), (-0.03, 0.04)], 0.03, darker(paint, 0.5))
    pen.oval((0.92, 0.08), (0.06, 0.07), (255, 240, 170))
    pen.box((-0.99, 0.03, -0.91, 0.14), (210, 40, 40))
    for x in (-0.56, 0.56):
        pen.oval((x, 0.32), (0.26, 0.26), darker(paint, 0.45), arc=(180, 360))
        _wheel(pen, x, 0.34, 0.21)


def draw_bus(pen: Pen, rng: Random) -> None:
    """A bus from the side, with one deck or two."""
    paint = pick(rng, *PAINTS)
    decks = 1 + int(rng.random() < 0.4)
    top = -0.45 if decks == 1 else -0.82
    pen.box((-1, top, 1, 0.42), paint, corner=0.1)
    pen.box((-0.99, 0.2, 0.99, 0.34), pick(rng, (240, 240, 240), darker(paint, 0.6)))
    windows = int(rng.integers(4, 7))
    for deck in range(decks):
        y = top + 0.12 + deck * 0.46
        for column in range(windows):
            x0 = -0.92 + column * 1.84 / windows
            pen.box((x0, y, x0 + 1.84 / windows - 0.06, y + 0.28), GLASS, corner=0.03)
    pen.box((0.66, 0.42 - 0.72, 0.9, 0.38), darker(GLASS, 0.8), corner=0.03)
    pen.line([(0.78, -0.28), (0.78, 0.36)], 0.02, darker(paint, 0.5))
    pen.oval((0.95, 0.28), (0.045, 0.05), (255, 240, 170))
    for x in (-0.6, 0.45):
        _wheel(pen, x, 0.42, 0.19)


def draw_bicycle(pen: Pen, rng: Random) -> None:
    """A bicycle from the side."""
    paint = pick(rng, *PAINTS)
    bar = between(rng, 0.075, 0.1)
    for x in (-0.58, 0.58):
        for spoke in ((0.38, 0.0), (0.0, 0.38), (0.27, 0.27), (0.27, -0.27)):
            ends = [(x - spoke[0], 0.3 - spoke[1]), (x + spoke[0], 0.3 + spoke[1])]
            pen.line(ends, 0.018, (150, 150, 155))
        pen.ring((x, 0.3), (0.39, 0.39), 0.075, RUBBER)
    pedal, seat, head = (-0.05, 0.32), (-0.22, -0.2), (0.4, -0.26)
    pen.line([(-0.58, 0.3), pedal, head, seat, (-0.58, 0.3)], bar, paint)
    pen.line([pedal, (seat[0] - 0.04, -0.32)], bar, paint)
    pen.line([(0.58, 0.3), (0.36, -0.46)], bar, darker(paint, 0.8))
    pen.line([(-0.4, -0.34), (-0.14, -0.34)], 0.12, (50, 40, 36))
    pen.line(bend((0.36, -0.46), (0.6, -0.56), (0.56, -0.36)), 0.07, (60, 60, 64))
    pen.oval(pedal, (0.09, 0.09), STEEL)
    pen.line([pedal, (0.06, 0.46)], 0.05, (60, 60, 64))


def draw_boat(pen: Pen, rng: Random) -> None:
    """A sailing boat, or a steamer with a funnel."""
    paint = pick(rng, *PAINTS)
    pen.polygon([(-1, 0.28), (1, 0.22), (0.68, 0.68), (-0.72, 0.68)], paint)
    pen.polygon([(-1, 0.28), (1, 0.22), (0.94, 0.32), (-0.95, 0.37)], darker(paint, 0.65))
    if rng.random() < 0.65:
        sail = pick(rng, (245, 242, 230), (240, 200, 90), (220, 90, 80), (150, 200, 225))
        pen.line([(0, 0.3), (0, -0.98)], 0.06, (110, 78, 50))
        pen.polygon(
            [(0.06, -0.92), *bend((0.06, -0.92), (0.62, -0.3), (0.76, 0.12)), (0.06, 0.12)], sail
        )
        pen.polygon([(-0.07, -0.7), (-0.64, 0.12), (-0.07, 0.12)], darker(sail, 0.86))
        return
    pen.box((-0.56, -0.08, 0.36, 0.28), (240, 238, 230), corner=0.03)
    pen.box((-0.3, -0.36, 0.16, -0.06), (226, 222, 212), corner=0.03)
    for x in (-0.42, -0.14, 0.14):
        pen.oval((x, 0.1), (0.07, 0.07), darker(GLASS, 0.7))
    pen.box((-0.16, -0.78, 0.06, -0.34), pick(rng, (200, 60, 50), (50, 60, 90)))
    pen.box((-0.16, -0.78, 0.06, -0.66), (40, 40, 44))


def draw_airplane(pen: Pen, rng: Random) -> None:
    """An airliner from the side, its near wing swept towards the viewer."""
    hull = pick(rng, (238, 240, 244), (225, 228, 235), (200, 215, 230))
    trim = pick(rng, *PAINTS)
    pen.polygon([(-0.08, 0.0), (0.24, 0.0), (0.02, -0.36), (-0.12, -0.36)], darker(hull, 0.75))
    pen.polygon([(-0.95, -0.05), (-0.72, -0.08), (-0.84, -0.56), (-1.04, -0.56)], trim)
    pen.oval((0.0, 0.0), (1.0, 0.17), hull)
    pen.polygon([(-0.96, -0.06), (-0.3, -0.16), (-0.3, 0.16)], hull)
    pen.line([(-0.84, 0.03), (0.86, 0.05)], 0.05, trim)
    for column in range(9):
        pen.oval((-0.5 + column * 0.14, -0.05), (0.034, 0.042), (70, 100, 140))
    pen.polygon([(0.78, -0.09), (0.9, -0.04), (0.76, -0.02)], (60, 80, 110))
    pen.polygon([(-0.14, 0.04), (0.26, 0.04), (-0.2, 0.62), (-0.36, 0.62)], darker(hull, 0.84))
    pen.oval((0.06, 0.3), (0.15, 0.08), darker(trim, 0.8))
    pen.polygon([(-0.98, 0.0), (-0.7, 0.0), (-0.96, 0.22), (-1.1, 0.22)], darker(hull, 0.8))
