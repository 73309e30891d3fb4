"""What the commands share: settings out of options, a look at Redis, and how they fail."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError

from workers.settings import Settings

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Data folder [CCD_DATA; ./ccd-data].")
]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


def use(**environment: str | Path | None) -> None:
    """Put the options given into the environment, for this process and every child."""
    os.environ.update({name: str(value) for name, value in environment.items() if value})


def settings_of(**environment: str | Path | None) -> Settings:
    """The settings, after the options given were put into the environment."""
    use(**environment)
    try:
        return Settings()
    except ValidationError as error:
        lines = [
            f"CCD_{'_'.join(map(str, wrong['loc'])).upper()}: {wrong['msg']}, is {wrong['input']!r}"
            for wrong in error.errors()
        ]
        fail("; ".join(lines), code=2)


def check_redis(settings: Settings, say: Callable[[str], None]) -> None:
    """Refuse a Redis that may lose records; one that is away is checked when it comes.

    Raises:
        UnsafeRedis: with what to do about it.
    """
    from redis import RedisError

    from workers.eviction import UnsafeRedis
    from workers.store import connect

    try:
        with connect(settings) as client:
            client.ping()
    except UnsafeRedis:
        raise
    except RedisError as error:
        say(f"Redis does not answer yet: {error}")


def fail(message: str, *, code: int = 1) -> NoReturn:
    """End the command with a line that says why."""
    print(f"ccd: {message}", file=sys.stderr)
    raise typer.Exit(code)
