# SPDX-License-Identifier: AGPL-3.0-or-later
"""The operations on the service as a whole: overview, settings, bridges, the audit log, tokens, the console (C1)."""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Protocol

from gateway.administration import models as m
from gateway.administration.audit import AuditLog
from gateway.administration.backup_folder import BackupFolder
from gateway.administration.errors import Denied, Invalid
from gateway.administration.on_instances import Administered, Handler
from gateway.administration.operations import Actor
from gateway.administration.scopes import ROLES, Scope
from gateway.administration.tokens import Tokens
from gateway.settings import Settings, settings_yaml
from tmtp_core.clock import Clock
from tmtp_core.errors import RequestRefused
from tmtp_core.latency import quantile_ms

_STATM: Final = Path("/proc/self/statm")  # Linux: pages of 4 KiB mostly; the second number is what is in memory
_AUDIT_PAGE: Final = 100


class ConsoleAccess(Protocol):
    """Lets people into the console and keeps them out: the console's own affair."""

    async def make(self, wanted: m.CreateSignInLink) -> m.SignInLink:
        """A link that is good once, for minutes. Raises `RequestRefused`."""
        ...

    async def everybody(self) -> list[m.ConsolePerson]:
        """All who may enter, by name."""
        ...

    async def remove(self, person: str) -> None:
        """From now on this person may not enter. Raises `NotFound`."""
        ...


