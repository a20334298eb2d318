# SPDX-License-Identifier: AGPL-3.0-or-later
"""Operations on conversations: read, mark, search (B1)."""

import asyncio
from collections.abc import Callable

import msgspec
from sqlalchemy import Connection as Rows

from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api import problems
from tmtp_client.api.rooms import NO_KEYS, NO_MESSAGE, NO_THREAD, Handlers, Rooms, changed, found
from tmtp_client.engine import sharing_keys, tags
from tmtp_client.store import messages, outbox, search, threads
from tmtp_client.sync import state
from tmtp_client.sync.registers import At


class OnConversation:
    """Their handlers."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def handlers(self) -> Handlers:
        """By their operations' names."""
        return {
            "threads.list": self.list_threads,
            "threads.read": self.read,
            "threads.mark": self.mark,
            "threads.share_key": self.share_key,
            "messages.latest": self.latest,
            "messages.show": self.show,
            "messages.seen": self.mark_seen,
            "outbox.list": self.waiting,
            "tags.list": self.tags,
            "search": self.search,
        }

    async def list_threads(self, p: o.ListThreads) -> m.Page:
        """Of one account, or of all: the same place in the list then stands for each of them."""
        _positive(p.limit, "limit")
        if p.of == "tag" and not p.tag:
            raise problems.usage("say which tag", "tag")
        pages = []
        for context in self._rooms.some(p.account):
            now_ms = context.clock()

            def listed(c: Rows, now_ms: int = now_ms) -> m.Page:
                return threads.list_page(c, p.of, now_ms=now_ms, tag_name=p.tag, after=p.after, limit=p.limit)

            page = await context.database.read(listed)
            if not p.account:
                of = [msgspec.structs.replace(thread, account=context.name) for thread in page.threads]
                page = m.Page(tuple(of), page.next)
            pages.append(page)
        return pages[0] if p.account else threads.merged(pages, p.limit)

    async def read(self, p: o.ReadThread) -> m.Messages:
        """A page of a conversation, and what waits in it."""
        _positive(p.limit, "limit")

        def read(c: Rows) -> m.Messages | None:
            page = messages.page(c, p.thread, before=p.before, around=p.around, limit=p.limit)
            return page and msgspec.structs.replace(page, waiting=outbox.waiting(c, p.thread))

        return found(await self._rooms.context(p.account).database.read(read), NO_THREAD, "thread")

    async def mark(self, p: o.MarkThread) -> m.Thread:
        """Archive, mute, snooze, tag, encrypt."""

        def mark(c: Rows, at: At) -> m.Thread | None:
            marks = {"archived": p.archived, "muted": p.muted, "snoozed_until_ms": p.snoozed_until_ms}
            tags.mark_thread(c, at, p.thread, **marks, tag=p.tag, untag=p.untag, encryption=p.encryption)  # type: ignore[arg-type]
            return threads.view(c, p.thread)

        thread = await changed(self._rooms.context(p.account), mark, field="thread", what=NO_THREAD)
        return found(thread, NO_THREAD, "thread")

    async def share_key(self, p: o.ShareKey) -> m.Thread:
        """A key that its readers share."""
        account = self._rooms.account(p.account)
        if account.context.trust is None:
            raise problems.refused(NO_KEYS, "account")
        account.reopen(await sharing_keys.share(account.context, p.thread, p.passphrase))
        return found(await account.context.database.read(lambda c: threads.view(c, p.thread)), NO_THREAD, "thread")

    async def latest(self, p: o.Latest) -> list[m.Message]:
        """The latest messages of an account."""
        _positive(p.limit, "limit")
        return await self._rooms.context(p.account).database.read(lambda c: messages.latest(c, p.limit))

    async def show(self, p: o.OfMessage) -> m.Message:
        """One message."""

        def show(c: Rows) -> m.Message | None:
            id = messages.named(c, p.message)
            return messages.view(c, id) if id is not None else None

        return found(await self._rooms.context(p.account).database.read(show), NO_MESSAGE, "message")

    async def mark_seen(self, p: o.MarkSeen) -> m.Done:
        """Messages, or a conversation up to one of them."""
        if bool(p.messages) == bool(p.thread):
            raise problems.usage("say which messages, or which conversation", "messages")

        def mark(c: Rows, at: At) -> None:
            if p.thread:
                if threads.view(c, p.thread) is None:
                    raise problems.not_found(NO_THREAD, "thread")
                state.mark_thread_seen(c, at, p.thread, p.upto, p.seen)
            else:
                state.mark_seen(c, at, p.messages, p.seen)

        await changed(self._rooms.context(p.account), mark)
        return m.Done()

    async def waiting(self, p: o.OfAccount) -> list[m.Waiting]:
        """What the service has not got yet."""
        return list(await self._rooms.context(p.account).database.read(outbox.waiting))

    async def tags(self, p: o.OfAccount) -> list[m.Tag]:
        """Tags in use."""
        return await self._rooms.context(p.account).database.read(threads.tags)

    async def search(self, p: o.Search) -> m.Results:
        """In one account, or in all of them at once."""
        _positive(p.limit, "limit")
        if p.skip < 0:
            raise problems.usage("it cannot be less than none", "skip")
        query = search.parse(p.query, None)  # days begin where this device is
        contexts = self._rooms.some(p.account)
        if not contexts:
            return m.Results((), problem=query.problem)

        def find(name: str) -> Callable[[Rows], search.Hits]:
            return lambda c: search.find(c, query, account=name, limit=p.skip + p.limit)

        hits = await asyncio.gather(*(context.database.read(find(context.name)) for context in contexts))
        return search.merged(hits, limit=p.limit, skip=p.skip)


def _positive(number: int, field: str) -> None:
    if number < 1:
        raise problems.usage("it has to be at least one", field)
