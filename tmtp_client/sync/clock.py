# SPDX-License-Identifier: AGPL-3.0-or-later
"""A hybrid logical clock: which of two edits is the later one, on devices whose clocks disagree (decision 26).

A stamp is text that sorts as its edit does: twelve hexadecimal digits of milliseconds since 1970, four that count edits
within one of them, and the device, so that no two devices make the same. After Kulkarni et al., "Logical Physical
Clocks" (2014), with a bound on how far into the future another device is believed.
"""

import hashlib
import re
from typing import Final, NamedTuple

from tmtp_client import limits
from tmtp_core.crypto.encoding import to_text

DEVICE_CHARACTERS: Final = 16
_COUNTER_MAX: Final = 0xFFFF
_FORM: Final = re.compile(rf"([0-9a-f]{{12}})-([0-9a-f]{{4}})-([A-Za-z0-9_-]{{{DEVICE_CHARACTERS}}})")


class Stamp(NamedTuple):
    """When an edit was made, as far as clocks can say, and where. Sorts as its text does."""

    ms: int
    counter: int
    device: str

    @property
    def text(self) -> str:
        """As it is kept and told."""
        return f"{self.ms:012x}-{self.counter:04x}-{self.device}"

    def next_on(self, device: str) -> "Stamp":
        """The first one after this that `device` can make. Raises `OverflowError` at the end of all times."""
        if self.counter < _COUNTER_MAX:
            return Stamp(self.ms, self.counter + 1, device)
        if self.ms >= limits.STAMP_MAX_MS:
            raise OverflowError("there is no later stamp than this")
        return Stamp(self.ms + 1, 0, device)


def read_stamp(text: str) -> Stamp | None:
    """A stamp from its text; None for what is none, or is later than the year 9999."""
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    stamp = Stamp(int(found[1], 16), int(found[2], 16), found[3])
    return stamp if stamp.ms <= limits.STAMP_MAX_MS else None


def device_name(key: bytes) -> str:
    """What a device is called in its stamps: a hash of its public key, or, under revision 1, of its secret."""
    return to_text(hashlib.blake2b(key, digest_size=12, person=b"tmtp-sync").digest())


def tick(latest: Stamp | None, now_ms: int, device: str) -> Stamp:
    """The clock's next reading, later than `latest`, its one before, also where `now_ms` has run back since."""
    fresh = Stamp(min(max(now_ms, 0), limits.STAMP_MAX_MS), 0, device)
    return fresh if latest is None or fresh.ms > latest.ms else latest.next_on(device)


def heard(latest: Stamp | None, other: Stamp, now_ms: int) -> Stamp | None:
    """The clock after another device's stamp: what is done here next is later than what was done there.

    A stamp further ahead of `now_ms` than `limits.BELIEVED_AHEAD_MS` leaves the clock as it is: else one device with
    a wrong clock would drag all others into its future, for ever. Edits of what such a stamp stands on are still the
    later ones: `registers.set` sees to that, register by register.
    """
    if other.ms > now_ms + limits.BELIEVED_AHEAD_MS:
        return latest
    return other if latest is None else max(latest, other)
