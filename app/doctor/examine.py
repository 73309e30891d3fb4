"""All checks of `ccd doctor`, in the order in which a person would mend things."""

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from app.doctor.data import check_data
from app.doctor.findings import Finding, Level, problem, skipped
from app.doctor.job_store import check_redis, check_workers
from app.doctor.machine import check_hardware, check_open_files, check_weights_folder
from app.doctor.roots import check_roots
from app.doctor.settings import check_faults, read_settings
from app.doctor.versions import check_versions
from app.standalone import CannotServe, redis_url_of
from workers.files import DataFolder
from workers.settings import Settings

#: From what must be mended to what is well.
ORDER = (Level.PROBLEM, Level.WARNING, Level.SKIPPED, Level.OK)


def examine(*, quick: bool = False) -> Iterator[Finding]:
    """Every finding about this process's settings and what they name; torch only if not `quick`."""
    roots = os.environ.get("CCD_ALLOWED_ROOTS", "")
    settings, wrong = read_settings()
    yield from (finding for finding in wrong if finding.check != "settings.allowed_roots")
    yield from check_faults(settings)
    yield from check_job_store(settings)
    yield from check_data(DataFolder(settings.data))
    yield from check_roots(roots, settings.data)
    yield from check_versions()
    yield check_open_files()
    yield check_weights_folder(settings)
    if not quick:
        yield from check_hardware(settings)


def check_job_store(settings: Settings) -> Iterator[Finding]:
    """The Redis that is named, or the embedded Valkey of a `ccd serve` that runs on the folder."""
    try:
        url = redis_url_of(settings)
    except CannotServe as error:
        yield _not_private(str(error))
        return
    if url is None:
        yield skipped("redis", "CCD_REDIS_URL is not set: `ccd serve` starts its own Valkey")
        return
    findings = list(check_redis(url))
    yield from findings
    if any(
        finding.check == "redis.reachable" and finding.level is Level.OK for finding in findings
    ):
        yield from check_workers(settings.model_copy(update={"redis_url": url}))


def _not_private(reason: str) -> Finding:
    return problem(
        "redis.runtime_folder",
        reason,
        wanted="a folder of this user's alone for the socket of Valkey",
        remedy="remove it; the service makes it again",
    )


def count(findings: list[Finding], level: Level) -> int:
    return sum(finding.level is level for finding in findings)


def as_json(findings: list[Finding]) -> dict[str, Any]:
    return {
        "problems": count(findings, Level.PROBLEM),
        "warnings": count(findings, Level.WARNING),
        "findings": [asdict(finding) for finding in findings],
    }


def say_all(findings: list[Finding], say: Callable[[str], None]) -> None:
    """For people: what is amiss comes last, where they look first."""
    for level in reversed(ORDER):
        for finding in findings:
            if finding.level is level:
                say(f"{level:<8} {finding.check:<26} {finding.found}")
                for name in ("wanted", "remedy"):
                    if text := getattr(finding, name):
                        say(f"{'':<8} {name:>26} {text}")
    say(f"{count(findings, Level.PROBLEM)} problems, {count(findings, Level.WARNING)} warnings")
