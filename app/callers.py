"""Who asks: the project whose records a request may see, and what it may do with them."""

from dataclasses import dataclass, field
from enum import StrEnum

from workers.jobs import DEFAULT_PROJECT


class Scope(StrEnum):
    """What a key may do."""

    #: Look, at what is its project's.
    READ = "read"
    #: Make, change and delete that too.
    WRITE = "write"
    #: All that, and keys, the audit log, workers and metrics, which are the service's own.
    ADMIN = "admin"

    @property
    def included(self) -> frozenset["Scope"]:
        """Itself, and the lesser ones that come with it."""
        order = list(Scope)
        return frozenset(order[: order.index(self) + 1])


@dataclass(frozen=True)
class Caller:
    """Who asks, as their key tells."""

    project: str
    scopes: frozenset[Scope]
    #: None where the service asks for no keys.
    key_id: str | None = None
    #: Of the secret that came with it: a rotation ends a secret, and the key goes on.
    secret_sha256: str = field(default="", repr=False)

    def may(self, scope: Scope) -> bool:
        """Whether one of the scopes includes `scope`."""
        return any(scope in own.included for own in self.scopes)


#: Everybody, where the service asks for no keys.
ANYBODY = Caller(DEFAULT_PROJECT, frozenset({Scope.ADMIN}))
