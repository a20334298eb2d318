# SPDX-License-Identifier: AGPL-3.0-or-later
"""Replays wire vectors (format.md) over a real TLS socket."""

import asyncio
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.instance import TestInstance, running_instance
from tests.support.records import RecordLink
from tests.vectors.reference import canonical_header, head_sum
from tmtp_core.domain.port import Identity
from tmtp_core.domain.registering import RegistrationLimits
from tmtp_core.domain.sign_in import NonceRule, SignedIn, SignInRule
from tmtp_core.errors import LoginRefused
from tmtp_core.wire.messages import SignIn

STORED = {"login", "user", "ohiedit", "ping", "invite", "member", "delivery", "notify"}
FORMS = {
    "?id": re.compile(r"[0-9a-f]{16}"),
    "?date": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"),
    "?uid": re.compile(r"[%+1-9B-DF-HJ-NP-TV-Z]{32}"),
    "?secret": re.compile(r"[%+1-9B-DF-HJ-NP-TV-Z]{40}"),
}
_FORM_OF = {"msgid": "?id", "postid": "?id", "posted": "?date", "from": "?uid", "uid": "?uid", "nodeid": "?secret"}
_RECORD_BYTES = 16_384
_VARIABLE = re.compile(r"\$([a-z]\w*(?:\.\w+)?)")
_FENCE = {"op": 6, "id": "fence", "act": "join", "gid": "there is no such group"}
_FENCE_ANSWER = {"op": "ack", "id": "fence", "error": "GroupJoin: iGid there is no such group not found"}


@dataclass
class Vector:
    """One vector: its lines with their numbers."""

    file: Path
    name: str
    proves: str
    settings: dict[str, str] = field(default_factory=dict)
    lines: list[tuple[int, str]] = field(default_factory=list)


class VectorFailed(AssertionError):
    """What was expected at a line of a vector did not happen."""


_FAILURES = (VectorFailed, TimeoutError, ConnectionError, KeyError, ValueError)


