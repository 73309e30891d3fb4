"""`ccd keys`: keys made, listed, renewed and revoked, by the service or in its data folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.callers import Scope
from app.command_line import DataOption, JsonOption, fail, settings_of
from app.commands.connection import KeyOption, UrlOption, connected
from app.commands.printing import print_json, print_table, say
from app.exit_codes import MEANINGS, Exit
from workers.jobs import DEFAULT_PROJECT

if TYPE_CHECKING:
    from ccd_client.models import Key

commands = typer.Typer(help="Who may call the service, and what.", no_args_is_help=True)

LocalOption = Annotated[
    bool,
    typer.Option("--local", help="Straight in the data folder: needs no service and no key."),
]
IdArgument = Annotated[str, typer.Argument(metavar="KEY", help="Its id: key_...")]


class LocalKeys:
    """The keys of a data folder, as the client has those of a service."""

    def __init__(self) -> None:
        from app.keys import KeyStore
        from workers.files import DataFolder

        data = DataFolder(settings_of().data)
        data.create()
        self._keys = KeyStore(data)

    def create(self, name: str, **wanted: Any) -> "Key":
        from app.key_schemas import KeyCreate

        asked = KeyCreate.model_validate({"name": name, **wanted})
        key, secret = self._keys.create(
            asked.name,
            asked.scopes,
            project=asked.project or DEFAULT_PROJECT,
            expires_in_days=asked.expires_in_days,
        )
        return _shown(key, secret)

    def list(self) -> "list[Key]":
        return [_shown(key) for key in self._keys.list()]

    def rotate(self, key_id: str, *, grace_seconds: float) -> "Key":
        return _shown(*self._keys.rotate(key_id, grace_seconds=grace_seconds))

    def revoke(self, key_id: str) -> "Key":
        return _shown(self._keys.revoke(key_id))


@commands.command(epilog=MEANINGS)
def create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    *,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="read, write (which includes read) or admin (both) [write]."),
    ] = None,
    project: Annotated[
        str | None, typer.Option(help="Whose records it opens; else as the key that is used.")
    ] = None,
    expires_in_days: Annotated[
        float | None, typer.Option(help="Else it holds until it is revoked.")
    ] = None,
    local: LocalOption = False,
    data: DataOption = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it: this once, nobody can show it again."""
    scopes = [str(one) for one in scope or [Scope.WRITE]]
    with _keys(data, url, key, local=local) as keys:
        made = keys.create(name, scopes=scopes, project=project, expires_in_days=expires_in_days)
        _print_secret(made, as_json=as_json)


@commands.command("list", epilog=MEANINGS)
def list_keys(
    *,
    local: LocalOption = False,
    data: DataOption = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List all keys, newest first; never a secret."""
    with _keys(data, url, key, local=local) as keys:
        found = list(keys.list())
        print_json(found) if as_json else print_table(map(_row, found))


@commands.command(epilog=MEANINGS)
def rotate(
    key_id: IdArgument,
    *,
    grace_seconds: Annotated[
        float, typer.Option(min=0, help="How long the present secret still holds.")
    ] = 0,
    local: LocalOption = False,
    data: DataOption = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a key a new secret and print it, this once."""
    with _keys(data, url, key, local=local) as keys:
        _print_secret(keys.rotate(key_id, grace_seconds=grace_seconds), as_json=as_json)


@commands.command(epilog=MEANINGS)
def revoke(
    key_id: IdArgument,
    *,
    local: LocalOption = False,
    data: DataOption = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a key: within a second it opens nothing more."""
    with _keys(data, url, key, local=local) as keys:
        revoked = keys.revoke(key_id)
        print_json(revoked) if as_json else say(f"{key_id} is revoked")


@contextmanager
def _keys(data: Any, url: str | None, key: str | None, *, local: bool) -> Iterator[Any]:
    if not local:
        with connected(url, key) as client:
            yield client.keys
        return
    from pydantic import ValidationError

    from app.keys import KeyEnded, KeyNotFound

    settings_of(CCD_DATA=data)
    try:
        yield LocalKeys()
    except KeyNotFound as error:
        fail(f"there is no key {error}", code=Exit.REFUSED)
    except KeyEnded as error:
        fail(f"{error} was revoked, or its time is over: make another key", code=Exit.REFUSED)
    except ValidationError as error:
        wrong = error.errors()[0]
        fail(f"{wrong['loc'][0]}: {wrong['msg']}, is {wrong['input']!r}", code=Exit.REFUSED)
    except OSError as error:
        fail(f"the data folder cannot be used: {error}", code=Exit.REFUSED)


def _shown(key: Any, secret: str | None = None) -> "Key":
    """A key as the service tells it."""
    from app.keys import key_reply
    from ccd_client.models import Key

    return Key.model_validate({**key_reply(key), "secret": secret})


def _row(key: "Key") -> dict[str, Any]:
    return {
        "key": key.id,
        "name": key.name,
        "project": key.project,
        "scopes": key.scopes,
        "used": key.last_used_at,
        "expires": key.expires_at,
        "revoked": key.revoked_at,
    }


def _print_secret(key: "Key", *, as_json: bool) -> None:
    """The secret alone on the standard output, for `KEY=$(ccd keys create ...)`."""
    if as_json:
        print_json(key)
        return
    say(f"{key.id} of project {key.project}, {', '.join(key.scopes)}; shown this once:")
    print(key.secret)
