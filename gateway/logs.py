# SPDX-License-Identifier: AGPL-3.0-or-later
"""Logs: events with fields. Never content, never a secret."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

_SECRET_FIELDS = frozenset({"node", "nodeid", "secret", "token", "password", "key", "credential", "invite"})


def hide_secrets(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blot out fields that are named like a secret: the second fence, should one be logged by mistake."""
    for field in _SECRET_FIELDS & event.keys():
        event[field] = "(hidden)"
    return event


def configure_logs(level: str, form: Literal["console", "json"]) -> None:
    """Send all logs to standard error."""
    renderer: Any = structlog.processors.JSONRenderer()
    if form == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            hide_secrets,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    for name in ("mail.log", "asyncio", "alembic"):  # libraries that would repeat what peers send
        logging.getLogger(name).setLevel(logging.ERROR)
