"""The commands of whoever operates the service: doctor."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

commands = typer.Typer()

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Data folder [CCD_DATA; ./ccd-data].")
]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


@commands.command()
def doctor(
    *,
    data: DataOption = None,
    as_json: JsonOption = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out what needs torch: devices and presets.")
    ] = False,
) -> None:
    """Look at everything the service needs: Redis, disk, folders, versions, devices, weights.

    Nothing is changed. Exit codes: 0 no problem, 1 problems, each with its remedy.
    """
    from app.doctor import examine
    from app.doctor.findings import Level

    _use(data)
    findings = list(examine.examine(quick=quick))
    if as_json:
        print(json.dumps(examine.as_json(findings), indent=1))
    else:
        examine.say_all(findings, print)
    raise typer.Exit(1 if examine.count(findings, Level.PROBLEM) else 0)


def _use(data: Path | None) -> None:
    if data is not None:
        os.environ["CCD_DATA"] = str(data)
