# SPDX-License-Identifier: AGPL-3.0-or-later
"""ejabberd: XMPP (RFC 6120) with stream management (XEP-0198), messages for who is away in SQLite.

A post is one stanza to each recipient, then a request for an acknowledgement that covers them. Only as much of XML is
understood as a server sends to such a client.
"""

import base64
import re
import subprocess
from collections import deque
from typing import ClassVar, Final

from bench.member import STAMP_BYTES, Tally
from bench.peers.link import Link
from bench.peers.process import PeerServer
from bench.peers.work import Client, Part

_DOMAIN: Final = "localhost"
_PASSWORD: Final = "bench"  # noqa: S105 - of a private server
_LIBRARIES: Final = "/usr/lib/x86_64-linux-gnu"
_SETTINGS: Final = """\
hosts: [{domain}]
loglevel: error
certfiles: ["{folder}/both.pem"]
listen:
  - {{port: {port}, ip: "127.0.0.1", module: ejabberd_c2s, tls: true, max_stanza_size: 1048576, shaper: none}}
auth_password_format: plain
registration_timeout: infinity
sql_type: sqlite
sql_database: "{folder}/ejabberd.sqlite"
auth_method: [internal]
shaper_rules: {{max_user_sessions: 10, max_user_offline_messages: infinity}}
access_rules: {{register: [{{allow: all}}]}}
modules:
  mod_offline: {{db_type: sql, access_max_user_messages: max_user_offline_messages}}
  mod_register: {{ip_access: all, access: register, welcome_message: {{subject: "", body: ""}}}}
  mod_stream_mgmt: {{}}
"""
_STREAM: Final = (
    f"<stream:stream to='{_DOMAIN}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
).encode()
_REQUEST: Final = b"<r xmlns='urn:xmpp:sm:3'/>"
_ELEMENT: Final = re.compile(
    rb"<(message|presence|iq|stream:features|success|failure|enabled|failed|r|a|stream:error)\b[^>]*?(?:/>|>.*?</\1>)",
    re.DOTALL,
)
_STANZAS: Final = frozenset({b"message", b"presence", b"iq"})  # what both ends count
_ANSWERS: Final = frozenset({b"iq", b"stream:features", b"success", b"failure", b"enabled", b"failed"})
_BODY: Final = re.compile(rb"<body>(\w+)")
_H: Final = re.compile(rb"\bh=['\"](\d+)")


