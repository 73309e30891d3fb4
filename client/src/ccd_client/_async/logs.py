"""The log of a job: what there is, and what comes."""

from collections.abc import Mapping
from typing import Any

from ccd_client._async.handles import PAGE, AsyncPages, AsyncWork
from ccd_client._async.transport import AsyncTransport
from ccd_client._async_io import Stream, sleep
from ccd_client.models import LogLine

#: How often it is looked for new lines, in seconds.
POLL_SECONDS = 1.0


class AsyncLogs(AsyncPages[LogLine]):
    """The lines of a job's log."""

    def __init__(
        self,
        transport: AsyncTransport,
        path: str,
        params: Mapping[str, Any],
        job: AsyncWork,
    ) -> None:
        super().__init__(transport, path, params, LogLine.read)
        self._job = job

    async def follow(self) -> Stream[LogLine]:
        """Every line, those to come too, until the job has ended."""
        cursor: str | None = None
        seen = 0  # lines of the page at `cursor`, which grows until it is full
        while True:
            was_over = self._job.is_over  # looked at before the lines: the last ones are not missed
            page = await self._page(PAGE, cursor)
            rows = page.get("data") or []
            for row in rows[seen:]:
                yield LogLine.read(row)
            if page.get("next_cursor") is not None:
                cursor, seen = page["next_cursor"], 0
                continue
            seen = max(seen, len(rows))
            if was_over:
                return
            await sleep(POLL_SECONDS)
            await self._job.refresh()
