# SPDX-License-Identifier: AGPL-3.0-or-later
"""How a service is named to a person: `tmtp://host:port#pin=…&invite=…` (B7).

The fragment carries what the service itself never needs to see in a log of addresses: the pin of a
self-signed certificate and an invitation's token.
"""

from dataclasses import dataclass
from urllib.parse import parse_qs, quote, urlsplit

DEFAULT_PORT = 4433


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """Where a service is. `pin` is `sha256:<base64url>` or None for a certificate that others vouch for."""

    host: str
    port: int = DEFAULT_PORT
    pin: str | None = None
    invite: str | None = None

    def link(self) -> str:
        """The address as one line, to be copied or made a QR code of."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        named = (("pin", self.pin), ("invite", self.invite))
        fragment = "&".join(f"{name}={quote(value, safe=':')}" for name, value in named if value is not None)
        return f"tmtp://{host}:{self.port}" + (f"#{fragment}" if fragment else "")


def parse_address(text: str) -> ServiceAddress:
    """Read a link or a plain `host[:port]`. Raises ValueError with what is wrong."""
    text = text.strip()
    parts = urlsplit(text if "://" in text else f"tmtp://{text}")
    if parts.scheme != "tmtp":
        raise ValueError(f"an address begins with tmtp://, not {parts.scheme}://")
    if not parts.hostname:
        raise ValueError(f"{text} names no host; an address is host:port or tmtp://host:port#…")
    if parts.path.strip("/") or parts.query or parts.username:
        raise ValueError(f"{text} has more than host and port before its #")
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"{text} has no port between 1 and 65535") from None
    named = parse_qs(parts.fragment)
    if parts.fragment and not named:
        raise ValueError(f"behind the # of a link stand pin=… and invite=…, not {parts.fragment}")
    pin = named.get("pin", [None])[0]
    if pin is not None and not pin.startswith("sha256:"):
        raise ValueError("the pin begins with sha256:")
    return ServiceAddress(parts.hostname, port or DEFAULT_PORT, pin, named.get("invite", [None])[0])
