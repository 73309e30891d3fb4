"""The key with which a new service is entered the first time."""

from collections.abc import Callable

from app.callers import Scope
from app.credentials import keep_key
from app.keys import KeyStore
from ccd_client.credentials import credentials_file, stored_keys
from workers.files import DataFolder


def give_first_key(data: DataFolder, url: str, say: Callable[[str], None]) -> None:
    """See to it that whoever starts a service at `url` can enter it.

    A key of theirs that opens is kept under the service's present address. Where nobody has a key
    with the scope `admin`, one is made, told this once, and kept for the command line.
    """
    data.create()
    keys = KeyStore(data)
    own = next((token for token in stored_keys().values() if _opens_all(keys, token)), None)
    if own is None and keys.has_admin():
        return  # somebody else's, or kept elsewhere
    if own is None:
        _, own = keys.create("first key", [Scope.ADMIN])
        say(f"the first key, shown this once: {own}")
    try:
        file = keep_key(url, own)
    except OSError as error:
        say(f"the key could not be kept in {credentials_file()}: {error.strerror}")
    else:
        say(f"the command line finds its key in {file}")


def _opens_all(keys: KeyStore, token: str) -> bool:
    key = keys.find(token)
    return key is not None and key.caller.may(Scope.ADMIN)
