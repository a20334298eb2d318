# SPDX-License-Identifier: AGPL-3.0-or-later
"""Postfix and Dovecot: submission by SMTP, delivery by LMTP into sdbox, recipients in IMAP IDLE.

A client holds one SMTP and one IMAP connection, both over TLS and kept open. It fetches what comes whole, and deletes
it: the mailbox is a queue, as the service's is.
"""

import asyncio
import re
import subprocess
from collections import deque
from typing import ClassVar, Final

from bench.member import STAMP_BYTES, Tally
from bench.peers.link import Link
from bench.peers.process import PeerServer
from bench.peers.work import Client, Part
from bench.server import free_port
from bench.worker import Place

DOMAIN: Final = "bench.test"
_RELOGINS_MAX: Final = 10
_RELOGIN_S: Final = 0.1
_LINE: Final = 72  # of a body
_MAIN_CF: Final = """\
compatibility_level = 3.6
queue_directory = {folder}/postfix/queue
data_directory = {folder}/postfix/data
mail_owner = postfix
setgid_group = postdrop
myhostname = {domain}
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = {domain}
virtual_transport = lmtp:unix:{folder}/dovecot/lmtp
smtpd_reject_unlisted_recipient = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_tls_security_level = {level}
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
# What slows strangers down, or asks others, is not what is measured.
disable_dns_lookups = yes
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
in_flow_delay = 0
queue_run_delay = 5s
minimal_backoff_time = 5s
maximal_backoff_time = 10s
default_process_limit = 300
lmtp_destination_concurrency_limit = 40
initial_destination_concurrency = 40
maillog_file_prefixes = {folder}
maillog_file = {folder}/mail.log
"""
_MASTER_CF: Final = """\
127.0.0.1:{port} inet n - n - - smtpd -o smtpd_tls_wrappermode={wrapped}
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
lmtp unix - - n - - lmtp
error unix - - n - - error
retry unix - - n - - error
postlog unix-dgram n - n - 1 postlogd
"""
_DOVECOT_CONF: Final = """\
base_dir = {folder}/dovecot
state_dir = {folder}/dovecot
log_path = {folder}/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
ssl = required
ssl_cert = <{certificate}
ssl_key = <{key}
mail_location = sdbox:{folder}/mail/%u
mail_fsync = always
first_valid_uid = 1
mail_max_userip_connections = 0
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={folder}/mail/%u
}}
service imap-login {{
  service_count = 0
  client_limit = 2000
  process_min_avail = 1
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    port = {imap_port}
  }}
}}
service imap {{
  process_limit = 2000
}}
service lmtp {{
  process_min_avail = 4
  unix_listener lmtp {{
    mode = 0666
  }}
}}
"""


class Mail(PeerServer):
    """Postfix before Dovecot. Root starts them; they serve as the users that Debian made for them.

    `tls`: whether Postfix is spoken to by TLS from the first octet on, or without.
    """

    name = "postfix-dovecot"
    promise = "on the disk (fsync) in Postfix's queue, not yet in a mailbox"
    packages = ("postfix", "dovecot-imapd", "dovecot-lmtpd")
    programs: ClassVar[tuple[str, ...]] = ("postfix", "dovecot")
    clients_max: ClassVar[int] = 100
    need_root: ClassVar[bool] = True

    def __init__(self, *, tls: bool = True) -> None:
        super().__init__()
        self._tls = tls
        self.imap_place = Place("127.0.0.1", free_port())

    @property
    def ports(self) -> tuple[int, ...]:
        """Of both."""
        return (self.port, self.imap_place.port)

    def prepare(self) -> None:
        """Write the settings of both."""
        certificate, key = self.certificate()
        for name, owner in (("postfix/queue", ""), ("postfix/data", "postfix"), ("dovecot", ""), ("mail", "mail")):
            self.own(self.folder / name, owner)
        values = {
            "folder": self.folder,
            "domain": DOMAIN,
            "certificate": certificate,
            "key": key,
            "port": self.port,
            "imap_port": self.imap_place.port,
            "level": "encrypt" if self._tls else "none",
            "wrapped": "yes" if self._tls else "no",
        }
        (self.folder / "postfix" / "main.cf").write_text(_MAIN_CF.format(**values), "utf-8")
        (self.folder / "postfix" / "master.cf").write_text(_MASTER_CF.format(**values), "utf-8")
        (self.folder / "dovecot.conf").write_text(_DOVECOT_CONF.format(**values), "utf-8")

    def commands(self) -> list[list[str]]:
        """Dovecot first: Postfix delivers to it."""
        return [
            ["/usr/sbin/dovecot", "-F", "-c", str(self.folder / "dovecot.conf")],
            ["/usr/sbin/postfix", "-c", str(self.folder / "postfix"), "start-fg"],
        ]

    def version(self) -> str:
        """Of both."""
        postfix = subprocess.run(
            ["/usr/sbin/postconf", "-d", "-h", "mail_version"], capture_output=True, text=True, check=False
        )
        dovecot = subprocess.run(["/usr/sbin/dovecot", "--version"], capture_output=True, text=True, check=False)
        return f"Postfix {postfix.stdout.strip()}, Dovecot {dovecot.stdout.split()[0]}"

    def client(self, part: Part, tally: Tally) -> Client:
        """A user, with a mailbox."""
        return _MailClient(self, part, tally)


