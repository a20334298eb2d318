# SPDX-License-Identifier: AGPL-3.0-or-later
"""Logs: events with fields. Never content, never a secret."""

import logging
import os
import sys
import traceback
from collections import Counter
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

from tmtp_core.text import visible

_SECRET_FIELDS = frozenset({"node", "nodeid", "secret", "token", "password", "key", "credential", "invite"})


def hide_secrets(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blot out fields that are named like a secret: the second fence, should one be logged by mistake."""
    for field in _SECRET_FIELDS & event.keys():
        event[field] = "(hidden)"
    return event


def spell_out(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Spell control characters out, which strangers' names may hold: a terminal would do what they say."""
    for field, value in event.items():
        if isinstance(value, str) and field != "exception":
            event[field] = visible(value).replace("\n", "\\n")
    return event


class LibraryTrouble(logging.Handler):
    """What libraries log becomes an event without their words, which could be a peer's: who, what, where, how often.

    Peers can cause such trouble as often as they like: a kind is told again when its count has doubled.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._counts: Counter[tuple[str, str]] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        error = record.exc_info[1] if record.exc_info else None
        kind = record.name, type(error).__name__ if error is not None else record.levelname
        self._counts[kind] += 1
        count = self._counts[kind]
        if not count & (count - 1):
            trace = traceback.format_tb(error.__traceback__) if error is not None else []
            structlog.get_logger().warning("library_trouble", library=kind[0], kind=kind[1], count=count, trace=trace)


def quiet_libraries() -> None:
    """Let no library write into the log by itself."""
    root = logging.getLogger()
    root.handlers = [LibraryTrouble()]
    root.setLevel(logging.WARNING)


def configure_logs(level: str, form: Literal["console", "json"]) -> None:
    """Send all logs to standard error."""
    renderer: Any = structlog.processors.JSONRenderer()
    if form == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty() and not os.environ.get("NO_COLOR"))
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            hide_secrets,
            *([spell_out] if form == "console" else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    quiet_libraries()
    for name in ("mail.log", "asyncio", "alembic"):  # what they call a warning is none
        logging.getLogger(name).setLevel(logging.ERROR)
