"""Which class of a job a class of the truth means."""

import difflib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from workers.truth.gather import shown
from workers.truth.truth import TruthError

#: Names of one and the same thing in different sets (VOC's first), as `_key` writes them.
SYNONYMS = (
    ("aeroplane", "airplane"),
    ("motorbike", "motorcycle"),
    ("sofa", "couch"),
    ("tvmonitor", "tv"),
)
#: Classes that are told with the nearest ones: finding those compares with every class of a job.
MAX_WITH_NEAREST = 20
_FIRST = {name: names[0] for names in SYNONYMS for name in names}


@dataclass(frozen=True)
class NameMatch:
    """Classes of a truth and classes of a job, side by side."""

    #: Class of the truth -> class of the job.
    classes: Mapping[str, str]
    #: Those of them that are spelt differently.
    renamed: Mapping[str, str]
    #: Classes of the truth that the job did not look for, the first `MAX_WITH_NEAREST` with the
    #: nearest that it did.
    only_in_truth: Mapping[str, tuple[str, ...]]
    #: Classes of the job that the truth does not know.
    only_in_job: tuple[str, ...]


def match_classes(
    truth: Sequence[str], job: Sequence[str], class_map: Mapping[str, str | None] | None = None
) -> NameMatch:
    """The job's class for every class of the truth.

    A class is found by its name, else by its name in small letters without spaces, underscores and
    hyphens, else by a synonym of `SYNONYMS`.

    Args:
        truth: its classes.
        job: its classes, in the user's order.
        class_map: what the user says: class of the truth -> class of the job, or None to leave it
            out. Several classes of the truth may be one of the job.

    Raises:
        TruthError: the map names a class that is not there, two classes of the truth are found to
            be one of the job, or none is found.
    """
    given = dict(class_map or {})
    _check_map(given, truth, job)
    found = {name: target for name, target in given.items() if target is not None}
    left = [name for name in truth if name not in given]
    free = list(job)
    for key in (str, _key, _meaning):
        by_key = _by_key(free, key)
        new = {name: by_key[key(name)] for name in left if key(name) in by_key}
        _check_unique(new)
        found |= new
        left = [name for name in left if name not in new]
        free = [name for name in free if name not in new.values()]
    if not found:
        raise TruthError(
            "truth_classes_differ",
            f"no class of the truth is one of the job: it has {_listed(truth)}, "
            f"the job has {_listed(job)}",
            "Give a class map from the names of the truth to those of the job.",
        )
    return NameMatch(
        classes=found,
        renamed={name: target for name, target in found.items() if name != target},
        only_in_truth=dict.fromkeys(left, ())
        | {name: _nearest(name, job) for name in left[:MAX_WITH_NEAREST]},
        only_in_job=tuple(name for name in job if name not in found.values()),
    )


def _check_map(given: Mapping[str, str | None], truth: Sequence[str], job: Sequence[str]) -> None:
    for name, target in given.items():
        for asked, known, whose in ((name, truth, "truth"), (target, job, "job")):
            if asked is not None and asked not in known:
                nearest = ", ".join(_nearest(asked, known)) or _listed(known)
                raise TruthError(
                    "truth_class_unknown",
                    f"the class map names {shown(asked)}, which is no class of the {whose}",
                    f"The nearest are {nearest}.",
                )


def _check_unique(found: Mapping[str, str]) -> None:
    names: dict[str, str] = {}
    for name, target in found.items():
        if target in names:
            raise TruthError(
                "truth_conflict",
                f"both {shown(names[target])} and {shown(name)} of the truth could be the class "
                f"{shown(target)}",
                "Say which in a class map; null leaves a class out.",
            )
        names[target] = name


def _by_key(names: Sequence[str], key: Callable[[str], str]) -> dict[str, str]:
    """The name of each key; keys that several names share are left out."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[key(name)].append(name)
    return {k: group[0] for k, group in groups.items() if len(group) == 1}


def _key(name: str) -> str:
    """The letters of a name: `Dining Table`, `dining_table` and `diningtable` have the same."""
    return "".join(name.casefold().translate(_JOINTS).split())


def _meaning(name: str) -> str:
    return _FIRST.get(_key(name), _key(name))


_JOINTS = str.maketrans("_-", "  ")


def _nearest(name: str, names: Sequence[str]) -> tuple[str, ...]:
    by_key = {_key(other): other for other in names}
    return tuple(by_key[k] for k in difflib.get_close_matches(_key(name), by_key, n=3))


def _listed(names: Sequence[str], most: int = 10) -> str:
    text = ", ".join(names[:most])
    return f"{text} and {len(names) - most:,} more" if len(names) > most else text
