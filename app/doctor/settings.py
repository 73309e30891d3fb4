"""The settings as far as they can be read: a wrong one is a finding, not the end."""

import os
from collections.abc import Iterator

from pydantic import ValidationError

from app.doctor.findings import Finding, problem
from workers.settings import Settings


def read_settings() -> tuple[Settings, list[Finding]]:
    """The settings of the process; those that are wrong are taken out of its environment."""
    findings: list[Finding] = []
    while True:
        try:
            return Settings(), findings
        except ValidationError as error:
            # A rule about two settings names none; its message does.
            names = {_variable(wrong["loc"]) for wrong in error.errors()} - {""}
            findings += [_wrong(wrong["msg"], _variable(wrong["loc"])) for wrong in error.errors()]
            for name in names or {"CCD_LEASE_SECONDS", "CCD_HEARTBEAT_SECONDS"}:
                os.environ.pop(name, None)


def check_faults(settings: Settings) -> Iterator[Finding]:
    """Nothing, but for a service that is broken on purpose."""
    if settings.faults:
        yield problem(
            "settings.faults",
            f"CCD_FAULTS={','.join(fault.text for fault in settings.faults)}: faults are put into "
            "this service on purpose",
            wanted="none outside of tests",
            remedy="unset CCD_FAULTS and start the service again",
        )


def _variable(place: tuple[int | str, ...]) -> str:
    return f"CCD_{str(place[0]).upper()}" if place else ""


def _wrong(message: str, variable: str) -> Finding:
    name = variable.removeprefix("CCD_").lower() or "lease_seconds"
    given = os.environ.get(variable, "")
    return problem(
        f"settings.{name}",
        f"{variable or 'CCD_LEASE_SECONDS'}={given}: {message.removeprefix('Value error, ')}",
        wanted="a value that the service can be started with",
        remedy=f"unset {variable or 'CCD_LEASE_SECONDS'}, or give it such a value",
    )
