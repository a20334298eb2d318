# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every answer of the console says to browsers, and which requests it does not take.

Nothing but the console's own files is loaded or run (B6); no other site may show it, ask it, or be told where one comes
from. A request for another name (DNS rebinding) and a change that another site asks for are refused before anything
else is looked at.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from gateway.addresses import counted_as
from tmtp_core import limits
from tmtp_core.clock import Clock

COOKIE: Final = "__Host-tmtp-console"
REPORTS: Final = "/csp-report"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not listened on

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
STRICT_TRANSPORT: Final = "max-age=31536000"  # RFC 6797, over TLS
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


@dataclass(frozen=True, slots=True)
class Site:
    """Under which names the console may be opened; `url`: where it is for browsers, if not where it listens.

    A proxy that ends TLS passes the name on, but not that it did: what is asked of the name in `url` came from there.
    """

    hosts: frozenset[str]
    url: str | None

    def allows(self, request: web.Request) -> bool:
        """Whether a request names one of them, with or without a port."""
        return _name(f"//{request.host}") in self.hosts

    def origin(self, request: web.Request) -> str:
        """The origin of the page that a request is for."""
        if self.url is not None and _name(f"//{request.host}") == _name(self.url):
            return self.url
        return f"{request.scheme}://{request.host}".lower()

    def from_own_page(self, request: web.Request) -> bool:
        """Whether a page of the console asks for a change.

        Browsers say it (Fetch Metadata). With `no-referrer` the origin of a form's request is `null`: it counts only
        where there is nothing better.
        """
        said = request.headers.get("Sec-Fetch-Site")
        if said is not None:
            return said == "same-origin"
        return request.headers.get("Origin") == self.origin(request)


def site_of(listen_host: str, url: str | None, reachable: str) -> Site:
    """The names of a console that listens on a host, which others dial as `reachable`."""
    hosts = {listen_host, reachable.lower()}
    if listen_host in _LOOPBACK | _EVERYWHERE:
        hosts |= _LOOPBACK
    hosts -= _EVERYWHERE
    name = _name(url) if url is not None else None
    return Site(frozenset(hosts if name is None else hosts | {name}), url)


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


class Attempts:
    """How often one may try to sign in: a few times at once, then one after another."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._full_s: OrderedDict[str, float] = OrderedDict()

    def allow(self, address: str) -> bool:
        """Whether an address may try now; it counts as a try."""
        address = counted_as(address)
        now_s = self._clock.monotonic_s()
        free_s = max(now_s, self._full_s.pop(address, 0.0)) + limits.CONSOLE_ATTEMPT_INTERVAL_S
        allowed = free_s - now_s <= limits.CONSOLE_ATTEMPTS_MAX * limits.CONSOLE_ATTEMPT_INTERVAL_S
        self._full_s[address] = free_s if allowed else free_s - limits.CONSOLE_ATTEMPT_INTERVAL_S
        while len(self._full_s) > limits.CONSOLE_ATTEMPTERS_MAX:
            self._full_s.popitem(last=False)
        return allowed
