# SPDX-License-Identifier: AGPL-3.0-or-later
"""The work that a registration takes while many register (docs/protocol.md, *Registering*)."""

import asyncio
from collections.abc import Callable
from time import monotonic

from tmtp_client import limits
from tmtp_client.connection.refused import Refused
from tmtp_core.crypto.possession import Channel
from tmtp_core.crypto.work import work_done
from tmtp_core.wire.messages import TmtpRevAnswer

OnWork = Callable[[int, int], None]
"""Hears how many tries were made, of about how many; on a thread of its own."""


async def worked(greeting: TmtpRevAnswer, channel: Channel, device: str, on_work: OnWork | None) -> str:
    """What the greeting asks for, or "" where it asks for nothing.

    Raises `Refused` for more than a device should do, or where the service's time for it runs out.
    """
    asked = greeting.work
    if asked is None:
        return ""
    if not 0 <= asked.bits <= limits.WORK_BITS_MAX:
        raise Refused(f"the service asks for {asked.bits} bits of work; {limits.WORK_BITS_MAX} are the most")
    until_s = monotonic() + asked.seconds
    stopped = asyncio.Event()

    def go_on(tried: int) -> bool:
        if on_work is not None:
            on_work(tried, 1 << asked.bits)
        return not stopped.is_set() and monotonic() < until_s

    try:
        answer = await asyncio.to_thread(work_done, asked.bits, channel.nonce, channel.service_key, device, go_on)
    finally:
        stopped.set()  # the thread hears of it
    if answer is None:
        raise Refused("the work that the service asks for took too long; try again")
    return answer
