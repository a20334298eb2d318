# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prekeys (docs/protocol.md, op 19): one a week, signed by its device, so that what was sealed is safe from who takes
the device later.

One's own: the secret is on the disk before the service has the key, and goes after 30 days, but not before what waited
for this device has come. Others': used when the device signed it, for this account and service, and not long ago; an
older one than was seen before never is.
"""

from collections.abc import Iterable
from typing import Final

from nacl.public import PrivateKey
from sqlalchemy import Connection as Rows
from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from tmtp_client import limits
from tmtp_client.store import tables as t
from tmtp_client.trust.logs import KeptLog
from tmtp_client.trust.ports import Own
from tmtp_core import limits as core_limits
from tmtp_core.crypto.account_log import LogState
from tmtp_core.crypto.encoding import from_text, to_text
from tmtp_core.crypto.signing import SEED_BYTES, check_box_key, signed_by
from tmtp_core.ids import RandomBytes
from tmtp_core.prepared import Prepared
from tmtp_core.wire import revision2 as m2

_SKEW_MS: Final = core_limits.PREKEY_CLOCK_SKEW_MS
_SECRET: Final = Prepared(select(t.prekey.c.secret).where(t.prekey.c.key == bindparam("key")))
_THEIRS: Final = Prepared(
    select(t.their_prekey.c.key, t.their_prekey.c.made_ms).where(
        t.their_prekey.c.uid == bindparam("uid"), t.their_prekey.c.device == bindparam("device")
    )
)


# -- one's own -------------------------------------------------------------------------------------------------------
def due(c: Rows, random_bytes: RandomBytes, now_ms: int) -> tuple[str, int] | None:
    """The prekey to be published now, and when it was made; None: the published one is of this week."""
    newest = c.execute(select(t.prekey).order_by(t.prekey.c.made_ms.desc(), t.prekey.c.key).limit(1)).one_or_none()
    fresh = newest is not None and now_ms - limits.PREKEY_EVERY_MS < newest.made_ms <= now_ms + _SKEW_MS
    if newest is not None and fresh:
        return None if newest.published else (newest.key, newest.made_ms)
    secret = random_bytes(SEED_BYTES)
    key = to_text(bytes(PrivateKey(secret).public_key))
    c.execute(insert(t.prekey), {"key": key, "secret": secret, "made_ms": now_ms, "published": 0})
    return key, now_ms


def signed(own: Own, request_id: str, key: str, made_ms: int) -> m2.KeyEdit:
    """Op 19 for a prekey."""
    what = m2.prekey_signed(from_text(own.service_key), own.uid, made_ms, from_text(key))
    return m2.KeyEdit(request_id, key, made_ms, own.keys.signer.sign(*what))


def published(c: Rows, key: str) -> None:
    """The service has it."""
    c.execute(update(t.prekey).where(t.prekey.c.key == key).values(published=1))


def drop_old(c: Rows, now_ms: int) -> int:
    """Forget secrets of more than 30 days ago. Only once what waited for this device has come, and never while the
    service has no newer key: a clock that runs ahead takes none away.
    """
    newest = c.scalar(
        select(t.prekey.c.made_ms).where(t.prekey.c.published == 1).order_by(t.prekey.c.made_ms.desc()).limit(1)
    )
    if newest is None or not now_ms - limits.PREKEY_EVERY_MS - _SKEW_MS <= newest <= now_ms + _SKEW_MS:
        return 0
    return c.execute(delete(t.prekey).where(t.prekey.c.made_ms < now_ms - limits.PREKEY_KEPT_MS)).rowcount


def secret(c: Rows, key: str) -> bytes | None:
    """The private half of one's own prekey, if it is still here."""
    found = _SECRET(c, {"key": key}).fetchone()
    return None if found is None else bytes(found[0])


# -- others' ---------------------------------------------------------------------------------------------------------
def take(c: Rows, service_key: str, log: KeptLog, shown: Iterable[m2.Prekey]) -> None:
    """Keep the newest prekey of each device that its device has signed. Others are left alone: its `box` serves."""
    for one in shown:
        known = c.scalar(
            select(t.their_prekey.c.made_ms).where(
                t.their_prekey.c.uid == log.uid, t.their_prekey.c.device == one.device
            )
        )
        if (known is None or one.time > known) and holds(service_key, log.uid, log.state, one):
            values = {"uid": log.uid, "device": one.device, "key": one.key, "made_ms": one.time}
            kept = upsert(t.their_prekey).values(values)
            c.execute(kept.on_conflict_do_update(index_elements=["uid", "device"], set_=values))


def holds(service_key: str, uid: str, log: LogState, one: m2.Prekey) -> bool:
    """Whether a device of this log signed this prekey, for this account at this service."""
    if one.device not in log.devices or not 0 <= one.time < 2**63:
        return False
    try:
        key = check_box_key(one.key)
    except ValueError:
        return False
    return signed_by(one.device, one.sig, *m2.prekey_signed(from_text(service_key), uid, one.time, key))


def usable(c: Rows, uid: str, device: str, now_ms: int) -> str | None:
    """A device's prekey, if it is young enough to seal to: made at most 14 days ago, and not in the future."""
    row = _THEIRS(c, {"uid": uid, "device": device}).fetchone()
    if row is None or not now_ms - limits.PREKEY_USED_MS <= row[1] <= now_ms + _SKEW_MS:
        return None
    return str(row[0])
