"""Evaluations: how good a job's labels are, where the truth is known."""

from ccd_client._async.handles import AsyncWork
from ccd_client._async.transport import AsyncTransport
from ccd_client.calls import at, get
from ccd_client.models import EvaluationFields


class AsyncEvaluation(AsyncWork, EvaluationFields):
    """A job's labels beside a truth."""

    @property
    def path(self) -> str:
        """Its address below the service's."""
        return at("evaluations", self.id)


class AsyncEvaluations:
    """The evaluations of a service; a job makes them."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def get(self, evaluation_id: str) -> AsyncEvaluation:
        """One evaluation, with all its figures once it has succeeded."""
        content = await self._transport.json(get(at("evaluations", evaluation_id)))
        return AsyncEvaluation.of(content, self._transport)
