# SPDX-License-Identifier: AGPL-3.0-or-later
"""The engine's rooms over the devices of `trust_world`: what a post makes of a history, with no socket and no file."""

from typing import Any, cast

from tests.support.trust_world import Device, Post
from tmtp_client.engine.arrival import After, Arrival
from tmtp_client.engine.arriving import arrive
from tmtp_client.engine.context import Context
from tmtp_client.store import threads
from tmtp_client.store.identity import Identity
from tmtp_client.trust import Plan, SharedKey, ToSeal
from tmtp_core.crypto.envelope import Delivered, Octets, Opened, Opening
from tmtp_core.crypto.sealed_heads import decode_outer
from tmtp_core.ids import posted_text
from tmtp_core.wire import messages as m
from tmtp_core.wire.payload import PostHead, Subscriber, encode_post_head

_FILES = cast(Any, None)


def context_of(device: Device) -> Context:
    """A device's account as the engine's parts see it."""
    world = device.world
    identity = Identity(
        device.account.uid,
        "",
        device.account.uid[:6],
        "127.0.0.1",
        1,
        None,
        None,
        "Test",
        keys=device.keys,
        service_key=world.service.public,
    )
    kept = cast(Any, device.database)
    return Context("a", identity, kept, _FILES, device.trust, world.clock, world.random_bytes, lambda type, data: None)


def posts(device: Device, head: PostHead, text: str, *uids: str, shared: SharedKey | None = None) -> Post:
    """A sealed post with any head, by whatever means: also of a device that may not."""
    plan = device.database.do(lambda c: device.trust.plan(c, uids))
    assert isinstance(plan, Plan), plan
    device.requests += 1
    request_id = f"{device.name} {device.requests}"
    recipients = tuple(m.Recipient(uid, m.TO_UID) for uid in uids)
    to_seal = ToSeal(request_id, recipients, encode_post_head(head), text.encode())
    composed = device.database.do(lambda c: device.trust.prepare(c, to_seal, plan, shared))
    post = device.world.post(device, uids, composed.outer, device.stream(composed, text))
    device.database.do(lambda c: device.trust.sent(c, request_id, post.id))
    return post


def comes(device: Device, post: Post) -> After:
    """The service brings a sealed post, and the engine keeps what follows. (It is taken out of the queue.)"""
    if post in device.queue:
        device.queue.remove(post)
    world, e2e = device.world, decode_outer(post.outer)
    key = device.database.do(lambda c: device.trust.key_for(c, post.id, e2e))
    assert key is not None
    opening = Opening(
        key, post.outer, len(post.stream), Delivered(world.service.public_key, post.author, device.account.uid)
    )
    given = opening.push(post.stream)
    opening.finish()
    opened = next(one for one in given if isinstance(one, Opened))
    text = b"".join(one.data for one in given if isinstance(one, Octets)).decode()
    event = m.Delivery(id=post.id, from_=post.author, posted=post.posted, datalen=0, alias=post.author[:6])
    arrival = Arrival(event, world.now_ms, opened.head, text, suite=e2e.suite, opened=opened)
    return device.database.do(lambda c: arrive(c, context_of(device), arrival))


def comes_plain(device: Device, author: str, head: PostHead, text: str) -> str:
    """The service brings a post that is not sealed: its id."""
    world = device.world
    event = m.Delivery(id=world.new_id(), from_=author, posted=posted_text(world.now_ms), datalen=0, alias=author[:6])
    arrival = Arrival(event, world.now_ms, head, text)
    device.database.do(lambda c: arrive(c, context_of(device), arrival))
    return event.id


def cc(*uids: str) -> tuple[Subscriber, ...]:
    """The readers that a new thread names."""
    return tuple(Subscriber(uid[:6], uid, "", "", ".", "", subscribe=True) for uid in uids)


def readers(device: Device, thread: str) -> set[str]:
    """Who reads a thread, as a device has it."""
    return {one.uid for one in device.database.do(lambda c: threads.readers(c, thread))}
