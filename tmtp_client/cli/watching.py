# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp watch`: what comes, as it comes (B1). While it runs, other terminals use its engine as a daemon's."""

import asyncio
from collections.abc import Iterable

from tmtp_client import limits
from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api.client import Client
from tmtp_client.api.problems import ProblemError
from tmtp_client.cli.common import AccountOption, JsonOption, err, fail_by, out, plain, print_json_line, say, warn
from tmtp_client.cli.session import account_of, listening, opened, trouble_of, with_subjects
from tmtp_client.cli.show import print_message


def watch(account: AccountOption = "", as_json: JsonOption = False) -> None:
    """Show messages as they come, of all your accounts or of one, until Ctrl-C; first those that are new.

    Meanwhile tmtp ping, tmtp send and the others work from other terminals.

    Example: tmtp watch
    """
    try:
        asyncio.run(_Watch(account, as_json=as_json).run())
    except ProblemError as error:
        fail_by(error.problem)


class _Watch:
    """Goes on where it was when a daemon that it asked ends: then it runs the engine itself."""

    def __init__(self, account: str, *, as_json: bool) -> None:
        self._account = account
        self._as_json = as_json
        self._known: set[tuple[str, str]] = set()
        self._troubles: dict[str, str] = {}
        self._refused: dict[str, ProblemError] = {}
        self._said = False

    async def run(self) -> None:
        """For ever. Raises `ProblemError` where it cannot begin."""
        while True:
            async with opened(serves=True) as client:
                names = await self._begin(client)
                try:
                    await self._follow(client, names)
                except ProblemError as error:
                    if error.problem.code != "not_now":
                        raise
            await asyncio.sleep(limits.HOME_POLL_S)

    async def _begin(self, client: Client) -> list[str]:
        if self._account:
            accounts = [await account_of(client, self._account)]
        else:
            accounts = await client.call("accounts.list") or [await account_of(client, "")]
        if not self._said and not self._as_json:
            who = ", ".join(f"{one.alias} on {one.service}" for one in accounts)
            say(f"Watching as {who}; Ctrl-C ends it.", to=err)
        self._said = True
        return [one.name for one in accounts]

    async def _follow(self, client: Client, names: list[str]) -> None:
        several = len(names) > 1
        async with listening(client) as heard:
            for name in names:
                await self._show_latest(client, name, several=several)
            for account in await client.call("accounts.list"):
                self._tell_how(account, several=several)
            while True:
                self._go_on(names)
                event = await heard.next()
                data = event.data
                if isinstance(data, m.HomeEvent) and data.home.locked:
                    raise ProblemError("locked", "")
                if event.account not in names:
                    continue
                if isinstance(data, m.MessageEvent):
                    await self._show(client, event.account, [data.message], several=several)
                elif isinstance(data, m.GapEvent):  # what came meanwhile is not told one by one any more
                    await self._show_latest(client, event.account, several=several)
                elif isinstance(data, m.AccountEvent):
                    self._tell_how(data.account, several=several)

    def _go_on(self, names: list[str]) -> None:
        """Raises `ProblemError` once no service lets any of these in: nothing will come until the person mends that."""
        if all(name in self._refused for name in names):
            raise self._refused[names[0]]

    async def _show_latest(self, client: Client, account: str, *, several: bool) -> None:
        latest: list[m.Message] = await client.call("messages.latest", o.Latest(account, limits.PAGE_MAX))
        await self._show(client, account, latest, several=several)

    async def _show(self, client: Client, account: str, messages: Iterable[m.Message], *, several: bool) -> None:
        new = [one for one in messages if not one.outgoing and not one.seen and (account, one.id) not in self._known]
        for message in await with_subjects(client, account, new):
            self._known.add((account, message.id))
            if self._as_json:
                print_json_line({"account": account, **plain(message)})
            else:
                print_message(out, message, whole=True, account=account if several else "")
        if new:
            await client.call("messages.seen", o.MarkSeen(account, tuple(one.id for one in new)))

    def _tell_how(self, account: m.Account, *, several: bool) -> None:
        """Say once that the service is gone, and once that it is back."""
        problem = trouble_of(account)
        where = f" ({account.name})" if several else ""
        trouble = problem.problem.text if problem is not None else account.trouble if account.state == "online" else ""
        if account.state == "refused" and problem is not None:
            self._refused[account.name] = problem
        elif account.state == "online":
            self._refused.pop(account.name, None)
        before = self._troubles.get(account.name, "")
        if account.state == "connecting" or trouble == before:
            return
        self._troubles[account.name] = trouble
        if trouble:
            warn(f"{trouble[:1].upper()}{trouble[1:]}{where}.{'' if account.state == 'refused' else ' Trying again.'}")
        else:
            say(f"Connected again{where}.", to=err)
