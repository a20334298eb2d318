# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is shown once, to one session: the links and tokens that were just made, and what became of a form.

In memory only. Links and tokens are there for some minutes, so that their page can be loaded again or printed without
making everything a second time.
"""

from dataclasses import dataclass
from typing import Any, Literal

from tmtp_core import limits
from tmtp_core.crypto.encoding import to_text
from tmtp_core.ids import RandomBytes


@dataclass(frozen=True, slots=True)
class Notice:
    """What became of what one asked for."""

    text: str
    kind: Literal["good", "bad"]


class Notices:
    """For each session, what its next page says."""

    def __init__(self) -> None:
        self._waiting: dict[int, Notice] = {}

    def say(self, session: int, notice: Notice) -> None:
        """On the next page of this session; of too many, the oldest is not said."""
        self._waiting.pop(session, None)
        while len(self._waiting) >= limits.CONSOLE_SHOWN_MAX:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[session] = notice

    def take(self, session: int) -> list[Notice]:
        """What is to be said now."""
        notice = self._waiting.pop(session, None)
        return [notice] if notice is not None else []


class KeptReports:
    """The last report of each intake, for pages that show a few of its figures."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[int, Any]] = {}

    def keep(self, bridge: str, report: Any, now_ms: int) -> None:
        """A new one."""
        self._kept[bridge] = (now_ms, report)

    def look(self, bridge: str, now_ms: int) -> Any | None:
        """The last one, or None where it is older than `limits.CONSOLE_REPORT_KEPT_MS`."""
        at_ms, report = self._kept.get(bridge, (0, None))
        return report if 0 <= now_ms - at_ms < limits.CONSOLE_REPORT_KEPT_MS else None


@dataclass(frozen=True, slots=True)
class _Kept:
    session: int
    until_ms: int
    what: Any


class ShownOnce:
    """Kept for `limits.CONSOLE_SHOWN_MS`; where there is too much, the oldest goes first."""

    def __init__(self, random_bytes: RandomBytes) -> None:
        self._random_bytes = random_bytes
        self._kept: dict[str, _Kept] = {}

    def keep(self, session: int, what: Any, now_ms: int) -> str:
        """The name under which this session finds it."""
        self._kept = {name: one for name, one in self._kept.items() if one.until_ms > now_ms}
        while len(self._kept) >= limits.CONSOLE_SHOWN_MAX:
            del self._kept[next(iter(self._kept))]
        name = to_text(self._random_bytes(limits.CONSOLE_SECRET_BYTES))
        self._kept[name] = _Kept(session, now_ms + limits.CONSOLE_SHOWN_MS, what)
        return name

    def look(self, session: int, name: str, now_ms: int) -> Any | None:
        """What was kept, or None where it is gone, or another session's."""
        one = self._kept.get(name)
        return one.what if one is not None and one.session == session and one.until_ms > now_ms else None
