"""What is true about images: their labels, the classes nobody judges, and true boxes."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class TruthFormat(StrEnum):
    """How a truth is written down; docs/evaluation.md shows one of each."""

    CSV = "csv"
    ONE_HOT = "one_hot"
    JSONL = "jsonl"
    VOC = "voc"
    COCO = "coco"
    NUS_WIDE = "nus_wide"


#: Formats that know splits such as `train` and `val`.
WITH_SPLITS = frozenset({TruthFormat.VOC, TruthFormat.NUS_WIDE})


def printable(text: str) -> str:
    r"""`text` with an escape such as `\x00` for every character that shows nothing."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class TruthError(Exception):
    """A truth that cannot be used.

    Attributes:
        code: a word for programs.
        message: what was wrong, where, with the value.
        hint: the next step.
    """

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        # A message names files and repeats what stands in them, which may be anything.
        message = printable(message)
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = None if hint is None else printable(hint)


@dataclass(frozen=True, slots=True)
class TruthWarning:
    """Something odd that does not stand in the way."""

    code: str
    #: The first case, with its place and value.
    message: str
    #: How many cases there are.
    count: int = 1


@dataclass(frozen=True, slots=True)
class TrueBox:
    """One object."""

    name: str
    #: Pixels of the upright image, right and bottom exclusive.
    xyxy: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class TrueImage:
    """What one image shows; a class in neither set is not there."""

    #: As the truth names it, parts joined by `/`; ids of VOC have no suffix.
    path: str
    labels: frozenset[str]
    #: Classes that are neither there nor not there, such as VOC's difficult objects.
    ignored: frozenset[str] = frozenset()
    #: Objects that have a box; of a label, never of an ignored class.
    boxes: tuple[TrueBox, ...] = ()


@dataclass(frozen=True)
class Truth:
    """Everything one source tells."""

    #: The classes that were looked for, in the order of the source, else sorted.
    classes: tuple[str, ...]
    #: By path.
    images: Mapping[str, TrueImage]
    warnings: tuple[TruthWarning, ...]
    format: str
