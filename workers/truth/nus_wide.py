"""Truth as NUS-WIDE keeps it: a list of images, and per concept a list of 0 and 1."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from workers.truth.gather import Gathering, shown
from workers.truth.text import folders_below, read_lines, unreadable
from workers.truth.truth import Truth, TruthError, TruthFormat

#: Concepts of the whole set.
CONCEPTS = 81
CONCEPTS_FILE = "concepts81.txt"
LABELS_PREFIX = "labels_"
#: Split -> the list of its images; the empty split is the whole set.
IMAGE_LISTS = {"": "imagelist.txt", "train": "trainimagelist.txt", "test": "testimagelist.txt"}
#: How deep the lists lie: NUS-WIDE/Groundtruth/AllLabels/Labels_sky.txt.
DEPTH = 3

#: Name in small letters -> path.
Lists = Mapping[str, Path]


def is_list(name: str) -> bool:
    """Whether a file's name, in small letters, is that of a list of NUS-WIDE."""
    return name in {CONCEPTS_FILE, *IMAGE_LISTS.values()} or (
        name.endswith(".txt") and _concept(name, None) is not None
    )


def find_lists(folder: Path) -> Lists:
    """The files of NUS-WIDE at or below a folder; empty where it is none.

    Raises:
        TruthError: one is there twice.
    """
    found: dict[str, Path] = {}
    for place in folders_below(folder, DEPTH):
        for path in sorted(place.glob("*.txt")):
            name = path.name.lower()
            if not is_list(name):
                continue
            if name in found:
                raise TruthError(
                    "truth_conflict",
                    f"{path.name} is there twice, as {found[name].relative_to(folder)} and as "
                    f"{path.relative_to(folder)}",
                    "Name the folder of one set.",
                )
            found[name] = path
    return found if any(_concept(name, None) for name in found) else {}


def read_nus_wide(lists: Lists, *, split: str | None = None) -> Truth:
    """The truth of the lists that `find_lists` found.

    Args:
        lists: of one set.
        split: `train` or `test`; None: the whole set, from its own lists or from both splits'.

    Raises:
        TruthError: lists are missing, do not fit each other, or hold something else.
    """
    parts = _parts(lists, split)
    names = _names(lists, parts)
    found = Gathering(TruthFormat.NUS_WIDE, names)
    if len(names) != CONCEPTS:
        found.warn(
            "truth_concepts_missing",
            f"there are lists of {len(names)} concepts, NUS-WIDE has {CONCEPTS}",
        )
    for part in parts:
        _add_part(found, lists, part, names)
    return found.truth()


def _parts(lists: Lists, split: str | None) -> list[str]:
    """The splits to read."""
    there = [
        part
        for part, images in IMAGE_LISTS.items()
        if images in lists and any(_concept(name, part) for name in lists)
    ]
    if split and split in there:
        return [split]
    if split is None and there:
        return [""] if "" in there else there
    known = ", ".join(part for part in there if part) or "none"
    raise TruthError(
        "truth_split_unknown",
        f"the lists have no split {shown(split)}" if split else "no list of images fits the labels",
        f"A split needs its list of images, e.g. TrainImagelist.txt, and per concept "
        f"Labels_CONCEPT_Train.txt. The splits that are whole: {known}.",
    )


def _names(lists: Lists, parts: Sequence[str]) -> list[str]:
    """The concepts: in the order of their own list, else sorted.

    Raises:
        TruthError: a part lacks the labels of a concept.
    """
    by_part = [{c for name in lists if (c := _concept(name, part))} for part in parts]
    concepts = set().union(*by_part)
    if CONCEPTS_FILE in lists:
        listed = [line.strip() for _, line in read_lines(lists[CONCEPTS_FILE]) if line.strip()]
    else:
        listed = sorted(concepts)
    for part, own in zip(parts, by_part, strict=True):
        if missing := [name for name in listed if name.lower() not in own]:
            raise TruthError(
                "truth_malformed",
                f"there is no {_labels_file(missing[0], part)}, the labels of {shown(missing[0])} "
                f"({len(missing)} of {len(listed)} concepts have none)",
            )
    if extra := concepts - {name.lower() for name in listed}:
        raise TruthError(
            "truth_malformed", f"{CONCEPTS_FILE} does not list the concept {shown(min(extra))}"
        )
    return listed


def _add_part(found: Gathering, lists: Lists, part: str, names: Sequence[str]) -> None:
    path = lists[IMAGE_LISTS[part]]
    rows = [(number, line.strip()) for number, line in read_lines(path) if line.strip()]
    labels: list[list[str]] = [[] for _ in rows]
    for name in names:
        for index in _positives(lists[_labels_file(name, part)], len(rows), path.name):
            labels[index].append(name)
    for (number, image), own in zip(rows, labels, strict=True):
        found.add(image, own, place=f"{path.name}, line {number}")


def _positives(path: Path, count: int, images: str) -> list[int]:
    """Positions of the ones among `count` zeros and ones."""
    try:
        words = path.read_bytes().split()
    except OSError as error:
        raise unreadable(path, error) from error
    if not set(words) <= {b"0", b"1"}:
        words = _read_words(path)
    if len(words) != count:
        raise TruthError(
            "truth_malformed",
            f"{path.name} has {len(words):,} labels, {images} has {count:,} images",
        )
    return [index for index, word in enumerate(words) if word == b"1"]


def _read_words(path: Path) -> list[bytes]:
    """The words line by line: slower, but past an encoding's mark, and up to what is wrong."""
    found: list[bytes] = []
    for number, line in read_lines(path):
        words = line.split()
        if not set(words) <= {"0", "1"}:
            raise TruthError(
                "truth_malformed", f"{path.name}, line {number} must be 0 or 1, is {shown(line)}"
            )
        found += [word.encode() for word in words]
    return found


def _labels_file(concept: str, part: str) -> str:
    return f"{LABELS_PREFIX}{concept.lower()}{f'_{part}' if part else ''}.txt"


def _concept(file: str, part: str | None) -> str | None:
    """The concept of a list of labels, in small letters; None: of no part, or of another one."""
    if not file.startswith(LABELS_PREFIX):
        return None
    stem = file.removeprefix(LABELS_PREFIX).removesuffix(".txt")
    own = next((p for p in IMAGE_LISTS if p and stem.endswith(f"_{p}")), "")
    concept = stem.removesuffix(f"_{own}") if own else stem
    return concept if concept and part in {None, own} else None
