"""Sends calls, again where that is safe, and makes errors of what cannot be used."""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from ccd_client._async_io import HttpClient, HttpTransport, Stream, opened, raw, sent, sleep
from ccd_client.calls import Call, once
from ccd_client.credentials import check_url, checked_key
from ccd_client.downloads import OnBytes as OnReceived
from ccd_client.downloads import Saving
from ccd_client.errors import (
    CcdError,
    Problem,
    ServiceUnreachable,
    UnexpectedAnswer,
    problem_of,
)
from ccd_client.retries import Patience, Tries
from ccd_client.uploads import Files, OnBytes, Upload
from ccd_client.version import VERSION

#: Of an upload: the service answers when every file is safe on its disk.
UPLOAD_TIMEOUT = httpx.Timeout(60, connect=5, read=600)
#: Errors after which nothing was sent.
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


class AsyncTransport:
    """One service."""

    def __init__(
        self, url: str, key: str | None, *, patience: Patience, http: HttpTransport | None
    ) -> None:
        self.url, self._patience = url, patience
        headers = {"User-Agent": f"ccd-client/{VERSION}", "Accept": "application/json"}
        self._key = {} if key is None else {"Authorization": f"Bearer {checked_key(key)}"}
        check_url(url)
        self._http = HttpClient(base_url=url, headers=headers, transport=http)

    @property
    def patience(self) -> Patience:
        """Of a call that begins now: an address that has answered once is no wrong one."""
        return self._patience

    async def close(self) -> None:
        """Let the connections go."""
        await self._http.aclose()

    async def send(self, call: Call) -> httpx.Response:
        """The whole answer.

        Raises:
            Problem: the service refuses.
            ServiceUnreachable: nobody answered, for as long as the patience lasts.
        """
        tries = Tries(self.patience)
        while True:
            try:
                async with self.open(call) as response:
                    await response.aread()
                return response
            except CcdError as failure:
                pause = tries.pause_after(failure, can_repeat=call.can_repeat)
            await sleep(pause)

    async def json(self, call: Call) -> dict[str, Any]:
        """The JSON object that the answer holds."""
        response = await self.send(call)
        try:
            content = response.json() if response.content else {}
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise UnexpectedAnswer(f"{self.url}{call.path} gave no JSON: is the service there?")
        return content

    @opened
    async def open(self, call: Call) -> Stream[httpx.Response]:
        """One try of a call: an answer whose body has yet to come."""
        body = None if call.body is None else sent(call.body())
        try:
            async with self._http.stream(
                call.method,
                call.path,
                params=dict(call.params),
                headers={**(self._key if call.with_key else {}), **call.headers},
                json=call.json,
                content=body,
                timeout=call.timeout,
            ) as response:
                # Where nothing listens from now on, the service is being started again.
                self._patience = replace(self._patience, refused_seconds=self._patience.seconds)
                if response.is_error:
                    await response.aread()
                    raise problem_of(response)
                if response.is_redirect:
                    # Not followed: the key is for the address that was named.
                    there = response.headers.get("Location", "elsewhere")
                    raise UnexpectedAnswer(f"{self.url} sends its callers to {there}: name that")
                yield response
        except httpx.TransportError as error:
            is_refused = isinstance(error, httpx.ConnectError)
            step = "; start the service there, or name another (--url, CCD_URL)"
            raise ServiceUnreachable(
                f"{self.url} does not answer: {str(error) or type(error).__name__}"
                f"{step if is_refused else ''}",
                was_sent=not isinstance(error, NOT_SENT),
                is_refused=is_refused,
            ) from error

    async def upload(
        self,
        path: str,
        files: Files,
        *,
        fields: Mapping[str, str],
        files_field: str,
        on_progress: OnBytes | None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """The answer to files, which are sent as they are read from the disk."""
        mark = uuid.uuid4().hex
        upload = Upload(
            files, fields=fields, files_field=files_field, boundary=mark, on_bytes=on_progress
        )
        headers = {"Content-Type": upload.media_type, **once(idempotency_key)}
        call = Call("POST", path, headers=headers, body=upload.body, timeout=UPLOAD_TIMEOUT)
        return await self.json(call)

    async def download(
        self, call: Call, target: Path, *, sha256: str | None, on_progress: OnReceived | None
    ) -> Path:
        """Save a body: whole or not at all, and from where it broke off.

        Raises:
            DownloadDamaged: the bytes are not the ones that were announced.
        """
        saving = Saving(target, sha256=sha256, on_bytes=on_progress)
        tries = Tries(self.patience)
        try:
            while not await self._save(call, saving, tries):
                pass
        finally:
            saving.give_up()
        return target

    async def _save(self, call: Call, saving: Saving, tries: Tries) -> bool:
        """One try; whether the file is in its place."""
        try:
            async with self.open(call.with_headers(saving.headers())) as response:
                if not saving.begin(response):
                    return False
                async for chunk in raw(response):
                    saving.write(chunk)
                    if saving.can_go_on:
                        tries.reset()
            if saving.is_whole():
                saving.finish()
                return True
            failure: CcdError = ServiceUnreachable(f"{call.path} broke off")
        except (ServiceUnreachable, Problem) as error:
            failure = error
        await sleep(tries.pause_after(failure, can_repeat=True))
        return False
