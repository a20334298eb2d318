# SPDX-License-Identifier: AGPL-3.0-or-later
"""Operations that write: messages, drafts, files to send, forms, settings (B1)."""

import asyncio
from collections.abc import Sequence

from sqlalchemy import Connection as Rows

from tmtp_client import limits
from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api import problems
from tmtp_client.api.rooms import Handlers, Rooms, changed
from tmtp_client.engine import drafts
from tmtp_client.engine.composing import Composing
from tmtp_client.engine.rendering import plain
from tmtp_client.engine.rendering_process import Renderer
from tmtp_client.store import messages
from tmtp_client.sync import drafts as kept_drafts
from tmtp_client.sync import settings, state


class OnWriting:
    """Their handlers."""

    def __init__(self, rooms: Rooms, renderer: Renderer) -> None:
        self._rooms = rooms
        self._renderer = renderer

    def handlers(self) -> Handlers:
        """By their operations' names."""
        return {
            "messages.forward": self.forward,
            "threads.add": self.add_readers,
            "outbox.act": self.act,
            "drafts.list": self.list_drafts,
            "drafts.save": self.save_draft,
            "drafts.drop": self.drop_draft,
            "render": self.render,
            "messages.render": self.render_messages,
            "settings.list": self.list_settings,
            "settings.set": self.set_setting,
        }

    # -- messages ----------------------------------------------------------------------------------------------------
    async def forward(self, p: o.Forward) -> m.Waiting:
        """Forward with originals."""
        return await self._composing(p.account).forward(p)

    async def add_readers(self, p: o.AddReaders) -> m.Waiting:
        """Ask people into a conversation."""
        return await self._composing(p.account).add(p)

    async def act(self, p: o.OfWaiting) -> m.Done:
        """Undo, send now, retry, drop."""
        await self._composing(p.account).act(p.request, p.act)
        return m.Done()

    # -- drafts ------------------------------------------------------------------------------------------------------
    async def list_drafts(self, p: o.OfAccount) -> list[m.Draft]:
        """All of them, the one changed last first."""
        return await self._rooms.context(p.account).database.read(kept_drafts.all_of)

    async def save_draft(self, p: o.SaveDraft) -> m.Draft:
        """As typed; one that says nothing any more is none, and is answered as it came."""
        draft = await changed(self._rooms.context(p.account), lambda c, at: drafts.save(c, at, p.draft))
        return draft or m.Draft(p.draft.key)

    async def drop_draft(self, p: o.OfDraft) -> m.Done:
        """Throw it away, on all devices."""
        await changed(self._rooms.context(p.account), lambda c, at: drafts.drop(c, at, p.key))
        return m.Done()

    # -- the rest ----------------------------------------------------------------------------------------------------
    async def render(self, p: o.Render) -> m.Rendered:
        """Markdown as safe HTML."""
        return await self._renderer.render(p.text)

    async def render_messages(self, p: o.RenderMessages) -> m.Renderings:
        """A page of a conversation at once. What a stranger's texts may cost together is bounded, too."""
        if len(p.messages) > limits.PAGE_MAX:
            raise problems.usage(f"it takes {limits.PAGE_MAX} messages at most", "messages")
        texts = await self._rooms.context(p.account).database.read(lambda c: _texts(c, p.messages))
        left: list[str] = []
        html: dict[str, str] = {}
        clock = asyncio.get_running_loop().time
        until_s, room = clock() + limits.RENDER_MANY_S, limits.RENDER_MANY_BYTES
        for id, message in texts.items():
            if html and (clock() > until_s or room <= 0):
                left.append(id)
            elif message is not None:
                html[id] = await self._rendered(message)
                room -= len(html[id].encode())
            await asyncio.sleep(0)  # short texts are rendered here: others have their turn between them
        left += [id for id in dict.fromkeys(p.messages) if id not in texts]
        return m.Renderings(html, tuple(left))

    async def _rendered(self, message: m.Message) -> str:
        if message.plain:
            return await asyncio.to_thread(plain, message.text)
        return (await self._renderer.render(message.text)).html

    async def list_settings(self, p: o.OfAccount) -> o.Settings:
        """All of them."""
        return o.Settings(await self._rooms.context(p.account).database.read(settings.values))

    async def set_setting(self, p: o.SetSetting) -> o.Settings:
        """Change one, on all devices."""
        context = self._rooms.context(p.account)
        await changed(context, lambda c, at: state.set_setting(c, at, p.name, p.value), field="value")
        return o.Settings(await context.database.read(settings.values))

    def _composing(self, account: str) -> Composing:
        return Composing(self._rooms.context(account))


def _texts(c: Rows, ids: Sequence[str]) -> dict[str, m.Message | None]:
    """These messages, as many as there is room for, one at least; None: it is not here any more."""
    found: dict[str, m.Message | None] = {}
    room = limits.RENDER_MANY_TEXT_CHARACTERS
    for id in ids:
        if room <= 0:
            break
        found[id] = message = messages.view(c, id)
        room -= len(message.text) if message is not None else 0
    return found
