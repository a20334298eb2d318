# SPDX-License-Identifier: AGPL-3.0-or-later
"""Operations that write: messages, drafts, files to send, forms, settings (B1)."""

from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api.rooms import Handlers, Rooms, changed
from tmtp_client.engine import drafts
from tmtp_client.engine.composing import Composing
from tmtp_client.engine.rendering_process import Renderer
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
