"""Structured logging: one event a line, for people in a terminal and as JSON elsewhere."""

import logging
import re
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

import structlog

#: Name and password in the address of a server.
CREDENTIALS = re.compile(r"(?<=://)[^/@\s'\"]+(?=@)")
#: What the name of a value says of one that is nobody's business.
SECRET_NAME = re.compile(r"password|secret|token|authorization|api_?key|cookie", re.IGNORECASE)
HIDDEN, HIDDEN_PATH = "***", "[path]"


def configure(format: str = "auto", *, private: Sequence[Path] = ()) -> None:
    """Sets up structlog and the standard library's loggers, both written to standard error.

    Args:
        format: `console`, `json`, or `auto`, which is console in a terminal.
        private: folders whose contents are the users': what lies below is not named in the log.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                Redactor(private),
                _renderer(is_console=_is_console(format)),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)


class Redactor:
    """The last step before an event is written: takes secrets and the users' paths out of it."""

    def __init__(self, private: Sequence[Path]) -> None:
        roots = sorted((str(path) for path in private), key=len, reverse=True)
        # A name may hold spaces, so a path ends with its quotes or its line: rather too much.
        below = "|".join(re.escape(root.rstrip("/")) for root in roots)
        self._private = re.compile(rf"(?:{below})/[^'\"\n]*") if roots else None

    def __call__(
        self, _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        return {name: self._clean(name, value) for name, value in event.items()}

    def _clean(self, name: str, value: Any) -> Any:
        if SECRET_NAME.search(name):
            return HIDDEN
        if value is None or isinstance(value, (int, float)):
            return value
        text = CREDENTIALS.sub(HIDDEN, str(value))
        return self._private.sub(HIDDEN_PATH, text) if self._private else text


def _is_console(format: str) -> bool:
    return sys.stderr.isatty() if format == "auto" else format == "console"


def _renderer(*, is_console: bool) -> Any:
    if is_console:
        # The trace is text already, so that it was cleaned too.
        plain = structlog.dev.plain_traceback
        return structlog.dev.ConsoleRenderer(exception_formatter=plain)
    return structlog.processors.JSONRenderer()
