"""Prometheus' text format, version 0.0.4: families of samples -> the body of a scrape."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

Labels = Mapping[str, str]


@dataclass
class Family:
    """One metric: its samples differ in their labels. A counter's name ends with `_total`."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: list[tuple[Labels, float]] = field(default_factory=list)

    def add(self, value: float, **labels: str) -> None:
        """One more sample, with labels that none before has."""
        self.samples.append((labels, value))

    def lines(self) -> Iterable[str]:
        yield from _head(self.name, self.kind, self.help)
        for labels, value in self.samples:
            yield _line(self.name, labels, value)


@dataclass
class Histogram:
    """One metric that tells how its observations are spread."""

    name: str
    help: str
    samples: list[tuple[Labels, Mapping[float, int], float]] = field(default_factory=list)

    def add(self, counts: Mapping[float, int], total: float, **labels: str) -> None:
        """`counts`: observations at or under each bound, the last one infinite; `total`: sum."""
        self.samples.append((labels, counts, total))

    def lines(self) -> Iterable[str]:
        yield from _head(self.name, "histogram", self.help)
        for labels, counts, total in self.samples:
            for bound, count in counts.items():
                yield _line(f"{self.name}_bucket", {**labels, "le": _number(bound)}, count)
            yield _line(f"{self.name}_sum", labels, total)
            yield _line(f"{self.name}_count", labels, counts[math.inf])


def render(families: Sequence[Family | Histogram]) -> str:
    """The body of an answer: each family in one piece, its description first."""
    return "".join(f"{line}\n" for family in families for line in family.lines())


def _head(name: str, kind: str, text: str) -> Iterable[str]:
    assert NAME.fullmatch(name), name
    yield f"# HELP {name} {_escape(text)}"
    yield f"# TYPE {name} {kind}"


def _line(name: str, labels: Labels, value: float) -> str:
    assert all(map(NAME.fullmatch, labels)), labels
    pairs = ",".join(f'{label}="{_quote(text)}"' for label, text in labels.items())
    return f"{name}{{{pairs}}} {_number(value)}" if pairs else f"{name} {_number(value)}"


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if value == int(value) else repr(float(value))


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quote(text: str) -> str:
    return _escape(text).replace('"', '\\"')
