"""What can stand in a scene: the target classes, the distractors, the themes that join them."""

from collections.abc import Callable
from dataclasses import dataclass

from demo import animals, distractors, things, vehicles
from demo.pen import Pen, Random

Painter = Callable[[Pen, Random], None]

TARGETS: dict[str, Painter] = {
    "airplane": vehicles.draw_airplane,
    "balloon": things.draw_balloon,
    "banana": things.draw_banana,
    "bicycle": vehicles.draw_bicycle,
    "bird": animals.draw_bird,
    "boat": vehicles.draw_boat,
    "bottle": things.draw_bottle,
    "bus": vehicles.draw_bus,
    "car": vehicles.draw_car,
    "cat": animals.draw_cat,
    "chair": things.draw_chair,
    "clock": things.draw_clock,
    "cow": animals.draw_cow,
    "cup": things.draw_cup,
    "dog": animals.draw_dog,
    "fish": animals.draw_fish,
    "lamp": things.draw_lamp,
    "sheep": animals.draw_sheep,
    "traffic light": things.draw_traffic_light,
    "umbrella": things.draw_umbrella,
}

DISTRACTORS: dict[str, Painter] = {
    "apple": distractors.draw_apple,
    "ball": distractors.draw_ball,
    "barrel": distractors.draw_barrel,
    "book": distractors.draw_book,
    "box": distractors.draw_box,
    "cactus": distractors.draw_cactus,
    "cake": distractors.draw_cake,
    "drum": distractors.draw_drum,
    "fence": distractors.draw_fence,
    "flower": distractors.draw_flower,
    "hat": distractors.draw_hat,
    "house": distractors.draw_house,
    "key": distractors.draw_key,
    "mushroom": distractors.draw_mushroom,
    "rock": distractors.draw_rock,
    "sign": distractors.draw_sign,
    "snowman": distractors.draw_snowman,
    "star": distractors.draw_star,
    "tent": distractors.draw_tent,
    "tree": distractors.draw_tree,
}

PAINTERS: dict[str, Painter] = TARGETS | DISTRACTORS
CLASSES: tuple[str, ...] = tuple(TARGETS)

#: What floats, flies or hangs; everything else stands on the ground.
ALOFT = frozenset({"airplane", "balloon", "bird", "clock", "star"})


@dataclass(frozen=True)
class Theme:
    """A place and the objects that are usual there."""

    place: str
    targets: tuple[str, ...]
    distractors: tuple[str, ...]


THEMES: tuple[Theme, ...] = (
    Theme(
        "street",
        ("car", "bus", "bicycle", "traffic light", "dog"),
        ("sign", "tree", "house", "box"),
    ),
    Theme("room", ("chair", "lamp", "clock", "cat", "dog"), ("book", "ball", "drum", "hat", "box")),
    Theme("kitchen", ("cup", "bottle", "banana", "clock", "cat"), ("apple", "cake", "key", "book")),
    Theme("beach", ("umbrella", "boat", "bottle", "fish", "dog"), ("ball", "star", "tent", "rock")),
    Theme("meadow", ("cow", "sheep", "bird", "bicycle"), ("tree", "fence", "flower", "barrel")),
    Theme("sea", ("boat", "fish", "bird", "airplane"), ("rock", "barrel", "star")),
    Theme("sky", ("airplane", "balloon", "bird", "umbrella"), ("star", "tree", "house")),
    Theme(
        "forest", ("banana", "cup", "chair", "car"), ("tree", "mushroom", "tent", "flower", "rock")
    ),
    Theme("desert", ("bus", "cow", "bottle", "airplane"), ("cactus", "rock", "tent", "barrel")),
    Theme(
        "snow", ("sheep", "lamp", "balloon", "traffic light"), ("snowman", "tree", "fence", "house")
    ),
)
