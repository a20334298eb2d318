# SPDX-License-Identifier: AGPL-3.0-or-later
"""A gateway with an intake that has had real mail for some weeks: signed by its senders, proved by DNS on loopback.

Another intake beside it has had none.
"""

import asyncio
from email.header import Header
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

from bridges.smtp.control import models as s
from tests.support.console import HOSTILE_NOTES, TurnedClock, World
from tests.support.dns_server import Zone, dns_server
from tests.support.intake import talk
from tests.support.signing import mail_of, rsa_key, rsa_record, signed_by_hand

SETTINGS: Final = """\
data_dir: ./data
http: {{listen: "127.0.0.1:0"}}
log: {{level: error}}
instances:
  - {{name: public, title: Public Desk, policy: public, registration: open, acquaintance: everyone, listen: [{{tls: "127.0.0.1:0"}}]}}
bridges:
  smtp:
    - name: intake
      instance: public
      hostname: mx.example.org
      listen: "127.0.0.1:0"
      invitation_url: https://join.example.org/
      senders:
        - {{address: orders@partner.example, proof: [dkim: partner.example], owner: Grace Hopper, reason: Orders}}
        - {{domain: bank.example, proof: [dkim: bank.example]}}
      routes:
        - {{recipient: support@example.org, to: Support Desk, unknown: hold}}
        - {{recipient: sales@example.org, to: Sales Desk}}
      nameservers: ["127.0.0.1:{port}"]
      limits: {{connections_per_address_max: 10}}
    - name: quiet
      instance: public
      hostname: mx2.example.org
      listen: "127.0.0.1:0"
      senders: []
      routes: []
      nameservers: ["127.0.0.1:{port}"]
"""
RECIPIENT: Final = "support@example.org"
FRIENDS: Final = ("partner.example", "bank.example", "newcustomer.example", "supplier.example", "list.example")
"""Domains that sign, and name this machine as one of theirs."""

HOSTILE_TEXT: Final = "<script>alert(1)</script><img src=x onerror=alert(1)> {{ 7 * 7 }}"
"""In every plain mail."""

LONG: Final = f"{'a' * 60}@{'.'.join(['sub' * 18] * 3)}.example"
_DAY_S: Final = 86_400
_WEEKS: Final = 6
_SENDERS: Final = 9  # in the first week, beside a machine


