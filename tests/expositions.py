"""Prometheus' text format, read back as strictly as its rules say."""

import math
import re
from dataclasses import dataclass, field

LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(?:,|$)')
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


@dataclass
class Metric:
    """One family: type, and value by (name, labels)."""

    kind: str
    samples: dict[tuple[str, frozenset], float] = field(default_factory=dict)


def read(text):
    """{name: Metric}; an AssertionError where a rule of the format is broken."""
    assert text.endswith("\n")
    metrics: dict[str, Metric] = {}
    current, described = None, None
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# HELP "):
            described = line.split(" ", 3)[2]
            assert described not in metrics, f"{described} comes in two pieces"
        elif line.startswith("# TYPE "):
            _, _, current, kind = line.split(" ")
            assert current == described, "HELP and TYPE belong together"
            metrics[current] = Metric(kind)
        else:
            _add(metrics[current], current, line)
    for name, metric in metrics.items():
        if metric.kind == "histogram":
            _check_histogram(name, metric)
        assert metric.kind != "counter" or name.endswith("_total")
    return metrics


def value(metrics, name, **labels):
    """The value of the one sample with this name and exactly these labels."""
    family = name if name in metrics else re.sub(r"_(bucket|sum|count)$", "", name)
    return metrics[family].samples[name, frozenset(labels.items())]


def _add(metric, family, line):
    name, text, number = SAMPLE.fullmatch(line).groups()
    suffixes = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
    assert name in {family + suffix for suffix in suffixes}, f"{name} lies under {family}"
    labels = _labels(text or "")
    assert (name, labels) not in metric.samples, f"{line} is there twice"
    metric.samples[name, labels] = float(number.replace("+Inf", "inf"))


def _labels(text):
    pairs, at = [], 0
    while at < len(text):
        found = LABEL.match(text, at)
        assert found, text
        unescaped = re.sub(r'\\[\\"n]', lambda escape: ESCAPES[escape[0]], found[2])
        pairs.append((found[1], unescaped))
        at = found.end()
    assert len(dict(pairs)) == len(pairs), text
    return frozenset(pairs)


def _check_histogram(name, metric):
    groups: dict[frozenset, list] = {}
    for (sample, labels), number in metric.samples.items():
        if sample == f"{name}_bucket":
            bound = float(dict(labels)["le"].replace("+Inf", "inf"))
            rest = frozenset(pair for pair in labels if pair[0] != "le")
            groups.setdefault(rest, []).append((bound, number))
    for labels, buckets in groups.items():
        assert buckets == sorted(buckets)
        assert [count for _, count in buckets] == sorted(count for _, count in buckets)
        assert buckets[-1] == (math.inf, metric.samples[f"{name}_count", labels])
        assert (f"{name}_sum", labels) in metric.samples
