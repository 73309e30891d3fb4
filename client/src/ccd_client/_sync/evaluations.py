"""Evaluations: how good a job's labels are, where the truth is known."""

from ccd_client._sync.handles import Work
from ccd_client._sync.transport import Transport
from ccd_client.calls import at, get
from ccd_client.models import EvaluationFields


class Evaluation(Work, EvaluationFields):
    """A job's labels beside a truth."""

    @property
    def path(self) -> str:
        """Its address below the service's."""
        return at("evaluations", self.id)


class Evaluations:
    """The evaluations of a service; a job makes them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, evaluation_id: str) -> Evaluation:
        """One evaluation, with all its figures once it has succeeded."""
        content = self._transport.json(get(at("evaluations", evaluation_id)))
        return Evaluation.of(content, self._transport)
