"""A file on its way from the service: there whole or not at all, and resumed where it broke off."""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from ccd_client.errors import DownloadDamaged

#: Called with the bytes that are there, and with those of the whole file where they are known.
OnBytes = Callable[[int, int | None], None]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_REPR_DIGEST = re.compile(r"\bsha-256=:([A-Za-z0-9+/=]+):")


class Saving:
    """One download. What came of it is kept beside `target` until it is whole."""

    def __init__(
        self, target: Path, *, sha256: str | None = None, on_bytes: OnBytes | None = None
    ) -> None:
        self.target = target
        self._given = self._wanted = sha256
        self._on_bytes = on_bytes or (lambda _done, _total: None)
        self._etag: str | None = None
        self._total: int | None = None
        self._part = target.with_name(f".{target.name}.part")
        self._done = 0
        self._asked_for_rest = False

    def headers(self) -> dict[str, str]:
        """Of the next try: the rest alone, where the file is still the same."""
        whole = {"Accept-Encoding": "identity"}
        self._asked_for_rest = self._etag is not None and self._done > 0
        if self._etag is None or not self._asked_for_rest:
            return whole
        return {**whole, "Range": f"bytes={self._done}-", "If-Range": self._etag}

    def begin(self, response: httpx.Response) -> bool:
        """Take over what an answer says of the file; False: ask again, some of it is here."""
        headers = response.headers
        if response.status_code == httpx.codes.PARTIAL_CONTENT:
            self._check_range(headers.get("Content-Range", ""))
            return True
        self._etag = _strong(headers.get("ETag"))
        self._total = _length(headers)
        # The file may be another than at the last try; the caller's digest stands.
        self._wanted = self._given or _digest(headers, self._etag)
        self._part = self._part_of(self._wanted)
        self._done = self._part.stat().st_size if self._part.exists() else 0
        if self._can_resume() and not self._asked_for_rest:
            return False
        self._discard()
        return True

    def write(self, chunk: bytes) -> None:
        """Keep some bytes."""
        with self._part.open("ab") as file:
            file.write(chunk)
        self._done += len(chunk)
        self._on_bytes(self._done, self._total)

    @property
    def can_go_on(self) -> bool:
        """Whether what came is not lost where the connection breaks."""
        return self._etag is not None

    def is_whole(self) -> bool:
        """Whether every byte is here."""
        return self._total is None or self._done >= self._total

    def finish(self) -> Path:
        """The file in its place.

        Raises:
            DownloadDamaged: these are not the bytes that the service announced.
        """
        self._part.touch()  # of an empty file no byte came
        found = file_digest(self._part)
        if self._wanted is not None and found != self._wanted:
            self._discard()
            raise DownloadDamaged(
                f"{self.target.name} came with the SHA-256 {found}, {self._wanted} is wanted; "
                "nothing was kept, ask for it again"
            )
        self._part.replace(self.target)
        return self.target

    def give_up(self) -> None:
        """Throw away what nobody could go on with."""
        if self._wanted is None:
            self._discard()

    def _can_resume(self) -> bool:
        """Of a file that can be told from others by its digest, begun before and not whole."""
        if self._etag is None or self._wanted is None or self._total is None:
            return False
        return 0 < self._done < self._total

    def _part_of(self, digest: str | None) -> Path:
        """What is there of one version; of a file without a digest nothing is taken up again."""
        mark = f".{digest[:16]}" if digest else ""
        return self.target.with_name(f".{self.target.name}{mark}.part")

    def _check_range(self, text: str) -> None:
        found = _RANGE.fullmatch(text)
        if found is None or int(found[1]) != self._done:
            self._discard()
            raise DownloadDamaged(
                f"bytes from {self._done:,} on were asked for, the answer says {text!r}"
            )

    def _discard(self) -> None:
        self._part.unlink(missing_ok=True)
        self._done = 0


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _strong(etag: str | None) -> str | None:
    """Only a strong ETag promises the same bytes."""
    return None if etag is None or etag.startswith("W/") else etag


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


def _digest(headers: Mapping[str, str], etag: str | None) -> str | None:
    """The SHA-256 that the answer announces: of Repr-Digest, else an ETag that is one."""
    found = _REPR_DIGEST.search(headers.get("Repr-Digest", ""))
    if found is not None:
        try:
            return base64.b64decode(found[1], validate=True).hex()
        except binascii.Error:
            return None
    tag = (etag or "").strip('"')
    return tag if _SHA256.fullmatch(tag) else None
