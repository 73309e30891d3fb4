"""API keys: one file each in the data folder, which is the truth about them."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import structlog
from anyio.to_thread import run_sync

from app.callers import Caller, Scope
from workers.files import DataFolder, read_json, write_json
from workers.jobs import DEFAULT_PROJECT, new_id, rfc3339

log = structlog.get_logger()

ID_CHARACTERS, SECRET_CHARACTERS = 22, 43
KEY_ID = re.compile(rf"key_[0-9a-z]{{{ID_CHARACTERS}}}")
#: The id of a key and its secret, which is 256 bits.
TOKEN = re.compile(rf"({KEY_ID.pattern})\.([A-Za-z0-9_-]{{{SECRET_CHARACTERS}}})")
SECRET_BYTES = 32
#: What this process has read of a key is good for so long, in seconds: another process of the
#: service may have changed it since.
FRESH_SECONDS = 1.0
#: Keys that a process remembers. Beyond it forgets one for each.
MAX_REMEMBERED = 10_000
DAY_MS = 24 * 3600 * 1000


class KeyNotFound(Exception):
    """No key has this id."""


class KeyEnded(Exception):
    """The key was revoked, or its time is over: it cannot be rotated."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key without its secret. Times are milliseconds since 1970."""

    id: str
    name: str
    project: str
    scopes: tuple[Scope, ...]
    #: SHA-256 of the secret, in hexadecimal digits. The secret is random and long: a slow hash
    #: would protect it no better, and would cost every request.
    sha256: str
    created_ms: int
    #: The key that made it; None for one made on the service's own machine.
    created_by: str | None = None
    expires_ms: int | None = None
    revoked_ms: int | None = None
    rotated_ms: int | None = None
    #: The secret before the last rotation, and how long it still holds.
    previous_sha256: str | None = None
    previous_until_ms: int = 0

    def has_ended(self, now: int) -> bool:
        """Whether it opens nothing any more."""
        expires = self.expires_ms
        return self.revoked_ms is not None or (expires is not None and expires <= now)

    def opens(self, secret: str, now: int) -> bool:
        """Whether it is in force and `secret` is its own, or was until a moment ago."""
        return self.holds(sha256_of(secret), now)

    def holds(self, sha256: str, now: int) -> bool:
        """Whether it still opens with the secret of this SHA-256."""
        previous = self.previous_sha256 if now < self.previous_until_ms else None
        # Both are compared, and each in a time that does not tell how far they agree.
        fits = hmac.compare_digest(sha256, self.sha256)
        fitted = hmac.compare_digest(sha256, previous or "-")
        return (fits or fitted) and not self.has_ended(now)

    @property
    def caller(self) -> Caller:
        return Caller(self.project, frozenset(self.scopes), self.id)


