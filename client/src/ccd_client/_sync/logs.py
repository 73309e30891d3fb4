"""The log of a job: what there is, and what comes."""

from collections.abc import Mapping
from typing import Any

from ccd_client._sync.handles import PAGE, Pages, Work
from ccd_client._sync.transport import Transport
from ccd_client._sync_io import Stream, sleep
from ccd_client.models import LogLine

#: How often it is looked for new lines, in seconds.
POLL_SECONDS = 1.0


class Logs(Pages[LogLine]):
    """The lines of a job's log."""

    def __init__(
        self,
        transport: Transport,
        path: str,
        params: Mapping[str, Any],
        job: Work,
    ) -> None:
        super().__init__(transport, path, params, LogLine.read)
        self._job = job

    def follow(self) -> Stream[LogLine]:
        """Every line, those to come too, until the job has ended."""
        cursor: str | None = None
        seen = 0  # lines of the page at `cursor`, which grows until it is full
        while True:
            was_over = self._job.is_over  # looked at before the lines: the last ones are not missed
            page = self._page(PAGE, cursor)
            rows = page.get("data") or []
            for row in rows[seen:]:
                yield LogLine.read(row)
            if page.get("next_cursor") is not None:
                cursor, seen = page["next_cursor"], 0
                continue
            seen = max(seen, len(rows))
            if was_over:
                return
            sleep(POLL_SECONDS)
            self._job.refresh()