class Ejabberd(PeerServer):
    """The server, in an Erlang machine without distribution."""

    name = "ejabberd"
    promise = "handed on: in memory for who is online, in SQLite (fsync) for who is away"
    packages = ("ejabberd", "erlang-p1-sqlite3")
    programs = ("ejabberdctl", "erl")
    clients_max: ClassVar[int] = 200
    account: ClassVar[str] = "ejabberd"

    def prepare(self) -> None:
        """Write its settings."""
        certificate, key = self.certificate()
        (self.folder / "both.pem").write_bytes(certificate.read_bytes() + key.read_bytes())
        (self.folder / "ejabberd.yml").write_text(
            _SETTINGS.format(domain=_DOMAIN, folder=self.folder, port=self.port), "utf-8"
        )

    def commands(self) -> list[list[str]]:
        """What ejabberdctl starts, without its node name and so without epmd."""
        return [
            ["/usr/bin/erl", "-noinput", "+K", "true", "-mnesia", "dir", f'"{self.folder}/mnesia"', "-s", "ejabberd"]
        ]

    @property
    def environment(self) -> dict[str, str]:
        """Where it finds its settings and its code."""
        return {
            "EJABBERD_CONFIG_PATH": str(self.folder / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(self.folder / "ejabberd.log"),
            "ERL_LIBS": _LIBRARIES,
            "ERL_CRASH_DUMP": "/dev/null",
            "HOME": str(self.folder),
        }

    def version(self) -> str:
        """Of the package."""
        said = subprocess.run(
            ["/usr/bin/dpkg-query", "-W", "-f", "${Version}", "ejabberd"], capture_output=True, text=True, check=False
        )
        return f"ejabberd {said.stdout}"

    def client(self, part: Part, tally: Tally) -> Client:
        """A user."""
        return _XmppClient(self, part, tally)


class _XmppClient(Client):
    def __init__(self, server: Ejabberd, part: Part, tally: Tally) -> None:
        super().__init__(part, tally)
        self._server = server
        self._link: Link | None = None
        self._user = f"member{part.number:06d}"
        self._known = False
        self._here = False  # it is known to be
        self._managed = False  # both ends count stanzas from here on
        self._sent = self._received = 0
        self._due: deque[tuple[int, int]] = deque()  # how many stanzas must be acknowledged for what was due then
        filler = b"0" * max(0, part.size - 2 * STAMP_BYTES)
        self._stanzas = b"".join(
            b"<message to='member%06d@localhost' type='chat' id='%%b'><body>%%b%s</body></message>" % (number, filler)
            for number in part.to
        )

    async def open(self) -> None:
        """Register the first time; log in, and have stanzas counted."""
        self._managed = False
        self._sent = self._received = 0
        link = self._link = Link(self._take_all, self.problem)
        await link.connect(self._server.place, self._server.context)
        await link.ask(_STREAM)
        if not self._known:
            register = f"<username>{self._user}</username><password>{_PASSWORD}</password>"
            await self._must(
                f"<iq type='set' id='r'><query xmlns='jabber:iq:register'>{register}</query></iq>", b"type='result'"
            )
            self._known = True
        secret = base64.b64encode(f"\0{self._user}\0{_PASSWORD}".encode()).decode()
        await self._must(
            f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>", b"<success"
        )
        await link.ask(_STREAM)
        bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>bench</resource></bind>"
        await self._must(f"<iq type='set' id='b'>{bind}</iq>", b"type='result'")
        await self._must("<enable xmlns='urn:xmpp:sm:3'/>", b"<enabled")
        self._sent = 1
        self._here = False
        await link.ask(b"<presence/>", _REQUEST)  # so that ejabberd has opened its database before the next one comes

    async def close(self) -> None:
        """End the stream, so that nothing waits for us to resume it."""
        if self._link is not None:
            if self._managed:
                self._acknowledge()
            self._link.write(b"</stream:stream>")
            await self._link.leave()

    def send(self, stamp: bytes, due_ns: int) -> None:
        """One stanza for each, and a request."""
        assert self._link is not None
        text = stamp.hex().encode()
        self._sent += len(self.part.to)
        self._due.append((self._sent, due_ns))
        self._link.write(self._stanzas % ((text, text) * len(self.part.to)), _REQUEST)

    async def _must(self, text: str, expected: bytes) -> None:
        assert self._link is not None
        answer = await self._link.ask(text.encode())
        if expected not in answer.replace(b'"', b"'"):
            raise ConnectionRefusedError(f"{text} was answered by {answer.decode('utf-8', 'replace')}")

    def _acknowledge(self) -> None:
        assert self._link is not None
        self._link.write(b"<a xmlns='urn:xmpp:sm:3' h='%d'/>" % self._received)

    def _take_all(self, data: bytes) -> int:
        at = 0
        while (found := _ELEMENT.search(data, at)) is not None:
            at = found.end()
            self._take(found[1], found[0])
        return at

    def _take(self, name: bytes, element: bytes) -> None:
        assert self._link is not None
        if self._managed:
            self._received += name in _STANZAS
        if name == b"message":
            if (body := _BODY.search(element)) is not None:
                self.took(bytes.fromhex(body[1][: 2 * STAMP_BYTES].decode()))
        elif name == b"r":
            self._acknowledge()
        elif name == b"a" and not self._here:
            self._here = True
            self._link.answer(element)
        elif name == b"a" and (h := _H.search(element)) is not None:
            acknowledged = int(h[1])
            while self._due and self._due[0][0] <= acknowledged:
                self.acknowledged(self._due.popleft()[1])
        elif name == b"stream:error":
            self.problem(element.decode("utf-8", "replace"))
        elif name in _ANSWERS:
            self._managed = self._managed or name == b"enabled"
            self._link.answer(element)
