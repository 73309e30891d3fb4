"""What a check found, what is wanted, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    #: It works, but not as it should.
    WARNING = "warning"
    #: Something fails now, or loses work when it is least wanted.
    PROBLEM = "problem"
    #: It could not be looked at from here.
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The answer of one check."""

    #: What was looked at, as `part.detail`.
    check: str
    level: Level
    found: str
    #: What it should be; empty where nothing is amiss.
    wanted: str = ""
    #: A command, or a setting and its value.
    remedy: str = ""


def ok(check: str, found: str) -> Finding:
    return Finding(check=check, level=Level.OK, found=found)


def skipped(check: str, why: str) -> Finding:
    return Finding(check=check, level=Level.SKIPPED, found=why)


def warning(check: str, found: str, *, wanted: str, remedy: str) -> Finding:
    return Finding(check=check, level=Level.WARNING, found=found, wanted=wanted, remedy=remedy)


def problem(check: str, found: str, *, wanted: str, remedy: str) -> Finding:
    return Finding(check=check, level=Level.PROBLEM, found=found, wanted=wanted, remedy=remedy)


def scarce(
    check: str, have: float, *, low: float, lowest: float, found: str, wanted: str, remedy: str
) -> Finding:
    """A supply: a warning under `low`, a problem under `lowest`."""
    if have >= low:
        return ok(check, found)
    level = problem if have < lowest else warning
    return level(check, found, wanted=wanted, remedy=remedy)
