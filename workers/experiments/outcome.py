"""What an experiment found: figures by group, name and seed, and how they were come by."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

#: Group -> name -> figure, of one seed.
Figures = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Spread:
    """One figure over the seeds: its mean, and the standard deviation of one seed."""

    values: Sequence[float]

    @property
    def known(self) -> list[float]:
        return [value for value in self.values if not math.isnan(value)]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.known) if self.known else math.nan

    @property
    def deviation(self) -> float:
        """NaN below two known values."""
        return statistics.stdev(self.known) if len(self.known) > 1 else math.nan

    def __sub__(self, other: Spread) -> Spread:
        """How much more this one is than another, seed by seed."""
        pairs = zip(self.values, other.values, strict=True)
        return Spread([more - less for more, less in pairs])

    def __str__(self) -> str:
        return self.told()

    def told(self, form: str = ".1f") -> str:
        """The mean in this format, with the deviation where there is one."""
        mean = told(self.mean, form)
        return mean if math.isnan(self.deviation) else f"{mean} ± {told(self.deviation)}"


def told(value: float, form: str = ".1f") -> str:
    """A figure in this format; what is not known is a dash."""
    return "-" if math.isnan(value) else format(value, form)


@dataclass(frozen=True)
class Outcome:
    """Everything that is written down about one experiment.

    Attributes:
        experiment: its name.
        command: what would do it again.
        commit: of the code, or its version.
        hardware: machine, threads, versions of what computes.
        seconds: what all of it took to compute, however often it was interrupted.
        preset: name of the preset.
        config: all settings, without the seed.
        data: counts of images and classes.
        seeds: the seeds.
        figures: group -> name -> one figure for each seed; None is not known.
        published: group -> name -> figure of the literature; names of other methods too.
        notes: what a reader has to know.
    """

    experiment: str
    command: str
    commit: str
    hardware: Mapping[str, Any]
    seconds: float
    preset: str
    config: Mapping[str, Any]
    data: Mapping[str, Any]
    seeds: Sequence[int]
    figures: Mapping[str, Mapping[str, Sequence[float | None]]]
    published: Mapping[str, Mapping[str, float]]
    notes: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON: `Outcome(**...)` gives it back."""
        return asdict(self)

    def spread(self, group: str, name: str) -> Spread:
        """One figure over the seeds."""
        values = self.figures[group][name]
        return Spread([math.nan if value is None else value for value in values])

    def names(self, group: str) -> list[str]:
        """The names of a group in order; none where there is no such group."""
        return list(self.figures.get(group, ()))

    def gain(self, group: str, name: str, over: str) -> Spread:
        """How much more one figure of a group is than another, seed by seed."""
        return self.spread(group, name) - self.spread(group, over)


def by_seed(found: Sequence[Figures]) -> dict[str, dict[str, list[float | None]]]:
    """The figures of several seeds beside each other; a name that a seed lacks is None there."""
    joined: dict[str, dict[str, list[float | None]]] = {}
    for figures in found:
        for group, names in figures.items():
            for name in names:
                joined.setdefault(group, {}).setdefault(name, [])
    for group, rows in joined.items():
        for name, values in rows.items():
            values += [_rounded(figures.get(group, {}).get(name)) for figures in found]
    return joined


def _rounded(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, 4)
