"""Structured logging: one event a line, for people in a terminal and as JSON elsewhere."""

import logging
import re
import sys
from collections import deque
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

import structlog

#: Name and password in the address of a server.
CREDENTIALS = re.compile(r"(?<=://)[^/@\s'\"]+(?=@)")
#: A path of two names or more.
ANY_PATH = re.compile(r"(?<![\w.:/])(?:/[^\s/'\"]+){2,}/?")
#: What the name of a value says of one that is nobody's business.
SECRET_NAME = re.compile(r"password|secret|token|authorization|api_?key|cookie", re.IGNORECASE)
#: Bound to every line of a unit.
UNIT_NAMES = frozenset({"request_id", "record", "phase", "unit", "attempt", "worker"})
#: Lines that are kept in memory.
RECENT_LINES = 5
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
    written, recent = logging.StreamHandler(sys.stderr), RecentLines()
    for handler, render in ((written, _renderer(is_console=_is_console(format))), (recent, brief)):
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=shared,
                processors=[
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.format_exc_info,
                    Redactor(private),
                    render,
                ],
            )
        )
    logging.basicConfig(handlers=[written, recent], level=logging.INFO, force=True)


class RecentLines(logging.Handler):
    """Keeps the last lines for whoever has to tell how a process ended."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=RECENT_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    def kept(self, *, forget: bool) -> list[str]:
        """The lines, oldest first; another thread may be writing one."""
        self.acquire()
        try:
            kept = list(self.lines)
            if forget:
                self.lines.clear()
            return kept
        finally:
            self.release()


def recent_lines(*, forget: bool = False) -> tuple[str, ...]:
    """The last lines of this process's log, oldest first; none where logging is not set up."""
    handlers = logging.getLogger().handlers
    kept = [h.kept(forget=forget) for h in handlers if isinstance(h, RecentLines)]
    return tuple(line for lines in kept for line in lines)


def brief(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    """An event in a few words, without the names of the unit that all lines of a unit have."""
    told = {name: value for name, value in event.items() if name not in UNIT_NAMES}
    start = [str(told.pop(name, ""))[cut] for name, cut in _START.items()]
    trace = told.pop("exception", None)
    if trace:
        told["error"] = str(trace).splitlines()[-1]
    line = " ".join([*start, *(f"{name}={value}" for name, value in told.items())])
    return ANY_PATH.sub(HIDDEN_PATH, line)  # users read it, who need not know where we live


#: What begins a brief line: the time of day, the level, the event.
_START = {"timestamp": slice(11, 19), "level": slice(None), "event": slice(None)}


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
