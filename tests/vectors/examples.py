# SPDX-License-Identifier: AGPL-3.0-or-later
"""Replays the examples of docs/protocol.md with a client that knows nothing but that page.

No code of the product is used to speak: sockets, JSON and libsodium only. What the page leaves out, this cannot do.
"""

import base64
import hashlib
import json
import re
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nacl.public import PrivateKey
from nacl.signing import SigningKey, VerifyKey

from tests.vectors.runner import FORMS, STORED, Run, Vector, VectorFailed

FORMS["?token"] = re.compile(r"[%+1-9B-DF-HJ-NP-TV-Z]{32}")
STORED |= {"log", "block", "return"}
_BLOCK = re.compile(r"^```tmtp\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FORMS["?key"] = re.compile(r"[A-Za-z0-9_-]{86}")


_ONE_STORY = {  # of one account, from its registration on
    "Revision 2",
    "Registering",
    "Logging in",
    "Deliveries and acks",
    "The rules",
    "When the service knows less than a device",
    "Coming back",
}


@dataclass
class Example:
    """Blocks that belong together: one instance, from one `set` (or heading) to the next."""

    title: str
    settings: dict[str, str] = field(default_factory=dict)
    lines: list[tuple[int, str]] = field(default_factory=list)


def read_examples(page: Path) -> Iterator[Example]:
    """All examples of a page. The blocks from registering to the log tell one story; the others begin anew."""
    text = page.read_text("utf-8")
    story = Example("a story")
    yield story
    for match in _BLOCK.finditer(text):
        first = text[: match.start(1)].count("\n") + 1
        heading = [line for line in text[: match.start()].splitlines() if line.startswith("#")][-1].lstrip("# ")
        lines = [(first + place, line) for place, line in enumerate(match[1].splitlines()) if line.strip()]
        settings = dict(pair.split("=", 1) for _, line in lines if line.startswith("set ") for pair in line[4:].split())
        lines = [(number, line) for number, line in lines if not line.startswith("set ")]
        if heading in _ONE_STORY:
            story.lines += lines
        else:
            yield Example(heading, settings, lines)


class ExampleRun(Run):
    """`Run`, with `let`, `same`, `verify`, `keys` and `bridge`."""

    def __init__(self, example: Example, page: Path, instance: Any) -> None:
        super().__init__(Vector(page, example.title, "§"), instance, byte_by_byte=False)
        self._vector.lines = example.lines
        self._signers: dict[str, SigningKey] = {}

    async def _line(self, line: str) -> None:
        first, _, rest = line.partition(" ")
        if first == "let":
            name, _, expression = rest.partition(" = ")
            self._variables[name.strip()] = self._value(name.strip(), expression.strip())
        elif first == "same":
            one, other = (self._substituted(part) for part in rest.split())
            if one != other:
                raise VectorFailed(f"{one} is not {other}")
        elif first == "verify":
            key, signature, purpose, *parts = rest.split()
            VerifyKey(_bytes(self._substituted(key))).verify(
                self._framed(json.loads(purpose), parts), _bytes(self._substituted(signature))
            )
        else:
            await super()._line(line)

    async def _verb(self, name: str, verb: str, argument: str) -> None:
        if verb in {"connect", "keys"} and name in self._links:
            await self._links[name].close()
        if verb == "keys":
            await self._connect(name)
            await self._register_keys(name, json.loads(argument))
        elif verb == "bridge":
            route, _, alias = argument.partition(" ")
            await self._bridge(name, route, json.loads(alias))
        elif verb == "<" and " + json " in argument:
            await self._expect_json(name, argument)
        else:
            await super()._verb(name, verb, argument)

    # -- values ------------------------------------------------------------------------------------------------------
    def _value(self, name: str, expression: str) -> str:
        kind, _, rest = expression.partition(" ")
        if kind == "key":
            self._signers[name] = SigningKey(_seed(json.loads(rest)))
            return _text(bytes(self._signers[name].verify_key))
        if kind == "box":
            return _text(bytes(PrivateKey(_seed(json.loads(rest))).public_key))
        if kind == "json":
            return _text(self._substituted(rest).encode())
        if kind == "blake2b":
            return _text(hashlib.blake2b(self._part(rest), digest_size=32).digest())
        if kind == "hash":
            purpose, *parts = rest.split()
            return _text(hashlib.blake2b(self._framed(json.loads(purpose), parts), digest_size=32).digest())
        if kind == "work":
            bits, *parts = rest.split()
            return _worked(int(bits), b"".join(map(self._part, parts)))
        if kind == "token":
            return f"a token with the nonce {self._substituted(rest)}"
        if kind == "head":
            old, time, by, entry = rest.split()
            signers = ",".join(sorted(self._substituted(json.loads(by)).split(",")))
            when = int(self._substituted(time)).to_bytes(8, "big")
            content = self._part(old) + when + signers.encode() + b"\0" + self._part(entry)
            return _text(hashlib.blake2b(content, digest_size=32, person=b"tmtp-log").digest())
        if kind == "sign":
            key, purpose, *parts = rest.split()
            return _text(self._signers[key].sign(self._framed(json.loads(purpose), parts)).signature)
        raise ValueError(f"nothing is known of {kind!r}")

    def _framed(self, purpose: str, parts: list[str]) -> bytes:
        return purpose.encode() + b"\0" + b"".join(map(self._part, parts))

    def _part(self, part: str) -> bytes:
        if part == "spki":
            return _spki_hash(self._instance.host, self._instance.port)
        kind, _, text = part.partition(":")
        value = self._substituted(text)
        if value.startswith("$"):
            raise ValueError(f"nothing is called {value}")
        return _PARTS[kind](value)

    # -- macros ------------------------------------------------------------------------------------------------------
    async def _greet(self, name: str) -> None:
        await self._verb(name, ">", '{"op":0,"id":"2"}')
        frame = await self._next(self._links[name])
        self._variables["service"] = frame.head["service"]["key"]
        self._variables["its.nonce"] = frame.head["nonce"]

    async def _register_keys(self, name: str, alias: str) -> None:
        await self._greet(name)
        for line in (
            f'let {name}.device = key "{name}"',
            f'let {name}.recovery = key "{name} on paper"',
            f'let {name}.box = box "{name}"',
            'let its.entry = json {"act":"genesis","prev":"",'
            f'"device":"${name}.device","box":"${name}.box","recovery":"${name}.recovery"}}',
            f'let its.sig = sign {name}.device "tmtp-log" b64:$service b64:$its.entry',
            f'let its.recoverysig = sign {name}.recovery "tmtp-log" b64:$service b64:$its.entry',
            "let its.digest = blake2b b64:$its.entry",
            f'let its.proof = sign {name}.device "tmtp-register" b64:$its.nonce b64:$service spki b64:$its.digest',
            f'let its.other = sign {name}.recovery "tmtp-register" b64:$its.nonce b64:$service spki b64:$its.digest',
        ):
            await self._line(line)
        register = {
            "op": 1,
            "newnode": name,
            "newalias": alias,
            "device": f"${name}.device",
            "entry": "$its.entry",
            "sigs": [{"by": f"${name}.device", "sig": "$its.sig"}, {"by": "recovery", "sig": "$its.recoverysig"}],
            "sig": "$its.proof",
            "recoverysig": "$its.other",
        }
        await self._verb(name, ">", json.dumps(register))
        registered = {"op": "registered", "uid": f"${name}.uid", "device": f"${name}.device"}
        await self._verb(name, "<", json.dumps(registered))
        self._variables.pop("its.head", None)
        await self._verb(name, "<", '{"op":"info","info":"login ok","window":64,"head":"$its.head"}')

    async def _bridge(self, name: str, route: str, alias: str) -> None:
        """What an administrator does, and then a log-in as the page describes it."""
        await self._connect(name)
        await self._greet(name)
        for line in (
            f'let {name}.device = key "{name}"',
            f'let {name}.recovery = key "{name} on paper"',
            f'let {name}.box = box "{name}"',
            'let its.entry = json {"act":"genesis","prev":"",'
            f'"device":"${name}.device","box":"${name}.box","recovery":"${name}.recovery"}}',
            f'let its.sig = sign {name}.device "tmtp-log" b64:$service b64:$its.entry',
            f'let its.recoverysig = sign {name}.recovery "tmtp-log" b64:$service b64:$its.entry',
        ):
            await self._line(line)
        value = self._variables
        self._variables[f"{name}.uid"] = await self._instance.new_bridge(
            name,
            {route: alias},
            value["its.entry"],
            {value[f"{name}.device"]: value["its.sig"], "recovery": value["its.recoverysig"]},
        )
        proof = f'let its.login = sign {name}.device "tmtp-login" b64:$its.nonce b64:$service spki raw:${name}.uid'
        await self._line(proof)
        await self._verb(name, ">", f'{{"op":2,"uid":"${name}.uid","device":"${name}.device","sig":"$its.login"}}')
        self._variables.pop("its.head", None)
        await self._verb(name, "<", '{"op":"info","info":"login ok","window":64,"head":"$its.head"}')
        await self._verb(name, "<", f'{{"op":"login","id":"?id","from":"${name}.uid","posted":"?date","node":"tbd"}}')
        self._links[name].entered = False  # nothing it may ask could prove that nothing else came

    async def _expect_json(self, name: str, argument: str) -> None:
        """A header, and data that is this JSON; `"$name"` in it binds a text or a number."""
        text, _, wanted = argument.partition(" + json ")
        frame = await self._next(self._links[name])
        got = {key: value for key, value in frame.head.items() if key not in {"datalen", "headsum"}}
        if not self._equal(json.loads(text), got) or not self._bound(json.loads(wanted), json.loads(frame.data)):
            raise VectorFailed(f"got {frame.raw!r} + {frame.data!r}")

    def _bound(self, expected: Any, got: Any) -> bool:
        if isinstance(expected, str) and expected.startswith("$") and isinstance(got, int):
            return int(self._variables.setdefault(expected[1:], str(got))) == got
        if isinstance(expected, list) and isinstance(got, list):
            return len(expected) == len(got) and all(map(self._bound, expected, got))
        if isinstance(expected, dict) and isinstance(got, dict):
            return expected.keys() == got.keys() and all(self._bound(expected[key], got[key]) for key in expected)
        return self._equal(expected, got)


def _worked(bits: int, puzzle: bytes) -> str:
    """As a stranger would, from the page alone."""
    for number in range(1 << 40):
        answer = number.to_bytes(8, "big")
        digest = hashlib.blake2b(puzzle + answer, digest_size=32, person=b"tmtp-work").digest()
        if int.from_bytes(digest, "big") < 1 << (256 - bits):
            return _text(answer)
    raise ValueError("nothing fits")


def _number(size: int) -> Callable[[str], bytes]:
    return lambda text: int(text).to_bytes(size, "big")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _seed(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=32).digest()


def _spki_hash(host: str, port: int) -> bytes:
    """As the client sees it: from the certificate that this address shows."""
    pem = ssl.get_server_certificate((host, port))
    key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


_PARTS: dict[str, Callable[[str], bytes]] = {
    "raw": str.encode,
    "b64": _bytes,
    "u32": _number(4),
    "u64": _number(8),
}
