"""Keys to the service."""

from collections.abc import Mapping, Sequence
from typing import Any

from ccd_client._sync.handles import Pages
from ccd_client._sync.transport import Transport
from ccd_client.calls import Call, at, get, given
from ccd_client.models import Key


def _once(path: str, body: Mapping[str, Any]) -> Call:
    """Sent once: no service keeps a secret to tell it again."""
    return Call("POST", path, json=given(body))


class Keys:
    """The keys of a service: for those whose own key has the scope `admin`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        name: str,
        *,
        scopes: Sequence[str],
        project: str | None = None,
        expires_in_days: float | None = None,
    ) -> Key:
        """A new key; its `secret` is told this once."""
        body = {
            "name": name,
            "scopes": list(scopes),
            "project": project,
            "expires_in_days": expires_in_days,
        }
        return Key.read(self._transport.json(_once(at("keys"), body)))

    def get(self, key_id: str) -> Key:
        """One key."""
        return Key.read(self._transport.json(get(at("keys", key_id))))

    def current(self) -> Key:
        """The key that this client sends."""
        return Key.read(self._transport.json(get(at("keys", "current"))))

    def rotate(self, key_id: str, *, grace_seconds: float | None = None) -> Key:
        """The key with a new `secret`; the old one holds for `grace_seconds` more."""
        body = given({"grace_seconds": grace_seconds})
        return Key.read(self._transport.json(_once(at("keys", key_id, "rotate"), body)))

    def revoke(self, key_id: str) -> Key:
        """The key, which nobody can use any more."""
        return Key.read(self._transport.json(Call("DELETE", at("keys", key_id))))

    def list(self) -> Pages[Key]:
        """All keys, newest first."""
        return Pages(self._transport, at("keys"), {}, Key.read)
