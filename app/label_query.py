"""What a request for labels wants to see: which images, in which order."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from fastapi import Depends, Query

from app.errors import invalid, shown
from app.text import near_names, plain
from workers.stages import LABELLED_STAGES, Stage

#: What `disagree` may call the stages: the student learned from the pseudo-labels.
STAGE_NAMES = {**{str(stage): stage for stage in LABELLED_STAGES}, "teacher": Stage.PSEUDO}
PATH, UNCERTAINTY, SCORE = "path", "uncertainty", "score:"
#: Where the fields of an address stand.
QUERY = "/query"
MAX_CLASSES = 100
MAX_LABELS = 10_000
MAX_SORT_CHARACTERS = 200


@dataclass(frozen=True)
class LabelQuery:
    """Images and their order. Names and stages are as given until `checked`."""

    #: Of each of them: the label, or a score within the bounds where there are any.
    classes: tuple[str, ...] = ()
    min_score: float | None = None
    max_score: float | None = None
    label_count: int | None = None
    #: Two stages with other labels.
    disagree: tuple[str, ...] = ()
    sort: str = PATH

    @property
    def has_bounds(self) -> bool:
        return self.min_score is not None or self.max_score is not None

    @property
    def bounds(self) -> tuple[float, float]:
        """The scores that are wanted, both ends included."""
        return (
            0.0 if self.min_score is None else self.min_score,
            1.0 if self.max_score is None else self.max_score,
        )

    @property
    def is_filter(self) -> bool:
        return bool(
            self.classes or self.disagree or self.has_bounds or self.label_count is not None
        )

    @property
    def is_everything(self) -> bool:
        """Whether all images are wanted in their own order."""
        return not self.is_filter and self.sort == PATH

    @property
    def is_descending(self) -> bool:
        return self.sort.startswith("-")

    @property
    def sort_key(self) -> str:
        """`path`, `uncertainty` or `score:NAME`."""
        return self.sort.removeprefix("-")

    def checked(self, stage: Stage, names: Sequence[str], *, place: str = QUERY) -> "LabelQuery":
        """The same with names and stages as the job has them; `place` is where it was given.

        Raises:
            Problem: there is no such class, stage or order; the stage has no labels.
        """
        low, high = self.bounds
        if low > high:
            raise invalid(
                f"{place}/min_score", f"must not be over max_score, is {low} and that {high}"
            )
        if stage not in LABELLED_STAGES:
            self._check_no_labels(stage, place)
        return replace(
            self,
            classes=tuple(_class(f"{place}/class", name, names) for name in self.classes),
            disagree=_stages(self.disagree, place),
            sort=_order(self.sort, names),
        )

    def _check_no_labels(self, stage: Stage, place: str) -> None:
        """A stage without labels has scores alone."""
        if self.classes and not self.has_bounds:
            raise invalid(
                f"{place}/class",
                f"needs min_score or max_score: stage {stage} has scores and no labels",
            )
        if self.label_count is not None:
            raise invalid(
                f"{place}/label_count",
                f"must be asked of stage {_listed(LABELLED_STAGES)}; stage {stage} has no labels",
            )

    def to_json(self) -> dict[str, Any]:
        """What the digest of a query is made of."""
        return asdict(self)


def _query(
    *,
    class_: Annotated[
        list[str] | None,
        Query(
            alias="class",
            max_length=MAX_CLASSES,
            description="Images that have this class as a label; with `min_score` or `max_score` "
            "those whose score of it lies between them, label or not. Given several times: all of "
            "them.",
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        Query(
            ge=0,
            le=1,
            allow_inf_nan=False,
            description="Least score, itself included: of `class`, without it of any class. "
            "Compared as the 32-bit float that a score is.",
        ),
    ] = None,
    max_score: Annotated[
        float | None,
        Query(
            ge=0,
            le=1,
            allow_inf_nan=False,
            description="Greatest score, itself included. With `min_score` one and the same class "
            "has to lie between both.",
        ),
    ] = None,
    label_count: Annotated[
        int | None,
        Query(ge=0, le=MAX_LABELS, description="Images with so many labels; 0: with none."),
    ] = None,
    disagree: Annotated[
        str | None,
        Query(
            max_length=MAX_SORT_CHARACTERS,
            description="Two stages, `teacher,student`: images whose sets of labels differ between "
            "them. Stages with labels are debiased, pseudo and student; teacher is another word "
            "for pseudo, the labels that the student learned from.",
        ),
    ] = None,
    sort: Annotated[
        str,
        Query(
            max_length=MAX_SORT_CHARACTERS,
            description="`path`, `uncertainty` or `score:NAME` of a class; with a `-` before it "
            "the greatest first (not of path). The uncertainty of an image is the mean over the "
            "classes of the binary entropy of its scores, in bits: what a look at it would tell, "
            "a class on average, if the scores were right and the classes independent. Images "
            "that are equal stay in the order of their paths.",
        ),
    ] = PATH,
) -> LabelQuery:
    return LabelQuery(
        classes=tuple(class_ or ()),
        min_score=min_score,
        max_score=max_score,
        label_count=label_count,
        disagree=() if disagree is None else tuple(disagree.split(",")),
        sort=sort,
    )


QueryDep = Annotated[LabelQuery, Depends(_query)]


def _class(pointer: str, given: str, names: Sequence[str]) -> str:
    name = plain(given)
    if name not in names:
        raise invalid(pointer, f"{shown(name)} is no class of this job; {near_names(name, names)}")
    return name


def _stages(given: Sequence[str], place: str) -> tuple[Stage, ...]:
    found = tuple(STAGE_NAMES[name.strip()] for name in given if name.strip() in STAGE_NAMES)
    if given and not (len(given) == len(found) == len(set(found)) == 2):
        raise invalid(
            f"{place}/disagree",
            f"must be two different stages of {_listed(STAGE_NAMES)} with a comma between "
            f"(teacher is pseudo), is {shown(','.join(given))}",
        )
    return found


def _order(given: str, names: Sequence[str]) -> str:
    sign, key = ("-", given[1:]) if given.startswith("-") else ("", given)
    if key.startswith(SCORE):
        return f"{sign}{SCORE}{_class(f'{QUERY}/sort', key.removeprefix(SCORE), names)}"
    if given == PATH or key == UNCERTAINTY:
        return given
    raise invalid(
        "/query/sort",
        "must be path, uncertainty, -uncertainty, score:NAME or -score:NAME of a class, "
        f"is {shown(given)}",
    )


def _listed(names: Sequence[str] | dict[str, Stage]) -> str:
    return ", ".join(names)
