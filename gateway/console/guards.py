# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every answer of the console says to browsers, and which requests it does not take.

Nothing but the console's own files is loaded or run (B6); no other site may show it, ask it, or be told where one comes
from. A request for another name (DNS rebinding) and a change that another site asks for are refused before anything
else is looked at.
"""

from collections import OrderedDict
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from tmtp_core import limits
from tmtp_core.clock import Clock

COOKIE: Final = "__Host-tmtp-console"
REPORTS: Final = "/csp-report"

_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
        f"report-uri {REPORTS}",
    )
)
_NOT_ALLOWED: Final = (
    "accelerometer camera display-capture geolocation gyroscope hid idle-detection magnetometer microphone midi payment"
    " serial usb"
)
HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": ", ".join(f"{one}=()" for one in _NOT_ALLOWED.split()),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}


def host_allowed(request: web.Request, hosts: frozenset[str]) -> bool:
    """Whether a request names one of the console's own names, each with or without a port."""
    try:
        name = urlsplit(f"//{request.host}").hostname
    except ValueError:
        return False
    return name is not None and name.lower() in hosts


def from_own_page(request: web.Request) -> bool:
    """Whether a page of the console asks for a change.

    Browsers say it (Fetch Metadata); with `no-referrer` the origin of a form's request is `null`, so that it counts
    only where there is nothing better.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    return request.headers.get("Origin") == origin_of(request)


def origin_of(request: web.Request) -> str:
    """The origin of the page that a request is for."""
    return f"{request.scheme}://{request.host}".lower()


class Attempts:
    """How often one may try to sign in: a few times at once, then one after another."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._full_s: OrderedDict[str, float] = OrderedDict()

    def allow(self, address: str) -> bool:
        """Whether an address may try now; it counts as a try."""
        now_s = self._clock.monotonic_s()
        free_s = max(now_s, self._full_s.pop(address, 0.0)) + limits.CONSOLE_ATTEMPT_INTERVAL_S
        allowed = free_s - now_s <= limits.CONSOLE_ATTEMPTS_MAX * limits.CONSOLE_ATTEMPT_INTERVAL_S
        self._full_s[address] = free_s if allowed else free_s - limits.CONSOLE_ATTEMPT_INTERVAL_S
        while len(self._full_s) > limits.CONSOLE_ATTEMPTERS_MAX:
            self._full_s.popitem(last=False)
        return allowed
