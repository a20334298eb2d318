# SPDX-License-Identifier: AGPL-3.0-or-later
"""What real mail through a real intake leaves behind (C2, C5): a log that is verified, numbers, and a replay of it."""

import contextlib
import sqlite3
from pathlib import Path

from bridges.smtp.control import models as s
from gateway.app import Gateway
from tests.support.gateway import administer, member
from tests.support.intake import AUTHOR, proving_gateway, records, talk
from tests.support.signing import mail_of, signed

BOTH = ("support@example.org", "sales@example.org")
INTAKE = {"bridge": "intake"}
PARTNER = s.VetSender(address=AUTHOR, proof=[s.Proof(dkim="partner.example")])


async def mails(gateway: Gateway, zone_trouble: set[str]) -> None:
    """Five messages in seven transactions, with ten answers."""
    async with talk(gateway.bridges["intake"].address) as one:
        several = signed(mail_of(**{"Message-ID": "<1@p>"}))
        assert (await one.mail(several, *BOTH))[0].startswith("250")
        assert (await one.mail(several, *BOTH))[0].startswith("250")  # again, and not delivered again
        later = signed(mail_of(**{"Message-ID": "<2@p>", "Auto-Submitted": "auto-generated"}))
        zone_trouble.add("rsa._domainkey.partner.example")
        assert (await one.mail(later))[0].startswith("451")
        zone_trouble.clear()
        assert (await one.mail(later))[0].startswith("250")
        assert (await one.mail(mail_of("eve@partner.example"), *BOTH))[0].startswith("550")
        assert (await one.mail(mail_of("cy@spf.example"), sender="cy@spf.example"))[0].startswith("250")
        assert (await one.mail(mail_of()))[0].startswith("550")  # the author's name, and no signature of his


async def test_what_mail_leaves_behind(tmp_path: Path) -> None:
    zone = records()
    async with (
        proving_gateway(tmp_path, zone) as gateway,
        member(gateway, "public", "Support Desk"),
        member(gateway, "public", "Sales Desk"),
    ):
        await mails(gateway, zone.broken)
        report = await administer(gateway, "smtp.report", **INTAKE)
        week = report.windows[0]
        assert (week.messages, week.delivered, week.refused, week.held) == (5, 3, 2, 0)
        assert (week.senders, week.human, week.machine, week.weak) == (2, 2, 1, 1)
        assert [(one.address, one.messages, one.proof) for one in report.residue] == [
            (AUTHOR, 2, "strong"),
            ("cy@spf.example", 1, "weak"),
        ]
        assert report.states["vetted"] == 2

        page = await administer(gateway, "smtp.correspondents.list", **INTAKE)
        assert {(one.address, one.state, one.mails) for one in page.correspondents} == {
            (AUTHOR, "vetted", 2),
            ("cy@spf.example", "vetted", 1),
        }
        asked = s.Replay(senders=[PARTNER], routes=[s.ReplayedRoute(recipient=BOTH[0], unknown="hold")])
        tried = await administer(gateway, "smtp.replay", asked, **INTAKE)
        assert (tried.messages, tried.unknown) == (7, 0)
        assert sorted((one.author, one.recipient, one.before, one.after, one.messages) for one in tried.changes) == [
            ("cy@spf.example", BOTH[0], "delivered", "held", 1),
            ("eve@partner.example", BOTH[0], "refused", "held", 1),
            (AUTHOR, BOTH[1], "delivered", "refused", 1),
        ]
        verdict = await administer(gateway, "smtp.decisions.verify", **INTAKE)
        assert verdict.intact
        found = await administer(gateway, "smtp.decisions.list", search="eve@partner", **INTAKE)
        assert len(found.entries) == 1

        with contextlib.closing(sqlite3.connect(tmp_path / "data/bridges/intake/bridge.sqlite3")) as raw, raw:
            raw.execute("DROP TRIGGER decision_no_update")
            raw.execute("UPDATE decision SET body = CAST(replace(body, 'eve@', 'ann@') AS BLOB)")
        verdict = await administer(gateway, "smtp.decisions.verify", **INTAKE)
        assert (verdict.intact, verdict.first_broken) == (False, found.entries[0].number)
