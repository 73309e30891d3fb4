"""Answers that can be asked for more: they know the service that they came from."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from pydantic import PrivateAttr

from ccd_client._async.transport import AsyncTransport
from ccd_client._async_io import Stream, sleep
from ccd_client.calls import get, given
from ccd_client.errors import WaitTimedOut, WorkFailed
from ccd_client.models import Failure, LabelRow, Reply
from ccd_client.tables import Rows, arrow_table, pandas_frame

Row = TypeVar("Row", bound=Reply)

#: The most rows of one page.
PAGE = 1000
#: Where the service does not wait by itself, it is asked this often, in seconds.
POLL_SECONDS = 0.5
#: How long the service may wait with its answer; shorter where somebody watches.
PATIENT_SECONDS, WATCHED_SECONDS = 20.0, 1.0
#: Media types of the ways in which label rows are written.
ROW_TYPES = {
    ".csv": "text/csv",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
}


class AsyncHandle(Reply):
    """An answer with a service behind it."""

    _transport: AsyncTransport = PrivateAttr()

    @classmethod
    def of(cls, content: object, transport: AsyncTransport) -> Self:
        """The answer that `content` is."""
        found = cls.read(content)
        found._transport = transport  # noqa: SLF001 - of its own kind
        return found

    def become(self, content: object) -> Self:
        """The same object, as `content` says that it is now."""
        fresh = type(self).read(content)
        self.__dict__.update(fresh.__dict__)
        object.__setattr__(self, "__pydantic_extra__", fresh.__pydantic_extra__)
        return self


class AsyncWork(AsyncHandle):
    """Something that workers do: it can be waited for."""

    @property
    def path(self) -> str:
        """Its address below the service's."""
        raise NotImplementedError

    @property
    def is_over(self) -> bool:
        """Whether its status will stay as it is."""
        return bool(getattr(self, "terminal", False))

    @property
    def is_good(self) -> bool:
        """Whether it ended well."""
        return getattr(self, "status", None) == "succeeded"

    async def refresh(self, *, wait_seconds: float = 0) -> Self:
        """This object, as it is now; or once it has ended, if that is within `wait_seconds`."""
        return self.become(await self._transport.json(get(self.path, wait_seconds=wait_seconds)))

    async def wait(
        self,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as in the synchronous client
        on_change: Callable[[Self], None] | None = None,
    ) -> Self:
        """This object, once it has ended, well or not; `check()` tells them apart.

        Raises:
            WaitTimedOut: it goes on still after `timeout` seconds.
        """
        gives_up_at = None if timeout is None else time.monotonic() + timeout
        longest = PATIENT_SECONDS if on_change is None else WATCHED_SECONDS
        while not self.is_over:
            if on_change is not None:
                on_change(self)
            left = longest if gives_up_at is None else gives_up_at - time.monotonic()
            if left <= 0:
                raise WaitTimedOut(f"{self.path} goes on still after {timeout:g} seconds")
            await self._look_again(min(longest, left))
        return self

    async def _look_again(self, seconds: float) -> None:
        response = await self._transport.send(get(self.path, wait_seconds=seconds))
        self.become(response.json())
        if not self.is_over and "Preference-Applied" not in response.headers:
            await sleep(min(seconds, POLL_SECONDS))

    def check(self) -> Self:
        """This object, if it ended well.

        Raises:
            WorkFailed: it did not, or has not ended.
        """
        if self.is_good:
            return self
        failure: Failure | None = getattr(self, "error", None)
        status = getattr(self, "status", "not ready")
        raise WorkFailed(f"{self.path.rpartition('/')[2]} {failure or f'is {status}'}", self)


class AsyncPages(Generic[Row]):
    """Everything of a list, asked for page by page while it is read."""

    def __init__(
        self,
        transport: AsyncTransport,
        path: str,
        params: Mapping[str, Any],
        read: Callable[[Any], Row],
    ) -> None:
        self._transport, self._path, self._read = transport, path, read
        self._params = given(params)

    async def __aiter__(self) -> Stream[Row]:
        """Row by row."""
        cursor: str | None = None
        while True:
            page = await self._page(PAGE, cursor)
            for row in page.get("data") or ():
                yield self._read(row)
            cursor = page.get("next_cursor")
            if cursor is None:
                return

    async def take(self, count: int) -> Rows[Row]:
        """The first `count` rows, or all if there are fewer."""
        rows: Rows[Row] = Rows()
        cursor: str | None = None
        while len(rows) < count:
            page = await self._page(min(PAGE, count - len(rows)), cursor)
            wanted = (page.get("data") or [])[: count - len(rows)]
            rows += [self._read(row) for row in wanted]
            cursor = page.get("next_cursor")
            if cursor is None:
                break
        return rows

    async def all(self) -> Rows[Row]:
        """Every row."""
        return Rows([row async for row in self])

    async def _page(self, limit: int, cursor: str | None) -> dict[str, Any]:
        return await self._transport.json(
            get(self._path, **{**self._params, "limit": limit, "cursor": cursor})
        )


class AsyncWhole(AsyncPages[Row]):
    """A list that comes whole."""

    async def _page(self, *_: object) -> dict[str, Any]:
        return await self._transport.json(get(self._path))


class AsyncLabels(AsyncPages[LabelRow]):
    """Label rows: to be read one by one, as a table, or into a file."""

    async def to_pandas(self) -> Any:
        """A pandas DataFrame: image_id, path, labels, and `score:NAME` for each class."""
        return pandas_frame(await self.all())

    async def to_arrow(self) -> Any:
        """A pyarrow Table with the same columns."""
        return arrow_table(await self.all())

    async def save(self, target: str | Path) -> Path:
        """Write every row to a `.csv` or `.ndjson` file, which is there whole or not at all."""
        target = Path(target)
        media_type = ROW_TYPES.get(target.suffix.lower())
        if media_type is None:
            raise ValueError(f"label rows are saved as .csv or .ndjson, not as {target.name!r}")
        call = get(self._path, **self._params).with_headers({"Accept": media_type})
        return await self._transport.download(call, target, sha256=None, on_progress=None)
