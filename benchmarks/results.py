"""docs/RESULTS.md from the outcomes in docs/results: no figure in it is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from models.config import PRESETS
from workers.experiments import ablation, alpha, views
from workers.experiments.benchmarks import BENCHMARKS, CCD
from workers.experiments.outcome import Outcome, Spread
from workers.experiments.report import heading, origin, read_outcome, row

RESULTS = Path("docs/results")
DOCUMENT = Path("docs/RESULTS.md")
#: The page's words; every figure is put in.
TEMPLATE = Path(__file__).with_name("results.md.j2")

#: The paper's experiments; each, like every side experiment, has a folder of its name.
MAIN = ("views", "ablation", "alpha")
#: Experiments behind a "why": name -> the experiment, and what it is given beside the images.
SIDE_EXPERIMENTS = {
    "views-tight": ("views", ["--config", "box_margin=0.02"]),
    "views-fine-maps": ("views", ["--config", "cam_size=320"]),
    "views-all-classes": ("views", ["--config", "classes_per_image=20"]),
    "views-long-warm-up": ("views", ["--config", "warm_up_epochs=8"]),
    "views-long-all": (
        "views",
        ["--config", "warm_up_epochs=8", "--config", "classes_per_image=20"],
    ),
    "alpha-tight": ("alpha", ["--alphas", "0", "0.4", "--config", "box_margin=0.02"]),
}

#: Columns of the tables about views.
VIEW_COLUMNS = {
    views.AVERAGED: "mean of whole and local views",
    views.ALONE: "local views alone",
    views.SEEN: "middles seen, %",
    views.CLOSE: "filled, %",
    views.COUNT: "views an image",
}


def write_document() -> Path:
    """Write docs/RESULTS.md; its path."""
    DOCUMENT.write_text(document(RESULTS))
    return DOCUMENT


def document(folder: Path) -> str:
    """The text, from the outcomes in `folder`."""
    found = {name: read_outcome(folder / name / f"{name}.json") for name in MAIN}
    variants = {
        name: read_outcome(folder / name / f"{experiment}.json")
        for name, (experiment, _) in SIDE_EXPERIMENTS.items()
    }
    environment = Environment(  # noqa: S701 - Markdown, from our own files
        loader=FileSystemLoader(TEMPLATE.parent), undefined=StrictUndefined, trim_blocks=True
    )
    environment.globals.update(
        benchmarks=BENCHMARKS,
        headline_table=headline_table,
        headline_commands=headline_commands,
        views_table=partial(views_table, found["views"]),
        why_table=partial(why_table, found["views"], variants),
        ablation_table=partial(ablation_table, found["ablation"]),
        ladder=partial(ladder, found["ablation"]),
        class_table=partial(class_table, found["ablation"]),
        label_table=partial(label_table, found["ablation"]),
        alpha_table=partial(alpha_table, found["alpha"]),
        peak=partial(peak, found["alpha"]),
        verdict=verdict,
        cell=cell,
        signed=signed,
        steps=warm_up_steps(found["views"].config, found["views"].data["images"]),
        voc_steps=warm_up_steps(PRESETS["paper"].to_dict(), BENCHMARKS["voc2012"].counts[0]),
        long_all_gap=variants["views-long-all"].gain(views.ALONE, views.CAM, views.GRID),
        alpha_tight=variants["alpha-tight"],
        in_words=in_words,
        picture_and_origin=picture_and_origin,
        published_whole=views.PUBLISHED_WHOLE,
        V=views,
        A=ablation,
        L=alpha,
        published_gains=ablation.PUBLISHED_GAINS,
    )
    return environment.get_template(TEMPLATE.name).render(found) + "\n"


# Tables


def headline_table() -> str:
    """The published rows, and the row of ours that is empty."""
    methods = dict.fromkeys(name for b in BENCHMARKS.values() for name in b.published)
    lines = heading(["mAP, held-out images", *(b.title for b in BENCHMARKS.values())])
    for name in methods:
        shown_name = "CCD, the paper" if name == CCD else name
        lines.append(row([shown_name, *(b.published.get(name, "") for b in BENCHMARKS.values())]))
    lines.append(row(["**ours**, preset `paper`", *["not run"] * len(BENCHMARKS)]))
    return "\n".join(lines)


def headline_commands() -> str:
    """What would fill the row."""
    return "\n".join(
        f"ccd reproduce headline {key} {benchmark.folder} --preset paper --seeds 0 1 2"
        for key, benchmark in BENCHMARKS.items()
    )


def views_table(outcome: Outcome) -> str:
    """One row for every way to look."""
    published = outcome.published[views.AVERAGED]
    lines = heading(["views", "paper", *VIEW_COLUMNS.values()])
    for name in outcome.names(views.AVERAGED):
        cells = [cell(outcome, group, name) for group in VIEW_COLUMNS]
        lines.append(row([name, published.get(name, ""), *cells]))
    return "\n".join(lines)


def why_table(outcome: Outcome, variants: Mapping[str, Outcome]) -> str:
    """The student's views as they are, with one setting changed, and the grid."""
    groups = [group for group in VIEW_COLUMNS if group != views.AVERAGED]
    lines = heading(["CAM-guided views", *(VIEW_COLUMNS[group] for group in groups), "gain"])
    lines.append(row(["as they are", *(cell(outcome, group, views.CAM) for group in groups), ""]))
    for name, (experiment, settings) in SIDE_EXPERIMENTS.items():
        if experiment == views.NAME:
            found = variants[name]
            cells = [cell(found, group, views.CAM) for group in groups]
            gain = between(found, outcome, views.ALONE, views.CAM)
            changed = ", ".join(f"`{word}`" for word in settings if "=" in word)
            lines.append(row([changed, *cells, signed(gain)]))
    lines.append(row(["the grid", *(cell(outcome, group, views.GRID) for group in groups), ""]))
    return "\n".join(lines)


