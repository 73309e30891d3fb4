"""The client: one service, and what it has."""

from types import TracebackType
from typing import Any, Self

import httpx

from ccd_client._async.datasets import AsyncDatasets
from ccd_client._async.evaluations import AsyncEvaluations
from ccd_client._async.exports import AsyncExports
from ccd_client._async.handles import AsyncPages, AsyncWhole
from ccd_client._async.jobs import AsyncJobs
from ccd_client._async.keys import AsyncKeys
from ccd_client._async.students import AsyncPredictions, AsyncStudents
from ccd_client._async.transport import AsyncTransport
from ccd_client._async_io import HttpTransport
from ccd_client.calls import Call, at, get
from ccd_client.credentials import service_key, service_url
from ccd_client.errors import BadSetting, CcdError, Problem
from ccd_client.models import AuditEntry, Worker
from ccd_client.retries import Patience


class AsyncClient:
    """One service.

    Args:
        url: its address; else CCD_URL, else http://127.0.0.1:8000.
        key: what proves who asks; else CCD_API_KEY, else what the credentials file has for `url`.
        patience: how long a service that does not answer is asked again.
        http: how requests travel, where not over the network.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        patience: Patience | None = None,
        http: HttpTransport | None = None,
    ) -> None:
        self.url = service_url(url)
        transport = AsyncTransport(
            self.url, service_key(self.url, key), patience=patience or Patience(), http=http
        )
        self._transport = transport
        self.datasets = AsyncDatasets(transport)
        self.jobs = AsyncJobs(transport)
        self.students = AsyncStudents(transport)
        self.predictions = AsyncPredictions(transport)
        self.evaluations = AsyncEvaluations(transport)
        self.exports = AsyncExports(transport)
        self.keys = AsyncKeys(transport)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let the connections go."""
        await self._transport.close()

    async def is_ready(self) -> bool:
        """Whether the service can work; asked once, and without the key."""
        try:
            call = Call("GET", "/readyz", timeout=httpx.Timeout(2), with_key=False)
            async with self._transport.open(call) as response:
                await response.aread()
        except CcdError:
            return False
        return True

    def workers(self) -> AsyncPages[Worker]:
        """Who does the work, and what each has in hand."""
        return AsyncWhole(self._transport, at("workers"), {}, Worker.read)

    def audit(self) -> AsyncPages[AuditEntry]:
        """Who did what and when; for keys of the scope `admin`."""
        return AsyncPages(self._transport, at("audit"), {}, AuditEntry.read)

    async def usage(self) -> dict[str, Any]:
        """Quotas, and what is used of them."""
        return await self._transport.json(get(at("usage")))

    async def explain(self, problem: Problem) -> str:
        """What an error means and what helps, in the service's words.

        Raises:
            BadSetting: it is no error of the service.
        """
        if not isinstance(problem, Problem):
            raise BadSetting(f"explain takes a Problem that was caught, is {problem!r}")
        page = problem.type.removeprefix(self.url)
        if not page.startswith("/"):
            return problem.title  # somebody else's, who gets no key of ours
        content = await self._transport.json(get(page))
        return str(content.get("explanation", problem.title))