def read_vectors(file: Path) -> Iterator[Vector]:
    """The vectors of one file. Raises ValueError, with the line, for what the format does not know."""
    vector: Vector | None = None
    for number, raw in enumerate(file.read_text("utf-8").splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("== "):
            if vector is not None:
                yield vector
            name, _, proves = line[3:].partition("  ")
            if not proves.strip().startswith("§") and "decision" not in proves:
                raise ValueError(f"{file.name}:{number}: a vector names what it proves")
            vector = Vector(file, name.strip(), proves.strip())
        elif vector is None:
            raise ValueError(f"{file.name}:{number}: a line before the first vector")
        elif line.startswith("set "):
            vector.settings.update(pair.split("=", 1) for pair in line[4:].split())
        else:
            vector.lines.append((number, line))
    if vector is not None:
        yield vector


@dataclass
class Frame:
    """One frame as it came."""

    head: dict[str, Any]
    raw: bytes
    data: bytes
    records: int


class VectorLink:
    """One link of a vector."""

    def __init__(self, name: str, *, byte_by_byte: bool) -> None:
        self.name = name
        self.acks_by_itself = True
        self.seen: list[str] = []  # ids of stored messages, in order
        self._byte_by_byte = byte_by_byte
        self.entered = False  # logged in, as far as this side has heard
        self.over = False  # dropped, or seen to end
        self._records = RecordLink()
        self._record = 0  # records read so far
        self._plain: list[tuple[int, bytes]] = []  # record number, what of it is still to be taken
        self._touched: set[int] = set()  # records that the current frame lay in

    async def connect(self, host: str, port: int) -> None:
        """Open it."""
        await self._records.connect(host, port)

    async def send(self, data: bytes) -> None:
        """Send, whole or byte by byte."""
        try:
            for piece in (data[i : i + 1] for i in range(len(data))) if self._byte_by_byte else (data,):
                await self._records.send(piece)
        except ConnectionError:
            pass  # the service has closed meanwhile; what it said is still to be read

    async def read(self) -> Frame | None:
        """The next frame, or None at the end. A frame cut short is a failure."""
        self._touched.clear()
        digits = await self._take(4)
        if not digits:
            self.over = True
            return None
        raw = await self._take(int(digits, 16))
        head = json.loads(raw)
        if head["op"] == "info":
            self.entered = True
        data = await self._take(head.get("datalen", 0))
        return Frame(head, digits + raw, data, len(self._touched))

    async def close(self) -> None:
        """Cut it."""
        self.over = True
        await self._records.close()

    async def _take(self, size: int) -> bytes:
        """Exactly `size` bytes; none at all at the end of the link, if it ends between two frames."""
        taken = b""
        while len(taken) < size:
            if not self._plain:
                plain = await self._records.read()
                if plain is None and not taken and not self._touched:
                    return b""
                if plain is None:
                    raise VectorFailed("the link ended in the middle of a frame")
                self._record += 1
                self._plain.append((self._record, plain))
            record, plain = self._plain.pop(0)
            need = size - len(taken)
            taken += plain[:need]
            self._touched.add(record)
            if plain[need:]:
                self._plain.insert(0, (record, plain[need:]))
        return taken


class Run:
    """One replay of one vector."""

    def __init__(self, vector: Vector, instance: TestInstance, *, byte_by_byte: bool) -> None:
        self._vector = vector
        self._instance = instance
        self._byte_by_byte = byte_by_byte
        self._links: dict[str, VectorLink] = {}
        self._variables: dict[str, str] = {}

    async def play(self) -> None:
        """All lines, in order. Raises `VectorFailed` with file and line."""
        try:
            for number, line in self._vector.lines:
                try:
                    await self._line(line)
                except _FAILURES as error:
                    raise self._failed(f"{number}: {line}", error) from None
            await self._nothing_is_left()
        finally:
            for link in self._links.values():
                await link.close()

    async def _nothing_is_left(self) -> None:
        """At the end of a vector every link that is still open has received what the vector says, and no more."""
        for link in self._links.values():
            if link.entered and not link.over:
                try:
                    await self._quiet(link)
                except _FAILURES as error:
                    raise self._failed(f"{self._vector.name}: at its end, {link.name}", error) from None

    def _failed(self, where: str, error: Exception) -> VectorFailed:
        return VectorFailed(f"{self._vector.file.name}:{where}\n  {str(error) or 'nothing came in time'}")

    async def _line(self, line: str) -> None:
        first, _, rest = line.partition(" ")
        if first == "advance":
            await self._instance.advance(float(rest))
        elif first == "step":
            self._instance.clock.step_wall(float(rest))
        elif first == "restart":
            await self._instance.restart()
            for link in self._links.values():
                link.over = True
        elif first == "invitation":
            self._variables[rest.strip().removeprefix("$")] = await self._instance.new_invitation()
        elif first == "repeat":
            count, _, repeated = rest.partition(" ")
            for number in range(1, int(count) + 1):
                self._variables["i"] = str(number)
                await self._line(repeated)
        else:
            verb, _, argument = rest.strip().partition(" ")
            await self._verb(first, verb, argument.strip())

    async def _verb(self, name: str, verb: str, argument: str) -> None:
        if verb in {"connect", "member", "login"}:
            await self._connect(name)
        link = self._links[name]
        if verb == "member":
            await self._register(link, json.loads(argument))
        elif verb == "login":
            await self._login(link, *argument.split())
        elif verb == ">":
            header, data = self._message(argument)
            raw = json.dumps(header, ensure_ascii=False).encode() if not isinstance(header, bytes) else header
            await link.send(b"%04x%b" % (len(raw), raw) + data)
        elif verb == "raw":
            await link.send(self._substituted(json.loads(argument)).encode("latin-1"))
        elif verb == "framed":
            headers = [self._substituted(text).encode("latin-1") for text in json.loads(f"[{argument}]")]
            await link.send(b"".join(b"%04x%b" % (len(header), header) for header in headers))
        elif verb == "padded":
            header = json.dumps({"op": 11, "pad": ""}).encode()
            header = header[:-2] + b"x" * (int(argument) - len(header)) + header[-2:]
            await link.send(b"%04x%b" % (len(header), header))
        elif verb == "<":
            await self._expect(link, argument)
        elif verb == "<any":
            await self._expect_any_order(link, argument)
        elif verb == "closed":
            frame = await link.read()
            if frame is not None:
                raise VectorFailed(f"the link should have closed; it got {frame.raw!r}")
        elif verb == "quiet":
            await self._quiet(link)
        elif verb == "hold":
            link.acks_by_itself = False
        elif verb == "ack":
            await self._send_ack(link, self._substituted(argument))
        elif verb == "drop":
            await link.close()
            await asyncio.sleep(0.05)  # until the service has noticed
        elif verb == "nodes":
            await self._add_nodes(link, int(argument))
        elif verb == "rising":
            if link.seen != sorted(set(link.seen)):
                raise VectorFailed(f"ids do not rise: {link.seen}")
        elif verb == "continues":
            link.seen = list(self._links[argument].seen)
        elif verb != "connect":
            raise ValueError(f"the format knows no {verb!r}")

    # -- macros ------------------------------------------------------------------------------------------------------
    async def _connect(self, name: str) -> None:
        link = VectorLink(name, byte_by_byte=self._byte_by_byte)
        await link.connect(self._instance.host, self._instance.port)
        self._links[name] = link

    async def _register(self, link: VectorLink, alias: str) -> None:
        await self._verb(link.name, ">", '{"op":0,"id":"1"}')
        await self._verb(link.name, ">", json.dumps({"op": 1, "newnode": "first", "newalias": alias}))
        await self._expect(link, '{"op":"tmtprev","id":"1","name":"Test Site"}')
        self._variables.pop(f"{link.name}.uid", None)
        self._variables.pop(f"{link.name}.node", None)
        names = f'"uid":"${link.name}.uid","nodeid":"${link.name}.node"'
        await self._expect(link, '{"op":"registered",' + names + "}")
        await self._expect(link, '{"op":"info","info":"login ok"}')

    async def _login(self, link: VectorLink, account: str, node: str | None = None) -> None:
        await self._verb(link.name, ">", '{"op":0,"id":"1"}')
        secret = self._substituted(node or f"${account}.node")
        login = {"op": 2, "uid": self._variables[f"{account}.uid"], "node": secret}
        await self._verb(link.name, ">", json.dumps(login))
        await self._expect(link, '{"op":"tmtprev","id":"1","name":"Test Site"}')
        await self._expect(link, '{"op":"info","info":"login ok"}')

    async def _quiet(self, link: VectorLink) -> None:
        await self._verb(link.name, ">", json.dumps(_FENCE))
        await self._expect(link, json.dumps(_FENCE_ANSWER))

    async def _add_nodes(self, link: VectorLink, count: int) -> None:
        for number in range(count):
            await self._verb(link.name, ">", json.dumps({"op": 3, "id": f"node {number}", "newnode": f"{number}"}))
            for _ in range(2):  # the ack and the `user` message
                await self._next(link)

    # -- frames ------------------------------------------------------------------------------------------------------
    async def _expect(self, link: VectorLink, argument: str) -> None:
        expected, data = self._message(argument, substitute=False)
        frame = await self._next(link)
        wrong = self._mismatch(expected, data, frame)
        if wrong:
            raise VectorFailed(f"{wrong}\n  got      {frame.raw[4:].decode()} + {len(frame.data)} octets")

    async def _expect_any_order(self, link: VectorLink, argument: str) -> None:
        wanted = [self._message(part.strip(), substitute=False) for part in argument.split(" ; ")]
        while wanted:
            frame = await self._next(link)
            for place, (expected, data) in enumerate(wanted):
                before = dict(self._variables)
                if not self._mismatch(expected, data, frame):
                    del wanted[place]
                    break
                self._variables = before
            else:
                raise VectorFailed(f"none of these was expected: {frame.raw!r}")

    async def _next(self, link: VectorLink) -> Frame:
        frame = await link.read()
        if frame is None:
            raise VectorFailed("the link ended")
        check_form(frame)
        if frame.head["op"] in STORED:
            link.seen.append(frame.head["id"])
            if link.acks_by_itself:
                await self._send_ack(link, frame.head["id"])
        return frame

    async def _send_ack(self, link: VectorLink, message_id: str) -> None:
        raw = json.dumps({"op": 10, "id": message_id, "type": "ok"}).encode()
        await link.send(b"%04x%b" % (len(raw), raw))

    def _mismatch(self, expected: dict[str, Any], data: bytes, frame: Frame) -> str:
        got = {key: value for key, value in frame.head.items() if key != "headsum"}
        if got.get("datalen") == 0 and "datalen" not in expected and got["op"] in STORED:
            del got["datalen"]
        if set(got) != set(expected):
            return f"keys differ: {sorted(set(got) ^ set(expected))}"
        for key, value in expected.items():
            if not self._equal(value, got[key]):
                return f"{key} differs: expected {self._shown(value)!r}"
        return "" if frame.data == data else f"data differs: expected {data[:60]!r}"

    def _equal(self, expected: Any, got: Any) -> bool:
        if isinstance(expected, list) and isinstance(got, list):
            return len(expected) == len(got) and all(map(self._equal, expected, got))
        if isinstance(expected, dict) and isinstance(got, dict):
            return expected.keys() == got.keys() and all(self._equal(expected[k], got[k]) for k in expected)
        if isinstance(expected, str) and expected in FORMS:
            return isinstance(got, str) and FORMS[expected].fullmatch(got) is not None
        if isinstance(expected, str) and isinstance(got, str) and _VARIABLE.fullmatch(expected):
            return self._variables.setdefault(expected[1:], got) == got
        if isinstance(expected, str):
            return bool(self._substituted(expected) == got)
        return type(expected) is type(got) and bool(expected == got)

    def _shown(self, value: Any) -> Any:
        return self._substituted(value) if isinstance(value, str) and value not in FORMS else value

    def _message(self, argument: str, *, substitute: bool = True) -> tuple[Any, bytes]:
        """A header (as JSON, or as raw text in backquotes) and the data after ` + `."""
        if argument.startswith("`"):
            text, _, rest = argument[1:].partition("`")
            return self._substituted(text).encode(), _octets(rest)
        header, end = json.JSONDecoder().raw_decode(argument)
        if substitute:
            header = json.loads(self._substituted(json.dumps(header, ensure_ascii=False)))
        return header, _octets(argument[end:])

    def _substituted(self, text: str) -> str:
        return _VARIABLE.sub(lambda match: self._variables.get(match[1], match[0]), text)


def check_form(frame: Frame) -> None:
    """What holds for every frame from the service: §1.5, §1.6, §1.8, §4.1 to §4.3, §9."""
    if frame.raw[:4] != b"%04x" % len(frame.raw[4:]):
        raise VectorFailed(f"the length digits are not lower case: {frame.raw!r}")
    if canonical_header(frame.head) != frame.raw[4:]:
        raise VectorFailed(f"the header is not compact, sorted and escaped: {frame.raw!r}")
    stored = frame.head["op"] in STORED
    if stored != ("headsum" in frame.head) or (stored and "datalen" not in frame.head):
        raise VectorFailed(f"headsum and datalen belong to stored messages, and to all of them: {frame.raw!r}")
    if stored and head_sum(frame.raw) != frame.head["headsum"]:
        raise VectorFailed(f"headsum should be {head_sum(frame.raw)}: {frame.raw!r}")
    if stored and not FORMS["?id"].fullmatch(frame.head["id"]):
        raise VectorFailed(f"the id of a stored message is not 16 lower-case hex digits: {frame.raw!r}")
    for key, form in _FORM_OF.items():
        if key in frame.head and not FORMS[form].fullmatch(frame.head[key]):
            raise VectorFailed(f"{key} has not the form of {form}: {frame.raw!r}")
    if len(frame.raw) + len(frame.data) <= _RECORD_BYTES and frame.records != 1:
        raise VectorFailed(f"a frame of {len(frame.raw) + len(frame.data)} bytes came in {frame.records} TLS records")


def _octets(expression: str) -> bytes:
    """The value of ` + "text" + 3*"x" + hex:00ff`."""
    octets = b""
    for part in expression.split(" + "):
        term = part.strip()
        if term.startswith("hex:"):
            octets += bytes.fromhex(term[4:])
        elif term:
            count, star, text = term.partition("*")
            octets += json.loads(text).encode() * int(count) if star and count.isdigit() else json.loads(term).encode()
    return octets


async def _knows_one_token(oidc: dict[str, Any], nonce: NonceRule) -> SignedIn:
    if oidc.get("id_token") != "good":
        raise LoginRefused("authentication required")
    return SignedIn(Identity("https://id.example", "somebody"), 0, b"once", 1 << 50)


async def replay(vector: Vector, template: Path, folder: Path, *, byte_by_byte: bool) -> None:
    """Replay one vector against a fresh instance, started from the empty `template`."""
    await asyncio.to_thread(shutil.copytree, template, folder)
    settings = dict(vector.settings)
    settings.pop("whole", None)
    registration = settings.pop("registration", "open")
    sign_in = None
    demanded = settings.pop("sign_in", None)
    if demanded is not None:
        providers = (SignIn("Our provider", ("https://id.example/auth", "a=b"), ("https://id.example/token", "c=d")),)
        sign_in = SignInRule(lambda nonce: providers, _knows_one_token, required=demanded == "required")
    per_address = settings.pop("per_address", None)
    pace = RegistrationLimits(int(per_address), 0, ()) if per_address is not None else None
    limits = {name: int(value) for name, value in settings.items()}
    async with running_instance(
        folder, registration=registration, limits=limits, sign_in=sign_in, registrations=pace
    ) as instance:
        await Run(vector, instance, byte_by_byte=byte_by_byte).play()