class ServiceOperations:
    """Performs them. What it raises is in `gateway.administration.errors`."""

    def __init__(
        self,
        settings: Settings,
        instances: Mapping[str, Administered],
        running_bridges: Callable[[], Awaitable[frozenset[str]]],
        audit: AuditLog,
        tokens: Tokens,
        clock: Clock,
    ) -> None:
        self.console: ConsoleAccess | None = None
        self._settings = settings
        self._instances = instances
        self._running_bridges = running_bridges
        self._audit = audit
        self._tokens = tokens
        self._clock = clock
        self._backups = BackupFolder(settings.backup)
        self._started_ms = self._now_ms()
        self._version = version("tmtp-gateway")

    def handlers(self) -> dict[str, Handler]:
        """By the names of the operations."""
        return {
            "overview": self._overview,
            "settings": self._show_settings,
            "bridges.list": self._list_bridges,
            "audit.list": self._list_audit,
            "audit.verify": self._verify_audit,
            "tokens.list": self._list_tokens,
            "tokens.create": self._create_token,
            "tokens.revoke": self._revoke_token,
            "console.link": self._make_link,
            "console.people": self._list_people,
            "console.remove": self._remove_person,
        }

    # -- the service now ---------------------------------------------------------------------------------------------
    async def _overview(self, actor: Actor, asked: Any, body: None) -> m.Overview:
        seen = [name for name in self._instances if actor.may_see(name)]
        figures = [await self._figures(name) for name in seen]
        disk = await asyncio.to_thread(shutil.disk_usage, self._settings.data_dir)
        ends = [self._instances[name].certificate.ends_s * 1000 for name in seen]
        return m.Overview(
            version=self._version,
            started_ms=self._started_ms,
            now_ms=self._now_ms(),
            rss_bytes=_rss_bytes(),
            disk_free_bytes=disk.free,
            disk_total_bytes=disk.total,
            certificate_ends_ms=min(ends, default=None),
            backups=await self._backups.look(),
            instances=figures,
        )

    async def _figures(self, name: str) -> m.InstanceFigures:
        instance = self._instances[name]
        settings = next(one for one in self._settings.instances if one.name == name)
        figures = instance.service.figures()
        census = await instance.service.census()
        acks = instance.history.recent_acks()
        return m.InstanceFigures(
            instance=name,
            title=settings.announced_title,
            policy=settings.policy,
            registration=settings.registration,
            healthy=instance.service.healthy,
            links=int(figures["links"]),
            devices_connected=int(figures["devices_connected"]),
            accounts=census.accounts,
            accounts_barred=census.barred,
            invitations_open=census.invitations,
            reports_open=census.reports,
            messages_queued=int(figures["messages_queued"]),
            bytes_queued=await instance.octets.get(),
            oldest_queued_ms=census.oldest_ms,
            deliveries_total=int(figures["deliveries_total"]),
            commits_total=int(figures["commits_total"]),
            commit_failures_total=int(figures["commit_failures_total"]),
            ack_ms_p50=quantile_ms(acks, 0.5),
            ack_ms_p99=quantile_ms(acks, 0.99),
            archive="none",
            link=instance.address().link(),
        )

    async def _show_settings(self, actor: Actor, asked: Any, body: None) -> m.SettingsShown:
        return m.SettingsShown(file=str(self._settings.source or ""), yaml=settings_yaml(self._settings))

    async def _list_bridges(self, actor: Actor, asked: Any, body: None) -> list[m.Bridge]:
        running = await self._running_bridges()
        return [
            m.Bridge(
                name=one.name,
                instance=one.instance,
                kind="smtp",
                listen=", ".join(f"{kind} {address}" for door in one.listen for kind, address in door.named()),
                running=one.name in running,
                senders=len(one.senders),
                routes=len(one.routes),
            )
            for one in self._settings.bridges.smtp
            if actor.may_see(one.instance)
        ]

    # -- the audit log -----------------------------------------------------------------------------------------------
    async def _list_audit(self, actor: Actor, asked: Any, body: None) -> m.AuditPage:
        return await self._audit.page(asked.before, asked.limit or _AUDIT_PAGE)

    async def _verify_audit(self, actor: Actor, asked: Any, body: None) -> m.AuditVerdict:
        return await self._audit.verify()

    # -- who else may administer: nobody gives more than he has ------------------------------------------------------
    async def _list_tokens(self, actor: Actor, asked: Any, body: None) -> list[m.Token]:
        return await self._tokens.list()

    async def _create_token(self, actor: Actor, asked: Any, body: m.CreateToken) -> m.NewToken:
        unknown = [name for name in body.instances if name not in self._instances]
        if unknown:
            raise Invalid(f"there is no instance {unknown[0]}; the file has: {', '.join(self._instances)}")
        _refuse_more(actor, frozenset(body.scopes))
        _refuse_longer(actor, body.expires_ms)
        return await self._tokens.create(body)

    async def _revoke_token(self, actor: Actor, asked: Any, body: None) -> m.Done:
        await self._tokens.revoke(asked.number)
        return m.Done()

    async def _make_link(self, actor: Actor, asked: Any, body: m.CreateSignInLink) -> m.SignInLink:
        _refuse_more(actor, ROLES[body.role])
        _refuse_longer(actor, None)  # whoever has signed in once stays a person of the console
        return await self._console().make(body)

    async def _list_people(self, actor: Actor, asked: Any, body: None) -> list[m.ConsolePerson]:
        return await self._console().everybody()

    async def _remove_person(self, actor: Actor, asked: Any, body: None) -> m.Done:
        await self._console().remove(asked.person)
        return m.Done()

    def _console(self) -> ConsoleAccess:
        if self.console is not None:
            return self.console
        if self._settings.administration.listen is None:
            raise RequestRefused("there is no console: the settings file has no administration: {listen: …}")
        raise RequestRefused("the console is there only while the gateway runs; start it first")

    def _now_ms(self) -> int:
        return self._clock.wall_ns() // 1_000_000


def _refuse_more(actor: Actor, scopes: frozenset[Scope]) -> None:
    more = sorted(scopes - actor.scopes)
    if more:
        raise Denied(f"{actor.name} may not {', '.join(more)}, and cannot let others do so")


def _refuse_longer(actor: Actor, until_ms: int | None) -> None:
    if actor.until_ms is not None and (until_ms is None or until_ms > actor.until_ms):
        raise Denied(f"{actor.name} ends, and cannot let others do anything for longer")


def _rss_bytes() -> int:
    """What this process has in memory; 0 where the system does not say."""
    try:
        return int(_STATM.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
