"""The report as one HTML page that needs nothing else: no network, no script to be read."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from models.overlay import WEIGHT, heat_colors
from workers.page_content import Told, content

#: Colours of the activation maps, from the coldest to the hottest.
COLORS = 256


def render(told: Told) -> str:
    """The page."""
    template = Environment(
        loader=PackageLoader("workers", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html")
    return template.render(
        title=f"Health report of {told.name or told.job_id}",
        style=_own("report.css"),
        script=_own("report.js"),
        policy=content_policy(),
        colors=_colors(),
        weight=WEIGHT,
        page=content(told),
    )


def content_policy() -> str:
    """The Content-Security-Policy that lets the page run its own style and script and no more."""
    style, script = (_source(_own(name)) for name in ("report.css", "report.js"))
    return (
        f"default-src 'none'; img-src data:; style-src {style}; script-src {script}; "
        "base-uri 'none'; form-action 'none'"
    )


def _own(name: str) -> Markup:
    """A file of this package, which may stand in the page as it is."""
    return Markup((resources.files("workers") / "templates" / name).read_text("utf-8"))  # noqa: S704


def _source(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _colors() -> str:
    """Red, green and blue of every colour of the maps, as the API draws them, in base64."""
    levels = (heat_colors(torch.linspace(0, 1, COLORS)) * 255).round().byte()
    return base64.b64encode(levels.numpy().tobytes()).decode()
