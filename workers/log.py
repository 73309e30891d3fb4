"""Structured logging: one event a line, for people in a terminal and as JSON elsewhere."""

import logging
import sys
from typing import Any

import structlog


def configure(format: str = "auto") -> None:
    """Sets up structlog and the standard library's loggers, both written to standard error.

    Args:
        format: `console`, `json`, or `auto`, which is console in a terminal.
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
                *_renderers(is_console=_is_console(format)),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)


def _is_console(format: str) -> bool:
    return sys.stderr.isatty() if format == "auto" else format == "console"


def _renderers(*, is_console: bool) -> list[Any]:
    if is_console:
        return [structlog.dev.ConsoleRenderer()]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
