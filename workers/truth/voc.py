"""Truth as Pascal VOC keeps it: `Annotations/*.xml`, `ImageSets/Main/*.txt`, or both."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from workers.truth.gather import Gathering, shown
from workers.truth.text import read_lines, unreadable
from workers.truth.truth import TrueBox, Truth, TruthError, TruthFormat

ANNOTATIONS, LISTS = Path("Annotations"), Path("ImageSets") / "Main"
#: Largest annotation that is read, in bytes; VOC's own have at most 20 kB.
MAX_XML_BYTES = 1 << 20
#: What the list of a class says of an image: there, only difficult objects, not there.
THERE, DIFFICULT, ABSENT = "1", "0", "-1"

#: Class -> what its list says, for one image.
Verdicts = Mapping[str, str]


def read_voc(root: Path, *, split: str | None = None) -> Truth:
    """The truth of a VOC folder.

    A class whose every object in an image is difficult is ignored there, as VOC does. Annotations
    decide where there are both; lists then give the split, and are compared.

    Args:
        root: the folder with `Annotations` or `ImageSets`.
        split: a list of `ImageSets/Main`, such as `train`; None: everything there is.

    Raises:
        TruthError: the folder is not of this kind, or a file in it is broken.
    """
    lists = _Lists(root / LISTS)
    ids = lists.ids(split) if split is not None else None
    found = Gathering(TruthFormat.VOC)
    found.look_for(lists.classes, str(LISTS))
    if any((root / ANNOTATIONS).glob("*.xml")):
        _add_annotated(found, root / ANNOTATIONS, ids)
        _compare(found, lists.verdicts(split))
    else:
        _add_listed(found, lists, lists.verdicts(split), ids)
    return found.truth()


def is_voc(folder: Path) -> bool:
    """Whether a folder is laid out like VOC's."""
    return (folder / ANNOTATIONS).is_dir() or (folder / LISTS).is_dir()


def is_voc_file(path: PurePath) -> bool:
    """Whether a path below some folder is that of an annotation or a list."""
    is_annotation = path.suffix == ".xml" and path.parent.name == ANNOTATIONS.name
    is_list = path.suffix == ".txt" and path.parent.parts[-2:] == LISTS.parts
    return is_annotation or is_list


class _Lists:
    """The files of `ImageSets/Main`: images of a split, and per class and split who shows it."""

    def __init__(self, folder: Path) -> None:
        self._splits: dict[str, list[str]] = {}
        self._verdicts: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for path in sorted(folder.glob("*.txt")):
            self._read(path)

    @property
    def classes(self) -> list[str]:
        return sorted({name for name, _ in self._verdicts})

    @property
    def splits(self) -> list[str]:
        return sorted({*self._splits, *(split for _, split in self._verdicts)})

    def ids(self, split: str) -> dict[str, None]:
        """The images of a split, in the order of its list.

        Raises:
            TruthError: there is no such split.
        """
        if split not in self.splits:
            raise TruthError(
                "truth_split_unknown",
                f"there is no split {shown(split)} in {LISTS}",
                f"Name one of {', '.join(self.splits)}." if self.splits else None,
            )
        return dict.fromkeys(self._splits.get(split) or self.verdicts(split))

    def all_ids(self) -> dict[str, None]:
        """The images that the lists of splits name."""
        return dict.fromkeys(id for ids in self._splits.values() for id in ids)

    def verdicts(self, split: str | None) -> dict[str, Verdicts]:
        """Image -> what the lists of a split, or of all, say of it."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for (name, of_split), rows in self._verdicts.items():
            for id, verdict in rows if split in {None, of_split} else ():
                if found[id].setdefault(name, verdict) != verdict:
                    raise TruthError(
                        "truth_conflict",
                        f"the lists of {shown(name)} say both {found[id][name]} and {verdict} "
                        f"of {id}",
                    )
        return dict(found)

    def _read(self, path: Path) -> None:
        rows = list(_words(path))
        if not rows:
            return
        columns = len(rows[0][1])
        for place, words in rows:
            if len(words) != columns or columns > 2:
                raise _malformed(place, f"needs an image, and 1, 0 or -1: {shown(' '.join(words))}")
            if not _is_id(words[0]):
                raise _malformed(place, f"must be the name of an image, is {shown(words[0])}")
            if columns == 2 and words[1] not in {THERE, DIFFICULT, ABSENT}:
                raise _malformed(place, f"must end in 1, 0 or -1, has {shown(words[1])}")
        if columns == 1:
            self._splits[path.stem] = [words[0] for _, words in rows]
            return
        name, _, split = path.stem.rpartition("_")
        if not name:
            raise _malformed(path.name, "is a list of a class, but is not called CLASS_SPLIT.txt")
        self._verdicts[name, split] = [(words[0], words[1]) for _, words in rows]


def _words(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Words of every line that has some, with its place."""
    for number, line in read_lines(path):
        if words := line.split():
            yield f"{path.name}, line {number}", words


