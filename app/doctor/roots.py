"""Whether the folders that images may come from are what their owner thinks."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from app.doctor.findings import Finding, ok, problem, warning

#: Entries of a root that are looked at; more would take minutes on a network's file system.
MAX_ENTRIES = 1000


def check_roots(text: str, data: Path) -> Iterator[Finding]:
    """Each folder of CCD_ALLOWED_ROOTS, as written there."""
    given = [Path(part) for part in text.split(os.pathsep) if part]
    if not given:
        told = "CCD_ALLOWED_ROOTS names none: images come by upload alone"
        yield ok("roots", f"{told}, but for folders that `ccd serve --allow FOLDER` adds")
    real = [Path(os.path.realpath(path.expanduser())) for path in given]
    for path, root in zip(given, real, strict=True):
        yield from _root(path, root, real, Path(os.path.realpath(data)))


def _root(path: Path, root: Path, real: list[Path], data: Path) -> Iterator[Finding]:
    check = f"roots.{path}"
    try:
        with os.scandir(root) as entries:
            links = [entry.path for entry in islice(entries, MAX_ENTRIES) if entry.is_symlink()]
    except OSError as error:
        yield problem(
            check,
            f"{path} cannot be listed: {error.strerror}",
            wanted=f"a folder that user {os.geteuid()} can read",
            remedy=f"make it readable, or take it out of {_SETTING}",
        )
        return
    surprises = [*_data_inside(check, path, root, data), *_links(check, path, root, links, real)]
    yield from surprises or [ok(check, "readable")]


_SETTING = "CCD_ALLOWED_ROOTS"


def _data_inside(check: str, path: Path, root: Path, data: Path) -> Iterator[Finding]:
    if data.is_relative_to(root):
        yield problem(
            check,
            f"{path} contains the data folder {data}",
            wanted="roots that do not: whoever may start a job could read other people's uploads",
            remedy=f"name the folders of images alone in {_SETTING}, or move CCD_DATA",
        )
    elif root.is_relative_to(data):
        yield problem(
            check,
            f"{path} lies in the data folder {data}",
            wanted="images outside of it: what lies in there belongs to the service",
            remedy="move the images, or upload them",
        )


def _links(
    check: str, path: Path, root: Path, links: list[str], real: list[Path]
) -> Iterator[Finding]:
    if Path(os.path.abspath(path.expanduser())) != root:  # noqa: PTH100 - links stay in it
        yield warning(
            check,
            f"{path} leads through a link to {root}",
            wanted="the folder itself: whoever may change the link changes what is read",
            remedy=f"write {root} into {_SETTING}",
        )
    outside = [
        link
        for link in links
        if not any(Path(os.path.realpath(link)).is_relative_to(r) for r in real)
    ]
    if outside:
        yield warning(
            check,
            f"{len(outside)} links in it lead outside, such as {outside[0]}",
            wanted="images that lie under a root: what such a link leads to is skipped",
            remedy=f"add the folders behind the links to {_SETTING}, or remove the links",
        )
