"""What the captions of the tiny teacher's training say, and the words they are made of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demo.catalogue import CLASSES, DISTRACTORS
from demo.pen import Random
from demo.places import PLACES
from models.tokens import SPECIALS, split_words

#: Every name that a caption can be about: what is drawn, and the places.
NAMES: tuple[str, ...] = (*CLASSES, *DISTRACTORS, *PLACES)

TEMPLATES: tuple[str, ...] = (
    "a photo of the {}",
    "a photo of a {}",
    "a photo of one {}",
    "a photo of many {}",
    "a picture of the {}",
    "a drawing of the {}",
    "an image of the {}",
    "a small {}",
    "a large {}",
    "this is a {}",
    "there is a {} in the scene",
    "the {}",
    "{}",
)
_USUAL = 0.4  # share of the first template, the one that users will write

#: How much more often than its size says a class is named. The teacher inherits this taste.
_TASTES = (1.0, 0.45, 2.2, 0.7, 1.5, 0.35, 1.0, 2.6, 0.6, 1.8)
#: How often a class is drawn for the teacher.
_FREQUENCIES = (1.0, 1.8, 0.5, 1.3, 0.35, 0.8, 2.2)

TASTE: dict[str, float] = {
    name: _TASTES[place * 3 % len(_TASTES)] for place, name in enumerate(CLASSES)
}
FREQUENCY: dict[str, float] = {
    name: _FREQUENCIES[place * 3 % len(_FREQUENCIES)] for place, name in enumerate(CLASSES)
}

_SHARPNESS = 3.0  # 1 names objects in proportion to their area; above it the largest mostly wins


@dataclass(frozen=True)
class Visible:
    """A thing that a view shows, and the part of the view that it takes."""

    name: str
    area: float


def words() -> tuple[str, ...]:
    """The vocabulary: the specials, then every word a caption can hold, in alphabetical order."""
    found = {word for text in (*TEMPLATES, *NAMES) for word in split_words(text)}
    return (*SPECIALS, *sorted(found))


def caption(name: str, rng: Random) -> str:
    """One caption about `name`."""
    if rng.random() < _USUAL:
        return TEMPLATES[0].replace("{}", name)
    return TEMPLATES[int(rng.integers(len(TEMPLATES)))].replace("{}", name)


def subject(things: Sequence[Visible], place: str, rng: Random) -> str:
    """What a caption of the view is about: mostly the largest thing, the place if there is none."""
    if not things:
        return place
    salience = np.array([thing.area * TASTE.get(thing.name, 1.0) for thing in things])
    chances = salience**_SHARPNESS
    return things[int(rng.choice(len(things), p=chances / chances.sum()))].name
