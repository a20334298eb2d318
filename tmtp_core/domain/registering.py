# SPDX-License-Identifier: AGPL-3.0-or-later
"""How fast an instance takes strangers: so many an address, and for more of them at once, work (A2, D3).

All of it is in memory and decided before anything is looked up: who is refused costs nothing.
"""

import ipaddress
import math
from collections import OrderedDict
from dataclasses import dataclass

from tmtp_core import limits

TOO_MANY_HERE = "too many registrations from your address, try again later"
TOO_MANY = "too many people register just now, try again later"
WORK_REQUIRED = "proof of work required"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_IPV6_PREFIX = 64
_MINUTE_S = 60.0
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class RegistrationLimits:
    """What an administrator sets (`registrations:`). `per_minute` 0: work is never asked for.

    `uncounted`: networks whose addresses are many people's, or a proxy's.
    """

    per_address_per_hour: int = 20
    per_minute: int = 30
    uncounted: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1"))


class RegistrationPace:
    """One instance's, as this process sees it. `now_s` is monotonic seconds, and never less than before."""

    def __init__(self, chosen: RegistrationLimits) -> None:
        self._chosen = chosen
        self._of: OrderedDict[str, tuple[float, float]] = (
            OrderedDict()
        )  # address: what is left of its share, as of when
        self._recent = 0.0  # accounts opened, those of long ago counting less and less
        self._recent_s = 0.0

    def refusal(self, address: str, now_s: float) -> str | None:
        """Count one attempt of an address; why it is refused, if it is."""
        key = self._counted_as(address)
        if key is None:
            return None
        most = float(self._chosen.per_address_per_hour)
        left, since_s = self._of.pop(key, (most, now_s))
        left = min(most, left + (now_s - since_s) * most / _HOUR_S)
        self._of[key] = (left - 1 if left >= 1 else left), now_s
        if len(self._of) > limits.REGISTRATION_ADDRESSES_MAX:
            self._of.popitem(last=False)  # who has been away longest
        return None if left >= 1 else TOO_MANY_HERE

    def opened(self, now_s: float) -> None:
        """An account was opened by somebody who is nobody's guest."""
        self._recent = self._lately(now_s) + 1
        self._recent_s = now_s

    def bits(self, now_s: float) -> int:
        """How much work a registration takes now; 0 for none. One bit more for each doubling of the pace."""
        if not self._chosen.per_minute:
            return 0
        pace = self._lately(now_s) / self._chosen.per_minute
        if pace < 1:
            return 0
        return min(limits.WORK_BITS_MIN + math.floor(math.log2(pace)), limits.WORK_BITS_MAX)

    def _lately(self, now_s: float) -> float:
        """About how many were opened in the last minute."""
        return self._recent * math.exp((self._recent_s - now_s) / _MINUTE_S)

    def _counted_as(self, address: str) -> str | None:
        """An IPv4 address, or the network that one IPv6 customer has; None for one that is not counted."""
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return None  # no address: a socket of this machine
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        if any(parsed in network for network in self._chosen.uncounted):
            return None
        if isinstance(parsed, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((parsed, _IPV6_PREFIX), strict=False))
        return str(parsed)