def ablation_table(outcome: Outcome) -> str:
    """One row for every student."""
    published = outcome.published[ablation.STUDENTS]
    groups = (ablation.STUDENTS, ablation.SMALLEST, ablation.OTHERS)
    lines = heading(["student", "paper", "gain", "ours", "gain", "smallest bias", "all others"])
    for name in outcome.names(ablation.STUDENTS):
        told = published.get(name)
        paper = ["", ""] if told is None else [told, f"{told - published[ablation.UPDATE]:+.1f}"]
        ours, *parts = (cell(outcome, group, name) for group in groups)
        gain = signed(outcome.gain(ablation.STUDENTS, name, ablation.UPDATE))
        lines.append(row([name, *paper, ours, gain, *parts]))
    return "\n".join(lines)


def class_table(outcome: Outcome) -> str:
    """What debiasing gives the classes with the smallest bias factor."""
    bias = {name: outcome.spread(ablation.BIAS, name).mean for name in outcome.names(ablation.BIAS)}
    listed = sorted(bias, key=bias.__getitem__)[: round(ablation.LISTED * len(bias))]
    with_it, without = (ablation.AP_OF + name for name in (ablation.BOTH, ablation.CONSISTENT))
    lines = heading(["class", "bias factor", "without debias", "with debias", "gain"])
    for name in listed:
        gain = outcome.spread(with_it, name) - outcome.spread(without, name)
        cells = [cell(outcome, without, name), cell(outcome, with_it, name), signed(gain)]
        lines.append(row([name, f"{bias[name]:.2f}", *cells]))
    return "\n".join(lines)


def label_table(outcome: Outcome) -> str:
    """How good the labels are that students learn from."""
    lines = heading(["labels of the training images", "mAP"])
    names = outcome.names(ablation.LABELS)
    return "\n".join([*lines, *(row([n, cell(outcome, ablation.LABELS, n)]) for n in names)])


def alpha_table(outcome: Outcome) -> str:
    """One row for every weight, and the line to beat."""
    published = outcome.published[alpha.STUDENTS]
    groups = (alpha.STUDENTS, alpha.LABELS, alpha.NO_TIES, alpha.PRESENT, alpha.ABSENT)
    columns = ["paper: student", "student", "labels", "labels without floor and clamp"]
    columns += ["label of what is there, %", "of what is not, %"]
    lines = heading(["labels", *columns])
    for name in outcome.names(alpha.STUDENTS):
        cells = [cell(outcome, group, name) for group in groups]
        lines.append(row([name, published.get(name, ""), *cells]))
    return "\n".join(lines)


# Sentences


def ladder(outcome: Outcome) -> str:
    """Whether the rows of the ablation climb as the paper's do, over all seeds and in each."""
    rows = list(ablation.VARIANTS)
    means = [outcome.spread(ablation.STUDENTS, name).mean for name in rows]
    if all(low < high for low, high in pairwise(means)):
        order = "In the mean the four rows climb as the paper's do."
    else:
        climbing = " < ".join(name for _, name in sorted(zip(means, rows, strict=True)))
        order = f"In the mean the four rows do not climb as the paper's do, but {climbing}."
    return "\n".join([order, *(_step(outcome, low, high) for low, high in pairwise(rows))])


def _step(outcome: Outcome, low: str, high: str) -> str:
    return verdict(outcome, ablation.STUDENTS, high, low)


def peak(outcome: Outcome, group: str) -> str:
    """The alpha at which a curve is highest."""
    names = alpha.curve(outcome)
    return max(names, key=lambda name: outcome.spread(group, name).mean)


def warm_up_steps(config: Mapping[str, Any], images: int) -> int:
    """Training steps of a warm-up."""
    return int(config["warm_up_epochs"]) * -(-images // int(config["batch_size"]))


def verdict(outcome: Outcome, group: str, name: str, over: str) -> str:
    """How far one figure is over another, and in how many seeds."""
    gain = outcome.gain(group, name, over)
    higher = sum(value > 0 for value in gain.values)
    seeds = len(gain.values)
    return f"`{name}` over `{over}`: {signed(gain)}, above 0 in {higher} of {seeds} seeds."


def between(more: Outcome, less: Outcome, group: str, name: str) -> Spread:
    """How much more one outcome has than another of the same seeds."""
    return more.spread(group, name) - less.spread(group, name)


def picture_and_origin(outcome: Outcome) -> str:
    """The plot, and how the figures were come by."""
    name = outcome.experiment
    picture = f"![{name}](results/{name}/{name}.svg)"
    return "\n".join([picture, "", *origin(outcome)])


def in_words(number: int) -> str:
    """A small number as a word, others as they are."""
    words = ("no", "one", "two", "three", "four", "five", "six")
    return words[number] if number < len(words) else str(number)


def cell(outcome: Outcome, group: str, name: str) -> str:
    """One figure with its spread; empty where there is none."""
    return str(outcome.spread(group, name)) if name in outcome.names(group) else ""


def signed(gain: Spread) -> str:
    """A difference with its spread."""
    return gain.told("+.1f")