class _MailClient(Client):
    def __init__(self, server: Mail, part: Part, tally: Tally) -> None:
        super().__init__(part, tally)
        self._server = server
        self._smtp: Link | None = None
        self._imap: _Mailbox | None = None
        self._envelope = b""
        self._filler = _lines(part.size - 2 * STAMP_BYTES)
        self._message = b""
        self._due_ns = 0
        self._later: deque[tuple[bytes, int]] = deque()  # SMTP takes one message at a time
        self._replies: deque[bytes] = deque()

    async def open(self) -> None:
        """Connect to both, as far as this part needs them."""
        if self.part.to:
            self._smtp = Link(self._take_replies, self.problem)
            await self._smtp.connect(self._server.place, self._server.context)
            await self._smtp.ask()  # the greeting
            await self._smtp.ask(b"EHLO client.test\r\n")
            to = b"".join(b"RCPT TO:<%s>\r\n" % _address(number) for number in self.part.to)
            self._envelope = b"MAIL FROM:<%s>\r\n%sDATA\r\n" % (_address(self.part.number), to)
        if self.part.hears:
            self._imap = _Mailbox(self, self._server)
            await self._imap.open()

    async def close(self) -> None:
        """Leave both."""
        if self._smtp is not None:
            self._smtp.write(b"QUIT\r\n")
            await self._smtp.leave()
        if self._imap is not None:
            await self._imap.close()

    def send(self, stamp: bytes, due_ns: int) -> None:
        """The envelope in one write (RFC 2920); the message follows its answer."""
        assert self._smtp is not None
        if self._replies:
            self._later.append((stamp, due_ns))
            return
        self._due_ns = due_ns
        names = b", ".join(b"<%s>" % _address(number) for number in self.part.to)
        self._message = (
            b"From: <%s>\r\nTo: %s\r\nSubject: bench\r\nMessage-ID: <%s@client.test>\r\nX-Stamp: %s\r\n\r\n%s.\r\n"
            % (_address(self.part.number), names, stamp.hex().encode(), stamp.hex().encode(), self._filler)
        )
        self._replies.extend([b"250"] * (1 + len(self.part.to)) + [b"354", b"250 "])
        self._smtp.write(self._envelope)

    def _take_replies(self, data: bytes) -> int:
        """Whole replies (RFC 5321 §4.2): the last line of each has a blank after its code."""
        at = 0
        while (end := data.find(b"\n", at)) >= 0:
            line, at = data[at:end], end + 1
            if line[3:4] != b"-":
                self._take_reply(line)
        return at

    def _take_reply(self, line: bytes) -> None:
        assert self._smtp is not None
        if not self._replies:
            self._smtp.answer(line)
            return
        expected = self._replies.popleft()
        if line[:3] != expected[:3]:
            self.problem(f"refused: {line!r}")
            self._replies.clear()
        elif expected == b"354":
            self._smtp.write(self._message)
        elif expected == b"250 ":
            self.acknowledged(self._due_ns)
            if self._later:
                self.send(*self._later.popleft())


