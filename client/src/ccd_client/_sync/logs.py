"""The log of a job: what there is, and what comes."""

from ccd_client._sync.handles import PAGE, Pages
from ccd_client._sync_io import Stream, sleep
from ccd_client.models import LogLine

#: How often it is looked for new lines, in seconds.
POLL_SECONDS = 1.0


class Logs(Pages[LogLine]):
    """The lines of a job's log. It has a next page until the job is over: more may come."""

    def __iter__(self) -> Stream[LogLine]:
        """The lines that there are."""
        cursor: str | None = None
        while True:
            page = self._page(PAGE, cursor)
            for row in page.get("data") or ():
                yield self._read(row)
            cursor = page.get("next_cursor")
            if cursor is None or not page.get("data"):
                return

    def follow(self) -> Stream[LogLine]:
        """Every line, those to come too, until the job is over."""
        cursor: str | None = None
        while True:
            page = self._page(PAGE, cursor)
            for row in page.get("data") or ():
                yield self._read(row)
            cursor = page.get("next_cursor")
            if cursor is None:
                return
            if not page.get("data"):
                sleep(POLL_SECONDS)
