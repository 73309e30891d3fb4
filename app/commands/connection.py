"""What the commands on a running service share: its address and key, and how they end."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.command_line import fail, settings_of
from app.commands.printing import say
from app.exit_codes import Exit

if TYPE_CHECKING:
    from ccd_client import Client

UrlOption = Annotated[
    str | None,
    typer.Option("--url", envvar="CCD_URL", help="The service; else the one that runs here."),
]
KeyOption = Annotated[
    str | None, typer.Option("--key", help="The key to send [CCD_API_KEY; the one kept].")
]
LimitOption = Annotated[int, typer.Option("--limit", min=1, help="Rows at most.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@contextmanager
def connected(url: str | None, key: str | None) -> Iterator["Client"]:
    """The service; whatever goes wrong is told in words, and is an exit code."""
    from app.commands.errors import outcome
    from app.run_service import known_url
    from ccd_client import CcdError, Client, Patience, ServiceUnreachable

    patience = Patience(on_retry=lambda failure: say(f"{failure}; trying again"))
    try:
        with Client(url or known_url(settings_of(), key), key, patience=patience) as client:
            if not client.is_ready():  # told at once; one that goes away later is waited for
                raise ServiceUnreachable(f"no service is ready at {client.url}: try `ccd serve`")
            yield client
    except BrokenPipeError:  # of `| head`, which has seen enough
        raise
    except CcdError as error:
        message, code = outcome(error)
        fail(message, code=code)
    except OSError as error:  # of a file of this machine: the client has its own errors
        fail(f"the command broke off: {error}", code=Exit.BROKE_OFF)
    except KeyboardInterrupt:
        fail("interrupted", code=Exit.INTERRUPTED)


@contextmanager
def watching(next_step: str) -> Iterator[None]:
    """Ctrl-C ends the looking on alone; what goes on is told, and how to get at it."""
    try:
        yield
    except KeyboardInterrupt:
        fail(f"no longer watched; {next_step}", code=Exit.INTERRUPTED)


def sendable(files: Sequence[Path], *, hint: str = "") -> Path | Sequence[Path]:
    """A folder, a zip file or images of this machine, as the client sends them."""
    for path in files:
        if not path.exists():
            raise typer.BadParameter(f"{path} is not there{hint}")
        if len(files) > 1 and path.is_dir():
            raise typer.BadParameter(f"one folder is sent, or several images; {path} is a folder")
    return files[0] if len(files) == 1 else files


def sure(question: str, *, yes: bool) -> None:
    """Ask before something is gone for good; where nobody can be asked, `--yes` is needed."""
    if yes:
        return
    if not sys.stdin.isatty():
        fail(f"{question} Nobody is here to be asked: say --yes", code=Exit.REFUSED)
    if not typer.confirm(question):
        fail("nothing was done", code=Exit.REFUSED)
