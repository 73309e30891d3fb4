"""Rows of a truth as a reader finds them -> Truth; what is odd is counted, what is wrong raised."""

import unicodedata
from collections.abc import Iterable, Sequence

from workers.truth.truth import TrueBox, TrueImage, Truth, TruthError, TruthFormat, TruthWarning

#: Limits of a truth: NUS-WIDE has 269,648 images, Open Images 20,000 classes.
MAX_IMAGES, MAX_CLASSES = 2_000_000, 25_000
MAX_NAME_CHARACTERS = 200
#: Longest path: what Linux opens. workers/truth/match.py looks at every end of one.
MAX_PATH_CHARACTERS = 4096
#: A wrong value is repeated in a message up to this many characters.
MAX_SHOWN_CHARACTERS = 80

#: Controls, halves of characters, line ends.
_BANNED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})


def shown(value: object) -> str:
    """A value as a message repeats it: short, printable, valid UTF-8."""
    text = repr(value).encode("utf-8", "backslashreplace").decode()
    if len(text) > MAX_SHOWN_CHARACTERS:
        return text[: MAX_SHOWN_CHARACTERS - 3] + "..."
    return text


def plain_path(path: str) -> str:
    r"""`path` with `/` between its parts: `.\a\b.jpg` and `a//b.jpg` are `a/b.jpg`."""
    return "/".join(part for part in path.replace("\\", "/").split("/") if part not in {"", "."})


class Gathering:
    """Collects images, each path once, and shares equal label sets among them.

    Args:
        format: of the source.
        classes: all classes that were looked for, where the source lists them; otherwise they
            are those that are named.
    """

    def __init__(self, format: TruthFormat, classes: Sequence[str] | None = None) -> None:
        self._format = format
        self._names: dict[str, str] = {}
        self._classes = None if classes is None else [self.name(name, "") for name in classes]
        self._images: dict[str, TrueImage] = {}
        self._places: dict[str, str] = {}
        self._shared: dict[frozenset[str], frozenset[str]] = {}
        self._warnings: dict[str, TruthWarning] = {}
        self._looked_for: set[str] = set()
        self._check_unique()

    def name(self, name: object, place: str) -> str:
        """A class name as it is kept: NFC, without white space at its ends.

        Raises:
            TruthError: it is no line of text.
        """
        if isinstance(name, str) and (known := self._names.get(name)) is not None:
            return known
        kept = unicodedata.normalize("NFC", name).strip() if isinstance(name, str) else ""
        if not kept or len(kept) > MAX_NAME_CHARACTERS or _has_control(kept):
            raise TruthError(
                "truth_bad_name",
                f"{_at(place)}a class name must be a line of 1 to {MAX_NAME_CHARACTERS} "
                f"characters, is {shown(name)}",
            )
        if len(self._names) >= MAX_CLASSES:
            raise TruthError(
                "truth_too_large", f"{_at(place)}there are more than {MAX_CLASSES:,} class names"
            )
        self._names[str(name)] = kept
        return kept

    def look_for(self, names: Iterable[object], place: str) -> None:
        """Count names among the classes, whether or not an image shows them.

        Raises:
            TruthError: a name is none.
        """
        self._looked_for |= {self.name(name, place) for name in names}

    def add(
        self,
        path: object,
        labels: Iterable[object],
        *,
        ignored: Iterable[object] = (),
        boxes: Sequence[TrueBox] = (),
        place: str,
    ) -> None:
        """Add one image; `place` says where it stands in the source.

        Raises:
            TruthError: the path or a name is none, or the image is there already and differs.
        """
        own = self._own_path(path, place)
        there = frozenset(self.name(name, place) for name in labels)
        unsure = frozenset(self.name(name, place) for name in ignored)
        if there & unsure:
            raise TruthError(
                "truth_conflict",
                f"{_at(place)}{shown(min(there & unsure))} is both a label and ignored",
            )
        image = TrueImage(own, self._share(there), self._share(unsure), tuple(boxes))
        if own in self._images:
            self._repeat(image, place)
            return
        if len(self._images) >= MAX_IMAGES:
            raise TruthError("truth_too_large", f"there are more than {MAX_IMAGES:,} images")
        self._images[own] = image
        self._places[own] = place

    def warn(self, code: str, message: str, *, count: int = 1) -> None:
        """Count a warning; of several the first message is kept."""
        seen = self._warnings.get(code)
        if seen is not None:
            message, count = seen.message, seen.count + count
        self._warnings[code] = TruthWarning(code, message, count)

    def image(self, path: str) -> TrueImage | None:
        """What was added for a path, if anything."""
        return self._images.get(path)

    def truth(self) -> Truth:
        """Everything gathered.

        Raises:
            TruthError: there is no image.
        """
        if not self._images:
            raise TruthError(
                "truth_empty",
                "the truth has no image",
                "Give at least one row per image; docs/evaluation.md shows every format.",
            )
        named = self._looked_for.union(*self._shared)
        if not any(image.labels for image in self._images.values()):
            self.warn(
                "truth_no_positives",
                f"none of the {len(self._images):,} images of the truth has a label, so no class "
                "has an average precision",
            )
        classes = sorted(named) if self._classes is None else self._classes
        return Truth(tuple(classes), self._images, tuple(self._warnings.values()), self._format)

    def _own_path(self, path: object, place: str) -> str:
        own = plain_path(path) if isinstance(path, str) else ""
        if not own or not _is_text(own):
            raise TruthError(
                "truth_bad_path", f"{_at(place)}the path must be text, is {shown(path)}"
            )
        if len(own) > MAX_PATH_CHARACTERS:
            raise TruthError(
                "truth_bad_path",
                f"{_at(place)}the path must have at most {MAX_PATH_CHARACTERS:,} characters, has "
                f"{len(own):,}: {shown(path)}",
            )
        return own

    def _share(self, names: frozenset[str]) -> frozenset[str]:
        return self._shared.setdefault(names, names)

    def _repeat(self, image: TrueImage, place: str) -> None:
        first = self._places[image.path]
        if image != self._images[image.path]:
            raise TruthError(
                "truth_conflict",
                f"{_at(place)}{shown(image.path)} has other labels than in {first}",
                "Keep one row per image.",
            )
        self.warn("truth_duplicates", f"{_at(place)}{shown(image.path)} repeats {first}")

    def _check_unique(self) -> None:
        seen: set[str] = set()
        for name in self._classes or ():
            if name in seen:
                raise TruthError("truth_conflict", f"the class {shown(name)} is listed twice")
            seen.add(name)


def _at(place: str) -> str:
    return f"{place}: " if place else ""


def _has_control(name: str) -> bool:
    return any(unicodedata.category(character) in _BANNED_CATEGORIES for character in name)


def _is_text(path: str) -> bool:
    """No NUL, and no half of a character, which JSON's escapes can spell."""
    return not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in path)