class KeyStore:
    """The keys of a data folder. Every change is on disk when it returns."""

    def __init__(self, data: DataFolder) -> None:
        self._folder = data.keys
        #: Key, when it was looked at by the clock that never goes back, and its file's mark then.
        self._seen: dict[str, tuple[Key, float, tuple[int, ...]]] = {}
        self._looks: dict[str, asyncio.Task[Key | None]] = {}

    def create(
        self,
        name: str,
        scopes: Sequence[Scope],
        *,
        project: str = DEFAULT_PROJECT,
        expires_in_days: float | None = None,
        created_by: str | None = None,
    ) -> tuple[Key, str]:
        """A new key, and the token that opens with it: nobody is told again."""
        now, secret = now_ms(), _new_secret()
        expires_ms = None if expires_in_days is None else now + round(expires_in_days * DAY_MS)
        key = Key(
            id=new_id("key"),
            name=name,
            project=project,
            scopes=tuple(sorted(set(scopes), key=list(Scope).index)),
            sha256=sha256_of(secret),
            created_ms=now,
            created_by=created_by,
            expires_ms=expires_ms,
        )
        self._write(key)
        return key, f"{key.id}.{secret}"

    def get(self, id: str) -> Key:
        """The key as the disk has it.

        Raises:
            KeyNotFound: there is none.
        """
        key = self._read(id) if KEY_ID.fullmatch(id) else None
        if key is None:
            raise KeyNotFound(id)
        return key

    def list(self) -> list[Key]:
        """All there are, newest first; revoked ones too."""
        return sorted(self._all(), key=lambda key: key.id, reverse=True)

    def rotate(self, id: str, *, grace_seconds: float = 0) -> tuple[Key, str]:
        """A new secret for a key; the present one holds for `grace_seconds` more.

        Raises:
            KeyNotFound: there is none.
            KeyEnded: it opens nothing any more.
        """
        now, secret = now_ms(), _new_secret()
        with self._locked():
            key = self.get(id)
            if key.has_ended(now):
                raise KeyEnded(id)
            rotated = replace(
                key,
                sha256=sha256_of(secret),
                rotated_ms=now,
                previous_sha256=key.sha256 if grace_seconds else None,
                previous_until_ms=now + round(grace_seconds * 1000),
            )
            self._write(rotated)
        return rotated, f"{id}.{secret}"

    def revoke(self, id: str) -> Key:
        """The key, which opens nothing from here on; it stays in the list.

        Raises:
            KeyNotFound: there is none.
        """
        with self._locked():
            key = self.get(id)
            if key.revoked_ms is None:
                key = replace(key, revoked_ms=now_ms())
                self._write(key)
        return key

    def forget(self, id: str) -> None:
        """Leave nothing of a key that was made for a moment."""
        (self._folder / f"{id}.json").unlink(missing_ok=True)
        self._seen.pop(id, None)

    async def fresh(self, id: str) -> Key | None:
        """The key as it was within the last second. All who ask at once share one look at the disk.

        Raises:
            OSError: the disk cannot be read.
        """
        seen = self._seen.get(id)
        if seen and time.monotonic() - seen[1] < FRESH_SECONDS:
            return seen[0]
        look = self._looks.get(id)
        if look is None:
            look = self._looks[id] = asyncio.create_task(run_sync(self.look, id))
            look.add_done_callback(lambda _: self._looks.pop(id, None))
        return await asyncio.shield(look)  # who goes away takes it from nobody

    def look(self, id: str) -> Key | None:
        """The key as the disk has it; remembered for a second, and read only where it changed."""
        looked_at, path = time.monotonic(), self._folder / f"{id}.json"
        try:
            status = path.stat()
        except FileNotFoundError:
            self._seen.pop(id, None)
            return None
        mark = (status.st_ino, status.st_mtime_ns, status.st_size)
        seen = self._seen.get(id)
        key = seen[0] if seen and seen[2] == mark else self._read(id)
        if key is not None:
            while len(self._seen) >= MAX_REMEMBERED and id not in self._seen:
                self._seen.pop(next(iter(self._seen)), None)
            self._seen[id] = (key, looked_at, mark)
        return key

    def has_admin(self) -> bool:
        """Whether somebody could manage the service with a key."""
        now = now_ms()
        return any(Scope.ADMIN in key.scopes and not key.has_ended(now) for key in self._all())

    def find(self, token: str) -> Key | None:
        """The key that a token opens with, if it is in force."""
        parts = TOKEN.fullmatch(token)
        key = self._read(parts[1]) if parts else None
        return key if parts and key and key.opens(parts[2], now_ms()) else None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One change at a time, of all processes: none undoes another's."""
        with (self._folder / ".lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _all(self) -> Iterator[Key]:
        for path in self._folder.glob("key_*.json"):
            key = self._read(path.stem)
            if key is not None:
                yield key

    def _read(self, id: str) -> Key | None:
        """None for one that is not there; a damaged one opens nothing, and the log says so."""
        try:
            return _from_json(read_json(self._folder / f"{id}.json"))
        except FileNotFoundError:
            return None
        except (KeyError, TypeError, ValueError) as error:
            log.warning("key.damaged", key=id, error=repr(error))
            return None

    def _write(self, key: Key) -> None:
        write_json(self._folder / f"{key.id}.json", asdict(key), mode=0o600)
        self._seen.pop(key.id, None)


def key_reply(key: Key, last_used_ms: int | None = None) -> dict[str, Any]:
    """A key as it is shown."""
    return {
        "id": key.id,
        "name": key.name,
        "project": key.project,
        "scopes": [str(scope) for scope in key.scopes],
        "created_by": key.created_by,
        "created_at": rfc3339(key.created_ms),
        "expires_at": _moment(key.expires_ms),
        "rotated_at": _moment(key.rotated_ms),
        "revoked_at": _moment(key.revoked_ms),
        "last_used_at": _moment(last_used_ms),
    }


def form_fault(token: str) -> str:
    """What is wrong with the form of what is no token; its secret is not repeated."""
    id, dot, secret = token.partition(".")
    form = f"`key_` and {ID_CHARACTERS} characters, a dot, a secret of {SECRET_CHARACTERS}"
    if not (dot and id.startswith("key_")):
        return f"the header Authorization has no key: {form}"
    behind = len(id) - len("key_")
    if (behind, len(secret)) != (ID_CHARACTERS, SECRET_CHARACTERS):
        return f"a key is {form}; the one sent has {behind} and {len(secret)}: copy it whole"
    return f"a key is {form}; the one sent has characters that no key has"


def _moment(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else rfc3339(milliseconds)


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _new_secret() -> str:
    return secrets.token_urlsafe(SECRET_BYTES)


def sha256_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("ascii")).hexdigest()


def _from_json(found: dict[str, Any]) -> Key:
    return Key(**{**found, "scopes": tuple(Scope(scope) for scope in found["scopes"])})
