# SPDX-License-Identifier: AGPL-3.0-or-later
"""Addresses of other services that this program asks: over TLS, unless they are on this machine."""

import ipaddress
from typing import Any
from urllib.parse import urlsplit


def check_url(url: Any) -> str:
    """An address that may be asked: https, or http on this machine. Raises ValueError."""
    if not isinstance(url, str) or not url.isascii() or not url.isprintable():
        raise ValueError("no address")
    parts = urlsplit(url)
    host = parts.hostname
    if not host or "@" in parts.netloc or parts.fragment or parts.port == 0:
        raise ValueError("no address of a provider")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise ValueError("a provider is asked by https")
    return url


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