class MailWorld(World):
    """Its clock starts some weeks ago, and comes to the machine's time."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        records = {f"rsa._domainkey.{domain}": rsa_record(rsa_key()) for domain in FRIENDS}
        records |= dict.fromkeys(FRIENDS, b"v=spf1 ip4:127.0.0.1 -all")
        self.zone = Zone(dict(records))
        self.clock = TurnedClock(_WEEKS * 7 * _DAY_S)
        self._count = 0

    async def _begin(self) -> None:
        served = await self._stack.enter_async_context(dns_server(self.zone))
        self._settings = SETTINGS.format(port=served.port)
        await super()._begin()

    def smtp(self, operation: str, body: Any = None, **arguments: Any) -> Any:
        """An operation on the intake, in the owner's name."""
        return self.ask(f"smtp.{operation}", body, bridge="intake", **arguments)

    def send(
        self,
        author: str,
        subject: str = "A question",
        to: str = RECIPIENT,
        *,
        sign: bool = True,
        envelope: str | None = None,
        **headers: str,
    ) -> str:
        """Send a plain mail; the last reply. Where it is to be signed, by the domain of its author.

        `envelope`: its sender there, if not the author.
        """
        self._count += 1
        marks = {"To": to, "Subject": subject, "Message-ID": f"<{self._count}@{author.rpartition('@')[2]}>"}
        body = (
            f"Good morning.\r\n\r\nThis is about {self._count}: https://newcustomer.example/offer\r\n{HOSTILE_TEXT}\r\n"
        )
        mail = mail_of(author, body, **marks, **headers)
        return self.send_raw(self.signed(mail, author) if sign else mail, envelope or author, to)

    def send_raw(self, mail: bytes, envelope: str, to: str = RECIPIENT) -> str:
        """Send these octets; the last reply. As senders do, try again where the intake has no time just now."""

        async def go() -> str:
            for _ in range(10):
                async with talk(self.gateway.bridges["intake"].address) as one:
                    reply = (await one.mail(mail, to, sender=envelope))[-1]
                if not reply.startswith("451 4.3.0"):
                    break
            return reply

        return self.do(go())

    def hold(self, author: str, subject: str = "A question", **more: Any) -> int:
        """Send a mail that is held; its number."""
        self.accepted(self.send(author, subject, **more))
        held: list[s.HeldMail] = self.smtp("held.list", state="held", limit=1)
        return held[0].number

    def signed(self, mail: bytes, author: str) -> bytes:
        """The mail signed by its author's domain, now as the world's clock has it."""
        tags = {"d": author.rpartition("@")[2], "t": str(self.clock.wall_ns() // 1_000_000_000)}
        return signed_by_hand(mail, {**tags, "h": "from:to:subject:message-id"})

    def accepted(self, reply: str) -> None:
        """The mail was taken, or held."""
        assert reply.startswith("250"), reply

    def turn(self, seconds: float) -> None:
        """Let time pass, and the intake find its service again, from which so long a silence has parted it."""
        self.clock.ahead_s += seconds
        for _ in range(200):
            now: s.Status = self.smtp("status")
            if now.connected:
                return
            self.do(asyncio.sleep(0.05))
        raise AssertionError(now.attention)


def populate_with_mail(world: MailWorld) -> None:
    """Weeks of mail from ever fewer senders, some of it held, of all kinds that make a page hard to draw."""
    for alias in ("Support Desk", "Sales Desk"):
        world.join("public", alias)
    for week in range(_WEEKS):
        world.send("orders@partner.example", f"Order {week}", **{"Auto-Submitted": "auto-generated"})
        for number in range(_SENDERS - week):
            world.accepted(world.send(f"teller{number}@bank.example", f"Account {number}"))
        world.turn(7 * _DAY_S)
    world.send("stranger@nowhere.example", to="sales@example.org", sign=False)
    world.smtp("senders.vet", vetted("scanner@office.example", s.Proof(network="192.0.2.0/24")))
    world.smtp("senders.suspend", s.Because(reason="its proof failed, and nobody knows why"), number=3)
    world.smtp("senders.vet", vetted(f"b{LONG[1:]}", s.Proof(dkim="sub.example"), owner=HOSTILE_NOTES[0] * 9))
    for subject in (*HOSTILE_NOTES, "x" * 300, "wide \u202e " + "long words " * 30):
        world.hold("ada@newcustomer.example", str(Header(subject, "utf-8").encode(linesep="\r\n")))
    world.hold(LONG, "From far away", sign=False, envelope="bounces@nowhere.example")
    with_attachments(world)
    world.smtp("correspondents.move", s.MoveCorrespondent(state="joined"), address="teller4@bank.example")
    world.smtp("correspondents.invite", address="teller3@bank.example")
    decided = world.hold("somebody@supplier.example", "Rejected before")
    world.smtp("held.decide", s.DecideHeld(action="reject", reason="an advertisement"), number=decided)


def vetted(whom: str, *proof: s.Proof, **more: Any) -> s.VetSender:
    """A record for an address."""
    return s.VetSender(address=whom, proof=list(proof), **more)


def with_attachments(world: MailWorld) -> None:
    """A held mail with a picture of a document, and a program that is called otherwise."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "ada@newcustomer.example", RECIPIENT, "The papers"
    mail["Message-ID"] = "<papers@newcustomer.example>"
    mail.set_content("Here they are.\n")
    mail.add_attachment(b"%PDF-1.7\n", maintype="application", subtype="pdf", filename="offer.pdf")
    program = {"maintype": "application", "subtype": "octet-stream", "filename": "annual report \u202efdp.exe"}
    mail.add_attachment(b"MZ\x90\x00 a program", **program)
    mail.add_attachment(b"a text", maintype="application", subtype="pdf", filename="<img src=x onerror=alert(1)>.pdf")
    raw = mail.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    world.accepted(world.send_raw(world.signed(raw, "ada@newcustomer.example"), "ada@newcustomer.example"))