def _add_annotated(found: Gathering, folder: Path, ids: Iterable[str] | None) -> None:
    for id in ids if ids is not None else sorted(path.stem for path in folder.glob("*.xml")):
        path = folder / f"{id}.xml"
        if not path.exists():
            found.warn("truth_image_missing", f"{id} is listed, but there is no {path.name}")
            continue
        _add_annotation(found, id, _parsed(path), path.name)


def _add_listed(
    found: Gathering,
    lists: _Lists,
    verdicts: Mapping[str, Verdicts],
    ids: Mapping[str, None] | None,
) -> None:
    for id in lists.all_ids() if ids is None else ids:
        if id not in verdicts:
            found.warn("truth_image_missing", f"{id} is listed, but no list of a class judges it")
    for id, by_class in verdicts.items():
        if ids is None or id in ids:
            there = [name for name, verdict in by_class.items() if verdict == THERE]
            unsure = [name for name in lists.classes if by_class.get(name, DIFFICULT) == DIFFICULT]
            found.add(id, there, ignored=unsure, place=f"the lists, image {id}")


def _parsed(path: Path) -> Element:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_XML_BYTES + 1)
    except OSError as error:
        raise unreadable(path, error) from error
    if len(content) > MAX_XML_BYTES:
        raise TruthError(
            "truth_too_large", f"{path.name} has more than {MAX_XML_BYTES:,} bytes of XML"
        )
    try:
        root: Element = fromstring(content, forbid_dtd=True)
    except DefusedXmlException as error:
        raise _malformed(path.name, "declares entities or a document type") from error
    except (ParseError, ValueError, LookupError) as error:
        raise _malformed(path.name, f"is not XML: {error}") from error
    if root.tag != "annotation":
        raise _malformed(path.name, f"must hold an annotation, holds {shown(root.tag)}")
    return root


def _add_annotation(found: Gathering, id: str, root: Element, place: str) -> None:
    easy: list[TrueBox] = []
    there: set[str] = set()
    hard: set[str] = set()
    for number, thing in enumerate(root.findall("object"), start=1):
        at = f"{place}, object {number}"
        name = found.name(thing.findtext("name"), at)
        if _is_difficult(thing, at):
            hard.add(name)
            continue
        there.add(name)
        if (box := _box(thing, at)) is not None:
            easy.append(TrueBox(name, box))
    found.add(id, there, ignored=hard - there, boxes=easy, place=place)


def _is_difficult(thing: Element, place: str) -> bool:
    text = thing.findtext("difficult", "0").strip()
    if text not in {"0", "1"}:
        raise _malformed(place, f"difficult must be 0 or 1, is {shown(text)}")
    return text == "1"


def _box(thing: Element, place: str) -> tuple[float, float, float, float] | None:
    """VOC counts pixels from 1 and includes the last one."""
    corners = thing.find("bndbox")
    if corners is None:
        return None
    try:
        left, top, right, bottom = (
            float(corners.findtext(side, "")) for side in ("xmin", "ymin", "xmax", "ymax")
        )
    except ValueError as error:
        raise _malformed(place, f"bndbox needs four numbers: {error}") from error
    if not (left <= right < float("inf") and top <= bottom < float("inf")):
        raise _malformed(place, f"the box {left:g} {top:g} {right:g} {bottom:g} has no area")
    return max(0.0, left - 1), max(0.0, top - 1), right, bottom


def _compare(found: Gathering, verdicts: Mapping[str, Verdicts]) -> None:
    """Warn where lists and annotations differ; the annotations are kept."""
    for id, by_class in verdicts.items():
        image = found.image(id)
        if image is None:
            continue
        for name, verdict in by_class.items():
            seen = THERE if name in image.labels else DIFFICULT if name in image.ignored else ABSENT
            if seen != verdict:
                found.warn(
                    "truth_sources_differ",
                    f"of {shown(name)} in {id} the lists say {verdict}, {id}.xml says {seen}",
                )


def _is_id(word: str) -> bool:
    """The name of one file, and no way out of its folder."""
    return not {"/", "\\", "\0"} & set(word) and word not in {".", ".."}


def _malformed(place: str, reason: str) -> TruthError:
    return TruthError("truth_malformed", f"{place} {reason}")
