"""The class list of a job as the user writes it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import InitErrorDetails

from app.text import check_line, plain, refused, same_key

MAX_CLASSES = 1000
MAX_NAME_CHARACTERS = 100
MAX_PROMPTS = 100
MAX_PROMPT_CHARACTERS = 300

#: (place below `classes`, why it is refused)
Fault = tuple[tuple[str | int, ...], str]


class ClassSpec(BaseModel):
    """A class to look for."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(
        min_length=1,
        max_length=MAX_NAME_CHARACTERS,
        description="What the class is called; unique in the list, whatever its case.",
        examples=["traffic light"],
    )
    prompts: list[str] = Field(
        default=[],
        max_length=MAX_PROMPTS,
        description="What the teacher is told instead of the name; `{}` stands for the name. "
        "Their features are averaged.",
        examples=[["a photo of a {}", "a street with a {}"]],
    )


def read_classes(given: object) -> list[dict[str, Any]]:
    """The classes as {"name", "prompts"}, names in NFC and without white space at their ends.

    Raises:
        ValidationError: with the place of every class that is refused.
    """
    if not isinstance(given, list):
        raise refused("is not a list of class names")
    if not 1 <= len(given) <= MAX_CLASSES:
        raise refused(f"has {len(given):,} classes, 1 to {MAX_CLASSES:,} are allowed")
    faults: list[Fault] = []
    classes = [_read_class(i, item, faults) for i, item in enumerate(given)]
    faults += _repeated([c["name"] for c in classes])
    if faults:
        raise ValidationError.from_exception_data(
            "classes",
            [InitErrorDetails(type=refused(why), loc=place, input=None) for place, why in faults],
        )
    return classes


def _read_class(index: int, item: object, faults: list[Fault]) -> dict[str, Any]:
    """One class; what is wrong with it goes into `faults`."""
    if isinstance(item, str):
        faults += _line_faults((index,), plain(item), MAX_NAME_CHARACTERS)
        return {"name": plain(item), "prompts": []}
    if not isinstance(item, Mapping):
        faults.append(((index,), "is neither a name nor an object with a name"))
        return {"name": "", "prompts": []}
    faults += [((index, key), "is not a field of a class") for key in item if key not in FIELDS]
    name, prompts = item.get("name"), item.get("prompts", [])
    if not isinstance(name, str):
        faults.append(((index, "name"), "is missing or not text"))
        name = ""
    else:
        faults += _line_faults((index, "name"), plain(name), MAX_NAME_CHARACTERS)
    return {"name": plain(name), "prompts": _read_prompts(index, prompts, faults)}


FIELDS = frozenset(ClassSpec.model_fields)


def _read_prompts(index: int, given: object, faults: list[Fault]) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(prompt, str) for prompt in given):
        faults.append(((index, "prompts"), "is not a list of texts"))
        return []
    if len(given) > MAX_PROMPTS:
        faults.append(
            ((index, "prompts"), f"has {len(given):,} prompts, {MAX_PROMPTS} are allowed")
        )
        return []
    prompts = [plain(prompt) for prompt in given]
    for place, prompt in enumerate(prompts):
        faults += _line_faults((index, "prompts", place), prompt, MAX_PROMPT_CHARACTERS)
        if prompt.count("{}") > 1:
            faults.append(((index, "prompts", place), "has more than one {}"))
    return prompts


def _line_faults(place: tuple[str | int, ...], text: str, max_characters: int) -> Iterator[Fault]:
    if reason := check_line(text, max_characters=max_characters):
        yield place, reason


def _repeated(names: Sequence[str]) -> Iterator[Fault]:
    """Every name that an earlier one equals but for its case."""
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        earlier = first.setdefault(same_key(name), index)
        if name and earlier != index:
            yield (index,), f"is the same class as /classes/{earlier} ({names[earlier]!r})"


#: A class list in a request body: names and objects, mixed as the user likes.
Classes = Annotated[
    list[ClassSpec], BeforeValidator(read_classes, json_schema_input_type=list[str | ClassSpec])
]
