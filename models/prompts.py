"""What the teacher is asked: classes, their sentences, background (docs/method.md 2, 3)."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

#: Our choice: things and places of everyday photos, the most common first, so that a photo of none
#: of the classes finds a better name. No two of them mean the same.
BACKGROUND_NAMES = (
    "person",
    "building",
    "tree",
    "car",
    "food",
    "furniture",
    "sky",
    "bird",
    "water",
    "street",
    "grass",
    "flower",
    "room",
    "sports equipment",
    "clothing",
    "kitchen",
    "animal",
    "electronic device",
    "toy",
    "boat",
    "sign",
    "mountain",
    "beach",
    "tool",
    "book",
    "bottle",
    "train",
    "fruit",
    "wall",
    "bag",
    "airplane",
    "bathroom",
    "fence",
    "bridge",
    "window",
    "snow",
    "musical instrument",
    "rock",
    "insect",
    "text",
)


@dataclass(frozen=True)
class ClassPrompt:
    """A class to look for.

    Attributes:
        name: what the user calls it.
        prompts: sentences that describe it, instead of the templates; `{}` stands for the name.
    """

    name: str
    prompts: tuple[str, ...] = ()


def folded(name: str) -> str:
    """The name as it is compared: composed (NFC), without difference of case."""
    return unicodedata.normalize("NFC", name).casefold()


def canonical_order(names: Sequence[str]) -> list[int]:
    """Positions of the names in the one order in which classes are computed with."""
    return sorted(range(len(names)), key=lambda i: (folded(names[i]), names[i]))


def class_texts(class_: ClassPrompt, templates: Sequence[str]) -> tuple[str, ...]:
    """The sentences that stand for a class: its own prompts, or else every template."""
    return tuple(text.replace("{}", class_.name) for text in class_.prompts or templates)


def background_classes(names: Sequence[str], min_names: int) -> list[ClassPrompt]:
    """Background names that fill a softmax over `names` up to `min_names` names.

    Always the first ones of `BACKGROUND_NAMES` that are not among `names`; empty if there are
    enough names already. The softmax over one class alone is 1 everywhere: it needs background.
    """
    taken = {folded(name) for name in names}
    free = [name for name in BACKGROUND_NAMES if folded(name) not in taken]
    return [ClassPrompt(name) for name in free[: max(0, min_names - len(names))]]
