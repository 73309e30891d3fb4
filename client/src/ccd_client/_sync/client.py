"""The client: one service, and what it has."""

from types import TracebackType
from typing import Any, Self

import httpx

from ccd_client._sync.datasets import Datasets
from ccd_client._sync.evaluations import Evaluations
from ccd_client._sync.exports import Exports
from ccd_client._sync.handles import Pages, Whole
from ccd_client._sync.jobs import Jobs
from ccd_client._sync.keys import Keys
from ccd_client._sync.students import Predictions, Students
from ccd_client._sync.transport import Transport
from ccd_client._sync_io import HttpTransport
from ccd_client.calls import Call, at, get
from ccd_client.credentials import service_key, service_url
from ccd_client.errors import BadSetting, CcdError, Problem
from ccd_client.models import AuditEntry, Worker
from ccd_client.retries import Patience


class Client:
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
        transport = Transport(
            self.url, service_key(self.url, key), patience=patience or Patience(), http=http
        )
        self._transport = transport
        self.datasets = Datasets(transport)
        self.jobs = Jobs(transport)
        self.students = Students(transport)
        self.predictions = Predictions(transport)
        self.evaluations = Evaluations(transport)
        self.exports = Exports(transport)
        self.keys = Keys(transport)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the connections go."""
        self._transport.close()

    def is_ready(self) -> bool:
        """Whether the service can work; asked once, and without the key."""
        try:
            call = Call("GET", "/readyz", timeout=httpx.Timeout(2), with_key=False)
            with self._transport.open(call) as response:
                response.read()
        except CcdError:
            return False
        return True

    def workers(self) -> Pages[Worker]:
        """Who does the work, and what each has in hand."""
        return Whole(self._transport, at("workers"), {}, Worker.read)

    def audit(self) -> Pages[AuditEntry]:
        """Who did what and when; for keys of the scope `admin`."""
        return Pages(self._transport, at("audit"), {}, AuditEntry.read)

    def usage(self) -> dict[str, Any]:
        """Quotas, and what is used of them."""
        return self._transport.json(get(at("usage")))

    def explain(self, problem: Problem) -> str:
        """What an error means and what helps, in the service's words.

        Raises:
            BadSetting: it is no error of the service.
        """
        if not isinstance(problem, Problem):
            raise BadSetting(f"explain takes a Problem that was caught, is {problem!r}")
        page = problem.type.removeprefix(self.url)
        if not page.startswith("/"):
            return problem.title  # somebody else's, who gets no key of ours
        content = self._transport.json(get(page))
        return str(content.get("explanation", problem.title))
