"""What the commands on a running service share: its address and key, and how they end."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from app.command_line import fail, settings_of

if TYPE_CHECKING:
    from ccd_client import Client

UrlOption = Annotated[
    str | None,
    typer.Option("--url", envvar="CCD_URL", help="The service; else the one that runs here."),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key", help="The key to send [CCD_API_KEY; the credentials file].", show_default=False
    ),
]


@contextmanager
def connected(url: str | None, key: str | None) -> Iterator["Client"]:
    """The service; whatever goes wrong is told in words, and is an exit code."""
    from app.exit_codes import Exit, outcome
    from app.run_service import written_url
    from ccd_client import CcdError, Client

    try:
        with Client(url or written_url(settings_of()), key) as client:
            yield client
    except CcdError as error:
        message, code = outcome(error)
        fail(message, code=code)
    except KeyboardInterrupt:
        fail("interrupted", code=Exit.INTERRUPTED)
