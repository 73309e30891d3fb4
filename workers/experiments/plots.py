"""The figures of an experiment as pictures, SVG and PNG. The only place that needs matplotlib."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workers.experiments import ablation, alpha, headline, views
from workers.experiments.benchmarks import BENCHMARKS
from workers.experiments.outcome import Outcome, Spread

#: Width and height in inches.
SIZE = (6.4, 3.6)
BLUE, ORANGE, GREY = "#2563a8", "#c2571a", "#8a8f98"

#: The same picture gives the same bytes: no date, ids from a fixed salt, text as text.
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "ccd",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def plot(outcome: Outcome, folder: Path) -> list[Path]:
    """Draw an outcome as `<experiment>.svg` and `.png` into `folder`; the paths."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=SIZE, layout="constrained")
        DRAW[outcome.experiment](axes, outcome)
        paths = [folder / f"{outcome.experiment}{suffix}" for suffix in (".svg", ".png")]
        figure.savefig(paths[0], metadata={"Date": None, "Creator": None})
        figure.savefig(paths[1], dpi=150, metadata={"Software": None})
        plt.close(figure)
    return paths


def _draw_views(axes: Any, outcome: Outcome) -> None:
    names = outcome.names(views.AVERAGED)
    for offset, group, colour in ((-0.2, views.ALONE, GREY), (0.2, views.AVERAGED, BLUE)):
        _bars(axes, [outcome.spread(group, name) for name in names], offset, colour, group)
    _label_bars(axes, names, "mAP of the teacher's labels")


def _draw_ablation(axes: Any, outcome: Outcome) -> None:
    names = outcome.names(ablation.STUDENTS)
    parts = ((-0.2, ablation.SMALLEST, GREY), (0.2, ablation.STUDENTS, BLUE))
    for offset, group, colour in parts:
        _bars(axes, [outcome.spread(group, name) for name in names], offset, colour, group)
    _label_bars(axes, [name.split(":")[0] for name in names], "mAP of students")


def _draw_alpha(axes: Any, outcome: Outcome) -> None:
    names = alpha.curve(outcome)
    alphas = [float(name.rpartition(" ")[2]) for name in names]
    lines = (
        (alpha.STUDENTS, BLUE, "o-", "student"),
        (alpha.LABELS, GREY, "s-", "pseudo-labels"),
        (alpha.NO_TIES, GREY, "s:", "pseudo-labels without floor and clamp"),
    )
    for group, colour, style, label in lines:
        spreads = [outcome.spread(group, name) for name in names]
        axes.errorbar(
            alphas,
            [spread.mean for spread in spreads],
            yerr=_deviations(spreads),
            fmt=style,
            color=colour,
            label=label,
            markersize=4,
            capsize=2,
        )
    for name, style in ((alpha.CDUL, "--"), (alpha.CDUL_CONSISTENT, ":")):
        level = outcome.spread(alpha.STUDENTS, name).mean
        axes.axhline(
            level, color=ORANGE, linestyle=style, linewidth=1.2, label=f"student of {name}"
        )
    axes.set_xlabel("alpha: weight of the global labels")
    axes.set_ylabel("mAP")
    axes.legend(frameon=False, fontsize=7.5)


def _bars(axes: Any, spreads: Sequence[Spread], offset: float, colour: str, label: str) -> None:
    places = [place + offset for place in range(len(spreads))]
    means = [spread.mean for spread in spreads]
    errors, look = _deviations(spreads), {"elinewidth": 1, "capsize": 2}
    bars = axes.bar(places, means, 0.38, yerr=errors, color=colour, label=label, error_kw=look)
    axes.bar_label(bars, [f"{mean:.1f}" for mean in means], padding=2, fontsize=7)


def _deviations(spreads: Sequence[Spread]) -> list[float] | None:
    """Lengths of the error bars: NaN, which draws none, for one seed; None: no figure has any."""
    lengths = [spread.deviation for spread in spreads]
    return None if all(map(math.isnan, lengths)) else lengths


def _label_bars(axes: Any, names: Sequence[str], what: str) -> None:
    axes.set_xticks(range(len(names)), [_wrapped(name) for name in names])
    axes.set_ylabel(what)
    axes.margins(y=0.12)
    axes.legend(
        frameon=False, fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=2
    )


def _wrapped(name: str) -> str:
    """A name in two lines, if it has several words; a plus stays with what it adds."""
    words = name.replace("+ ", "+\N{NO-BREAK SPACE}").split(" ")
    half = (len(words) + 1) // 2
    return " ".join(words[:half]) + "\n" + " ".join(words[half:])


def _draw_headline(axes: Any, outcome: Outcome) -> None:
    ours = {
        name: outcome.spread(headline.HELD_OUT, name) for name in outcome.names(headline.HELD_OUT)
    }
    others = {n: Spread([v]) for n, v in outcome.published[headline.HELD_OUT].items()}
    rows = [(n, s, GREY) for n, s in others.items()] + [(n, s, BLUE) for n, s in ours.items()]
    rows.sort(key=lambda row: row[1].mean)
    names, spreads, colours = zip(*rows, strict=True)
    means, errors = [spread.mean for spread in spreads], _deviations(spreads)
    bars = axes.barh(names, means, xerr=errors, color=colours, error_kw={"elinewidth": 1})
    axes.bar_label(bars, [f"{mean:.1f}" for mean in means], padding=3, fontsize=7)
    axes.set_xlabel("mAP on held-out images; grey: published")
    axes.margins(x=0.1)


DRAW: Mapping[str, Callable[[Any, Outcome], None]] = {
    views.NAME: _draw_views,
    ablation.NAME: _draw_ablation,
    alpha.NAME: _draw_alpha,
    **dict.fromkeys(map(headline.name_of, BENCHMARKS), _draw_headline),
}
