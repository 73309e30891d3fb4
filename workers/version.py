"""Which version of this code runs."""

from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version


@cache  # asked for at every heartbeat, and it opens files
def code_version() -> str:
    """As the installed package says; "0" in a checkout that was not installed."""
    try:
        return installed_version("ccd-service")
    except PackageNotFoundError:
        return "0"