class _Mailbox:
    """IMAP (RFC 9051): IDLE until something is there, fetch it whole, delete it, IDLE again."""

    def __init__(self, client: _MailClient, server: Mail) -> None:
        self._client = client
        self._server = server
        self._relogins = 0
        self._taken: set[bytes] = set()
        self._returning: asyncio.Task[None] | None = None
        self._link: Link | None = None
        self._idle = False
        self._there = False  # something has come, or was there
        self._uids: list[bytes] = []

    async def open(self) -> None:
        """Log in and look."""
        client, server = self._client, self._server
        self._idle, self._there = False, False
        self._uids.clear()
        self._taken.clear()  # an index that was mended after a crash may give its numbers again
        self._link = Link(self._take_all, self._lost)
        await self._link.connect(server.imap_place, server.context)
        await self._link.ask()  # the greeting
        for number, command in enumerate((b"LOGIN %s x" % _address(client.part.number), b"SELECT INBOX")):
            answer = await self._link.ask(b"l%d %s\r\n" % (number, command))
            if b" OK" not in answer:
                raise ConnectionRefusedError(answer.decode("ascii", "replace"))
        if self._there:
            self._fetch()
        else:
            self._link.write(b"i IDLE\r\n")

    def _lost(self, why: str) -> None:
        """Come back, as a mail program does: after a crash Dovecot mends an index by having its user log in again."""
        self._relogins += 1
        if self._relogins > _RELOGINS_MAX:
            self._client.problem(why)
        elif self._returning is None or self._returning.done():
            self._returning = asyncio.get_running_loop().create_task(self._return())

    async def _return(self) -> None:
        await asyncio.sleep(_RELOGIN_S)
        try:
            await self.open()
        except OSError as failed:
            self._client.problem(str(failed))

    async def close(self) -> None:
        """Drop it; what is not deleted stays."""
        if self._returning is not None:
            self._returning.cancel()
        if self._link is not None:
            await self._link.leave()

    def _fetch(self) -> None:
        assert self._link is not None
        self._there = False
        self._link.write(b"f UID FETCH 1:* (BODY.PEEK[])\r\n")

    def _take_all(self, data: bytes) -> int:
        at = 0
        while (end := data.find(b"\n", at)) >= 0:
            line, following = data[at:end], end + 1
            if line.endswith(b"}\r"):
                following += int(line[line.rindex(b"{") + 1 : -2])
                if len(data) < following:
                    break
                self._take_message(line, data[end + 1 : following])
            else:
                self._take_line(line.rstrip(b"\r"))
            at = following
        return at

    def _take_message(self, line: bytes, message: bytes) -> None:
        uid = re.search(rb"UID (\d+)", line)
        stamp = re.search(rb"X-Stamp: (\w+)", message)
        if uid is None or stamp is None:
            self._client.problem(f"not a message of the bench: {line!r}")
            return
        self._uids.append(uid[1])
        if uid[1] in self._taken:  # Dovecot shows some once more after it has said that they are gone
            return
        self._taken.add(uid[1])
        self._client.took(bytes.fromhex(stamp[1].decode()))

    def _take_line(self, line: bytes) -> None:
        assert self._link is not None
        if line.startswith(b"+"):
            self._idle = True
            if self._there:
                self._done()
        elif line.endswith(b" EXISTS"):
            self._there = self._there or line != b"* 0 EXISTS"
            if self._idle:
                self._done()
        elif line.startswith(b"i "):
            self._fetch()
        elif line.startswith(b"f "):
            self._delete()
        elif line[:1] == b"l" or line.startswith(b"* OK [CAPABILITY"):
            self._link.answer(line)

    def _done(self) -> None:
        assert self._link is not None
        self._idle = False
        self._link.write(b"DONE\r\n")

    def _delete(self) -> None:
        """What was fetched is the reader's now."""
        assert self._link is not None
        if self._uids:
            uids = b",".join(self._uids)
            self._uids.clear()
            self._link.write(b"d UID STORE %s +FLAGS.SILENT (\\Deleted)\r\nx UID EXPUNGE %s\r\n" % (uids, uids))
        self._link.write(b"i IDLE\r\n")


def _address(number: int) -> bytes:
    return f"member{number:06d}@{DOMAIN}".encode()


def _lines(size: int) -> bytes:
    """So many octets of text, in lines."""
    line = b"x" * _LINE + b"\r\n"
    return (line * (size // len(line) + 1))[: max(0, size - 2)] + b"\r\n"
