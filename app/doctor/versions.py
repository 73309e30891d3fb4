"""The packages that run here, beside the oldest that are safe."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from app.doctor.findings import Finding, ok, problem, skipped, warning

Numbers = tuple[int, ...]


@dataclass(frozen=True)
class Floor:
    """The oldest version of a package that may run, and why."""

    package: str
    oldest: Numbers
    reason: str
    #: Versions from here on are untried; None: none are known to fail.
    below: Numbers | None = None


FLOORS = (
    Floor("pillow", (13, 0, 0), "CVE-2026-112403: its JPEG decoder wrote past its buffer"),
    Floor("starlette", (1, 8), "CVE-2025-62727 and a multipart Range header that never ended"),
    Floor("python-multipart", (0, 0, 33), "CVE-2026-24486 and -42561: paths, endless headers"),
    Floor("fastapi", (0, 165), "it caps the size of a body"),
    Floor("uvicorn", (0, 54), "the oldest that was tried"),
    Floor("celery", (5, 7), "spawned workers, no lost bell", below=(5, 8)),
    Floor("kombu", (5, 7), "a worker that idles after Redis came back", below=(5, 8)),
    Floor("redis", (6, 4), "what Celery 5.7 asks for"),
    Floor("safetensors", (0, 8), "the oldest that was tried"),
)

#: Only as old as the service's own package asks for; their pair is tried by importing it.
OWN_FLOORS = ("torch", "torchvision")


def check_versions() -> Iterator[Finding]:
    for floor in (*FLOORS, *_own_floors()):
        yield _check(floor)


def as_numbers(text: str) -> Numbers:
    """`2.14.0+cu126` as (2, 14, 0); what follows the numbers does not count."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, found.group().split("."))) if found else ()


def _own_floors() -> Iterator[Floor]:
    try:
        wanted = requires("ccd-service") or []
    except PackageNotFoundError:
        return
    for line in wanted:
        found = re.match(r"([\w-]+)>=([\d.]+)", line)
        if found and found[1] in OWN_FLOORS:
            yield Floor(found[1], as_numbers(found[2]), "the oldest that was tried")


def _check(floor: Floor) -> Finding:
    check = f"versions.{floor.package}"
    try:
        text = version(floor.package)
    except PackageNotFoundError:
        return skipped(check, "not installed on this machine")
    oldest = ".".join(map(str, floor.oldest))
    if as_numbers(text) < floor.oldest:
        return problem(
            check,
            text,
            wanted=f"{oldest} or later: {floor.reason}",
            remedy=f"pip install '{floor.package}>={oldest}', or install from the lock file",
        )
    if floor.below and as_numbers(text) >= floor.below:
        below = ".".join(map(str, floor.below))
        return warning(
            check,
            text,
            wanted=f"{oldest} or later, below {below}: later ones were not tried",
            remedy=f"pip install '{floor.package}>={oldest},<{below}'",
        )
    return ok(check, text)
