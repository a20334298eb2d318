# SPDX-License-Identifier: AGPL-3.0-or-later
"""What administrators should look at, said to the route that the setting `tell` names, in the bridge's own name (C2).

In memory only: what matters for longer stands in the log, and in the console. One of a kind an hour.
"""

import asyncio
from collections import OrderedDict, deque
from typing import Final

import structlog

from bridges import limits
from bridges.mime.readable import NOTE_MARK, one_line
from bridges.smtp.posts.posting import refused_for_now
from tmtp_client.connection import Disconnected, PersistentConnection, Refused
from tmtp_core.clock import Clock
from tmtp_core.ids import RandomBytes
from tmtp_core.wire.messages import TO_UID, Outsider, Recipient
from tmtp_core.wire.payload import PostHead, Subscriber, encode_post_head

log = structlog.get_logger()

OWN_PROOF: Final = "gateway"
"""The proof in the mark of what a bridge says itself."""

_SUBJECT: Final = "[gateway] For administrators"
_ID_BYTES: Final = 16


def own_address(hostname: str) -> str:
    """The address in whose name a bridge speaks itself."""
    return f"postmaster@{hostname}".lower()


class Telling:
    """Tells the administrators of one bridge; `uid`: its account. `route` None: the log only."""

    def __init__(
        self, bridge: str, uid: str, hostname: str, route: str | None, clock: Clock, random_bytes: RandomBytes
    ) -> None:
        self._bridge = bridge
        self._uid = uid
        self._address = own_address(hostname)
        self._route = route
        self._clock = clock
        self._random_bytes = random_bytes
        self._said_s: OrderedDict[str, float] = OrderedDict()  # by kind
        self._waiting: deque[tuple[str, str]] = deque()  # id and text
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, service: PersistentConnection) -> None:
        """Send what is told from now on."""
        self._task = asyncio.get_running_loop().create_task(self._send(service))

    async def stop(self) -> None:
        """Send no more. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def tell(self, text: str, kind: str = "") -> None:
        """Say it once an hour; `kind`: what it is the same as, if not the text itself. Never waits, never raises."""
        log.warning("smtp_for_administrators", bridge=self._bridge, text=text)
        full = len(self._waiting) >= limits.TELLINGS_MAX
        if self._route is None or full or not self._is_news(kind or text):
            return
        self._waiting.append((f"smtp-tell-{self._random_bytes(_ID_BYTES).hex()}", text))
        self._woken.set()

    def _is_news(self, kind: str) -> bool:
        now_s = self._clock.monotonic_s()
        said_s = self._said_s.get(kind)
        if said_s is not None and now_s - said_s < limits.TELL_EVERY_S:
            return False
        self._said_s[kind] = now_s
        self._said_s.move_to_end(kind)
        while len(self._said_s) > limits.TELLINGS_MAX:
            self._said_s.popitem(last=False)
        return True

    async def _send(self, service: PersistentConnection) -> None:
        while True:
            while self._waiting:
                if await self._posted(service, *self._waiting[0]):
                    self._waiting.popleft()
                else:
                    await asyncio.sleep(limits.TELL_AGAIN_S)
            self._woken.clear()
            await self._woken.wait()

    async def _posted(self, service: PersistentConnection, post: str, text: str) -> bool:
        """Whether this is done with."""
        assert self._route is not None
        author = Subscriber(who=self._address, whouid=self._uid, by=self._address, byuid=self._uid)
        head = encode_post_head(PostHead(threadid="", alias=self._address, subject=_SUBJECT, cc=(author,)))
        data = head + own_words(text).encode()
        try:
            connection = await service.current(limits.SERVICE_WAIT_S)
            to = [Recipient(self._route, TO_UID)]
            await connection.post(post, to, data, datahead=len(head), as_=Outsider(self._address, OWN_PROOF))
        except (Disconnected, TimeoutError):
            return False
        except Refused as refused:
            if refused_for_now(refused):
                return False
            log.warning("smtp_administrators_not_told", bridge=self._bridge, error=str(refused))
        return True


def own_words(text: str) -> str:
    """What the bridge itself says, each line marked as its own."""
    return "\n".join(f"{NOTE_MARK} {one_line(line)}" for line in text.splitlines() if line.strip())
