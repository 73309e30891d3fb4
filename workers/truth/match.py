"""Which image of a dataset a path of the truth means."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from workers.paths import IMAGE_SUFFIXES
from workers.truth.gather import plain_path

#: A path as one rule looks at it -> those who have it.
Paths = Mapping[str, Sequence[str]]
Positions = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class PathMatch:
    """Images of a dataset and paths of a truth, side by side."""

    #: Path of the truth -> position of its image in the dataset.
    images: Mapping[str, int]
    #: How many were found by `path` (the same), `tail` (the same last parts) and `stem` (the
    #: same but for the suffix).
    found_by: Mapping[str, int]
    #: Paths of the truth that mean no image.
    unmatched: tuple[str, ...]
    #: Paths of the truth that could mean several images, or one that another path means too.
    ambiguous: tuple[str, ...]
    #: Positions of the images that no path means.
    untold: tuple[int, ...]


def match_paths(truth: Iterable[str], images: Sequence[str]) -> PathMatch:
    """The image of every path, by the surest rule that finds one.

    `path`: both are the same. `tail`: one is the end of the other, whole folders at a time, so
    that `val/a.jpg` is `/data/val/a.jpg` but never `train/a.jpg`: the truth of one split must not
    be taken for another's. `stem`: the same without the suffix, which ids of VOC lack. A rule that
    finds several images, or one that another path means too, decides for none.

    Args:
        truth: distinct paths, as `Truth.images` has them.
        images: paths below the dataset's root.
    """
    left, by_path = list(truth), [plain_path(path) for path in images]
    found: dict[str, int] = {}
    found_by = {rule: 0 for rule, _, _ in _RULES}
    ambiguous: list[str] = []
    for rule, key, pairs in _RULES:
        if not left:
            break
        wanted, there = _grouped(left, key), _positions(by_path, key)
        claims = _claims(pairs(wanted, there))
        sure = _sure(claims, taken=set(found.values()))
        found |= sure
        found_by[rule] = len(sure)
        ambiguous += [path for path in claims if path not in sure]
        left = [path for path in left if path not in claims]
    told = set(found.values())
    untold = tuple(position for position in range(len(by_path)) if position not in told)
    return PathMatch(found, found_by, tuple(left), tuple(ambiguous), untold)


def _same(wanted: Paths, there: Positions) -> Iterator[tuple[str, int]]:
    for key, paths in wanted.items():
        for position in there.get(key, ()):
            yield from ((path, position) for path in paths)


def _ends(wanted: Paths, there: Positions) -> Iterator[tuple[str, int]]:
    """Pairs of which one is the end of the other; the same ones too."""
    for key, paths in wanted.items():
        for end in _ends_of(key):
            for position in there.get(end, ()):
                yield from ((path, position) for path in paths)
    for key, positions in there.items():
        for end in _ends_of(key):
            if end != key:
                for path in wanted.get(end, ()):
                    yield from ((path, position) for position in positions)


def _ends_of(path: str) -> Iterator[str]:
    """`a/b/c`, `b/c`, `c`."""
    yield path
    at = path.find("/")
    while at >= 0:
        yield path[at + 1 :]
        at = path.find("/", at + 1)


def _whole(path: str) -> str:
    return path


def _stem(path: str) -> str:
    suffix = next((s for s in IMAGE_SUFFIXES if path.lower().endswith(s)), "")
    return path[: len(path) - len(suffix)]


_RULES: tuple[
    tuple[str, Callable[[str], str], Callable[[Paths, Positions], Iterator[tuple[str, int]]]],
    ...,
] = (("path", _whole, _same), ("tail", _whole, _ends), ("stem", _stem, _ends))


def _grouped(paths: Iterable[str], key: Callable[[str], str]) -> Paths:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        groups[key(path)].append(path)
    return groups


def _positions(paths: Iterable[str], key: Callable[[str], str]) -> Positions:
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for position, path in enumerate(paths):
        groups[key(path)].append(position)
    return groups


def _claims(pairs: Iterable[tuple[str, int]]) -> dict[str, set[int]]:
    claims: defaultdict[str, set[int]] = defaultdict(set)
    for path, position in pairs:
        claims[path].add(position)
    return claims


def _sure(claims: Mapping[str, set[int]], *, taken: set[int]) -> dict[str, int]:
    """The claims on one image that nobody else claims or has."""
    claimants: defaultdict[int, int] = defaultdict(int)
    for positions in claims.values():
        for position in positions:
            claimants[position] += 1
    return {
        path: position
        for path, positions in claims.items()
        if len(positions) == 1
        for position in positions
        if claimants[position] == 1 and position not in taken
    }
