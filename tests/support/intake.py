# SPDX-License-Identifier: AGPL-3.0-or-later
"""A gateway whose intake proves its senders by DNS on loopback, and raw talk with it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from gateway.app import Gateway
from tests.support.dns_server import Zone, dns_server
from tests.support.gateway import running_gateway
from tests.support.signing import ed25519_record, rsa_key, rsa_record

AUTHOR, RECIPIENT = "orders@partner.example", "support@example.org"

SETTINGS = """\
data_dir: ./data
http: {{listen: "127.0.0.1:0"}}
log: {{level: error}}
instances:
  - {{name: public, policy: public, registration: open, acquaintance: everyone, listen: [{{tls: "127.0.0.1:0"}}]}}
bridges:
  smtp:
    - name: intake
      instance: public
      hostname: mx.example.org
      listen: {listen}
      senders: {senders}
      routes:
        - {{recipient: support@example.org, to: Support Desk, unknown: {unknown}}}
        - {{recipient: sales@example.org, to: Sales Desk}}
        - {{recipient: nobody@example.org, to: Nobody Yet}}
      nameservers: ["127.0.0.1:{port}"]
      limits: {{message_max_bytes: 2000000, connections_per_address_max: 10}}
"""
SMTP = '"127.0.0.1:0"'
SENDERS = (
    "[{address: orders@partner.example, proof: [dkim: partner.example]}, {domain: spf.example, proof: [spf: aligned]}]"
)


def records() -> Zone:
    """The zone of the partner: DKIM keys, and SPF for loopback."""
    return Zone(
        {
            "rsa._domainkey.partner.example": rsa_record(rsa_key()),
            "ed._domainkey.partner.example": ed25519_record(),
            "spf.example": b"v=spf1 ip4:127.0.0.1 -all",
        }
    )


@asynccontextmanager
async def proving_gateway(
    folder: Path,
    zone: Zone | None = None,
    listen: str = SMTP,
    senders: str = SENDERS,
    more: str = "",
    unknown: str = "refuse",
) -> AsyncIterator[Gateway]:
    """Run it, with its DNS, for the length of the block; `more`: further lines of the bridge's block; `unknown`: of its
    first route."""
    async with dns_server(zone or records()) as served:
        settings = SETTINGS.format(listen=listen, senders=senders, port=served.port, unknown=unknown)
        settings += "".join(f"      {line}\n" for line in more.splitlines())
        async with running_gateway(folder, settings) as gateway:
            yield gateway


class Talk:
    """One connection to an intake, octet by octet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Say exactly this."""
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self) -> str:
        """One reply, all its lines; "" when the other end closed."""
        lines = []
        async with asyncio.timeout(60):
            while line := (await self.reader.readline()).decode():
                lines.append(line.rstrip())
                if line[3:4] != "-":
                    break
        return "\n".join(lines)

    async def say(self, line: str) -> str:
        """One command and its reply."""
        await self.send(line.encode() + b"\r\n")
        return await self.reply()

    async def mail(self, content: bytes, *recipients: str, sender: str = "bounces@partner.example") -> list[str]:
        """A whole transaction; the last replies: one, or with LMTP one for each recipient."""
        replies = [await self.say(f"MAIL FROM:<{sender}>")]
        for recipient in recipients or (RECIPIENT,):
            replies.append(await self.say(f"RCPT TO:<{recipient}>"))
        if not all(reply.startswith("250") for reply in replies):
            return replies
        assert (await self.say("DATA")).startswith("354")
        await self.send(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        return [await self.reply()]


@asynccontextmanager
async def talk(
    address: tuple[str, int] | Path, greet: str = "EHLO client.example", local: tuple[str, int] | None = None
) -> AsyncIterator[Talk]:
    """Connect and greet for the length of the block; `greet` "": only connect. `local`: from this address."""
    if isinstance(address, Path):
        reader, writer = await asyncio.open_unix_connection(address)
    else:
        reader, writer = await asyncio.open_connection(*address, local_addr=local)
    one = Talk(reader, writer)
    try:
        if greet:
            assert (await one.reply()).startswith("220")
            assert (await one.say(greet)).startswith("250")
        yield one
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
