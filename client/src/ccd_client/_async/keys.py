"""Keys to the service."""

from collections.abc import Mapping, Sequence
from typing import Any

from ccd_client._async.handles import AsyncPages
from ccd_client._async.transport import AsyncTransport
from ccd_client.calls import Call, at, get, given
from ccd_client.models import Key


def _once(path: str, body: Mapping[str, Any]) -> Call:
    """Sent once: no service keeps a secret to tell it again."""
    return Call("POST", path, json=given(body))


class AsyncKeys:
    """The keys of a service: for those whose own key has the scope `admin`."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
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
        return Key.read(await self._transport.json(_once(at("keys"), body)))

    async def get(self, key_id: str) -> Key:
        """One key."""
        return Key.read(await self._transport.json(get(at("keys", key_id))))

    async def current(self) -> Key:
        """The key that this client sends."""
        return Key.read(await self._transport.json(get(at("keys", "current"))))

    async def rotate(self, key_id: str, *, grace_seconds: float | None = None) -> Key:
        """The key with a new `secret`; the old one holds for `grace_seconds` more."""
        body = given({"grace_seconds": grace_seconds})
        return Key.read(await self._transport.json(_once(at("keys", key_id, "rotate"), body)))

    async def revoke(self, key_id: str) -> Key:
        """The key, which nobody can use any more."""
        return Key.read(await self._transport.json(Call("DELETE", at("keys", key_id))))

    def list(self) -> AsyncPages[Key]:
        """All keys, newest first."""
        return AsyncPages(self._transport, at("keys"), {}, Key.read)
