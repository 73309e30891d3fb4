"""The commands of whoever operates the service: doctor, recover."""

import json
from typing import Annotated

import typer

from app.command_line import DataOption, JsonOption, fail, settings_of, use

commands = typer.Typer()


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

    Nothing of yours is changed. Exit codes: 0 no problem, 1 problems, each with its remedy.
    """
    from app.doctor import examine
    from app.doctor.findings import Level

    use(CCD_DATA=data)
    findings = list(examine.examine(quick=quick))
    if as_json:
        print(json.dumps(examine.as_json(findings), indent=1))
    else:
        examine.say_all(findings, print)
    raise typer.Exit(1 if examine.count(findings, Level.PROBLEM) else 0)


@commands.command()
def recover(
    *,
    data: DataOption = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Do it; without, it is only told what would be done.")
    ] = False,
) -> None:
    """Fill an emptied Redis from the data folder, while the service runs or before.

    What Redis has is left alone, and nothing is deleted. What had ended comes back as it ended,
    what had not is queued again and goes on from what is on disk. Exit codes: 0 done or nothing to
    do, 1 some folders make no record, 2 wrong settings, 3 no Redis.
    """
    from redis import RedisError

    from app.recover_command import report
    from app.standalone import CannotServe, redis_url_of
    from workers.files import DataFolder
    from workers.recovery import recover
    from workers.store import open_store

    settings = settings_of(CCD_DATA=data)
    try:
        url = redis_url_of(settings)
    except CannotServe as error:
        fail(str(error), code=2)
    if url is None:
        fail("CCD_REDIS_URL is not set and no `ccd serve` runs on the data folder", code=3)
    store = open_store(settings.model_copy(update={"redis_url": url}))
    try:
        store.redis.ping()  # an empty data folder asks nothing
        found = recover(store, DataFolder(settings.data), apply=apply)
    except RedisError as error:
        fail(f"Redis: {error}; what was restored stays, run it again", code=3)
    report(found, print, applied=apply)
    raise typer.Exit(1 if found.lost else 0)
