"""Truth as COCO's instances file: images, annotations and categories of one JSON object."""

from array import array
from pathlib import Path

from workers.truth.gather import Gathering, shown
from workers.truth.json_stream import Element, read_elements
from workers.truth.jsonl import is_number
from workers.truth.truth import TrueBox, Truth, TruthError, TruthFormat

LISTS = ("images", "annotations", "categories")


def read_coco(path: Path) -> Truth:
    """The truth of an instances file.

    An image is labelled with every category that has an annotation there. A crowd (`iscrowd` 1)
    says that its category is there, but gives no box: it is not one object. An image without
    annotations shows nothing of the categories.

    Raises:
        TruthError: it is no such file.
    """
    instances = _Instances()
    for element in read_elements(path):
        instances.take(element)
    instances.check(path.name)
    return instances.truth()


class _Instances:
    """The three lists, in whatever order they come; an annotation takes 52 bytes."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        #: Image id -> file name.
        self.files: dict[int, str] = {}
        self._seen: set[str] = set()
        self._image_ids, self._category_ids = array("q"), array("q")
        self._boxes = array("d")
        self._is_crowd = array("b")

    def take(self, element: Element) -> None:
        if element.key not in LISTS:
            return
        if element.index is None:
            raise _wrong(element, f"must be a list, is {shown(element.value)}")
        self._seen.add(element.key)
        if not isinstance(element.value, dict):
            raise _wrong(element, f"must be an object, is {shown(element.value)}")
        match element.key:
            case "images":
                self._take_text(element, "file_name", self.files, "image")
            case "categories":
                self._take_text(element, "name", self.names, "category")
            case _:
                self._take_annotation(element)

    def check(self, name: str) -> None:
        """Refuse a file without images or categories; without annotations it may be."""
        missing = [key for key in ("images", "categories") if key not in self._seen]
        if missing:
            raise TruthError(
                "truth_malformed",
                f"{name} has no {' and no '.join(missing)}",
                "COCO's instances file is an object with the lists images, annotations and "
                "categories.",
            )

    def truth(self) -> Truth:
        found = Gathering(TruthFormat.COCO, list(self.names.values()))
        labels: dict[int, set[str]] = {image: set() for image in self.files}
        boxes: dict[int, list[TrueBox]] = {}
        for index, image in enumerate(self._image_ids):
            name = self._name_of(index)
            if image not in labels:
                found.warn(
                    "truth_image_missing",
                    f"annotations[{index}] is of the image {image}, which is not among the images",
                )
                continue
            labels[image].add(name)
            if self._is_crowd[index]:
                continue
            box = self._box(index)
            if box is None:
                found.warn(
                    "truth_box_without_area",
                    f"annotations[{index}] has a box without area; its label counts all the same",
                )
            else:
                boxes.setdefault(image, []).append(TrueBox(name, box))
        for image, file in self.files.items():
            place = f"the image {image}"
            found.add(file, labels.pop(image), boxes=boxes.pop(image, ()), place=place)
        return found.truth()

    def _name_of(self, index: int) -> str:
        category = self._category_ids[index]
        if category not in self.names:
            raise TruthError(
                "truth_class_unknown",
                f"annotations[{index}] has the category {category}, which is not among the "
                "categories",
            )
        return self.names[category]

    def _box(self, index: int) -> tuple[float, float, float, float] | None:
        left, top, width, height = self._boxes[4 * index : 4 * index + 4]
        return (left, top, left + width, top + height) if width > 0 and height > 0 else None

    def _take_text(self, element: Element, key: str, known: dict[int, str], what: str) -> None:
        """Put the text under `key` of an image or a category among those known, by its id."""
        id = _integer(element, "id")
        text = element.value.get(key)
        if not isinstance(text, str):
            raise _wrong(element, f"needs text as {key}, has {shown(text)}")
        if id in known:
            raise _wrong(element, f"has the id {id} of another {what}")
        known[id] = text

    def _take_annotation(self, element: Element) -> None:
        box = element.value.get("bbox", (0, 0, 0, 0))
        if not (isinstance(box, list | tuple) and len(box) == 4 and all(map(is_number, box))):
            raise _wrong(element, f"must have four numbers as bbox, has {shown(box)}")
        crowd = element.value.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise _wrong(element, f"must have 0 or 1 as iscrowd, has {shown(crowd)}")
        self._image_ids.append(_integer(element, "image_id"))
        self._category_ids.append(_integer(element, "category_id"))
        self._boxes.extend(box)
        self._is_crowd.append(int(crowd))


def _integer(element: Element, key: str) -> int:
    """An id: an integer of at most 64 bits."""
    value = element.value.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise _wrong(element, f"needs a whole number as {key}, has {shown(value)}")
    return value


def _wrong(element: Element, reason: str) -> TruthError:
    return TruthError("truth_malformed", f"{element.place} {reason}")
