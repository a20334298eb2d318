# SPDX-License-Identifier: AGPL-3.0-or-later
"""Instances with a policy of their own, and people on them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.devices import KeyDevice, fresh_id, newcomer
from tests.support.instance import TestInstance, running_instance
from tmtp_core.domain.policy import Acquaintance, Policy
from tmtp_core.wire import messages as m

DAY_S = 24 * 3600


@asynccontextmanager
async def instance_with(
    folder: Path, strictness: str = "introduction", *, registration: str = "open", **policy: Any
) -> AsyncIterator[TestInstance]:
    """An instance with this strictness of acquaintance, and other rules of `Policy`."""
    rules = Policy(acquaintance=Acquaintance(strictness), **policy)
    async with running_instance(folder / "instance", policy=rules, registration=registration) as instance:
        yield instance


async def people(instance: TestInstance, *aliases: str) -> list[KeyDevice]:
    """New members, a device each."""
    return [await newcomer(instance, alias) for alias in aliases]


async def may_post(one: KeyDevice, other: KeyDevice) -> bool:
    """Whether a post goes through, and arrives."""
    text = fresh_id().encode()
    try:
        await one.post(other.uid, data=text)
    except Exception as refused:
        assert str(refused) == "not acquainted"
        return False
    while (await other.next(m.Delivery))[1] != text:
        pass
    return True


async def form_group(gid: str, founder: KeyDevice, *members: KeyDevice) -> None:
    """A group that all of these have joined."""
    for member in members:
        alias = (await member.aliases())[0]
        await founder.connection.group_invite(fresh_id(), gid, (await founder.aliases())[0], alias)
        await member.connection.ask(m.GroupEdit(fresh_id(), "join", gid))


def to_group(gid: str) -> list[m.Recipient]:
    """`for` of a post through a group."""
    return [m.Recipient(gid, m.TO_GROUP_NOT_SELF)]
