# SPDX-License-Identifier: AGPL-3.0-or-later
"""A second reader of sealed messages, made from docs/protocol.md alone: libsodium's functions, JSON, and nothing of ours.

It wants the whole post in memory and says of what is wrong no more than that.
"""

import base64
import json
import unicodedata
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from nacl import bindings as sodium

E2E = {"suite": 0, "epoch": 0, "keys": [], "commit": "", "header": "", "nonce": "", "salt": "", "ops": 0, "memory": 0}
WRAPPED = {"device": None, "sealed": None, "prekey": ""}
MANIFEST = {
    **dict.fromkeys(("v", "sender", "device", "request", "time", "for", "accounts")),
    **{"thread": "", "suite": None, "epoch": 0, "outer": None, "inner": None, "subject": None, "text": None},
    "attachments": [],
}
ADDRESSEE = {"uid": None, "head": "", "link": ""}
PIECE, RECIPIENT = {"size": None, "hash": None}, {"id": None, "type": None}


class Wrong(Exception):
    """It is not what the specification says."""


@dataclass
class Reader:
    """Who opens it: secrets by their public keys (`box` stands for the log's), or shared keys, or a content key."""

    uid: str
    device: str = ""
    secrets: dict[str, bytes] = field(default_factory=dict)
    box: str = ""
    shared: list[bytes] = field(default_factory=list)
    key: bytes | None = None


def un64(text: str, size: int) -> bytes:
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    want(len(data) == size and to64(data) == text)
    return data


def to64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def hash256(data: bytes, key: bytes = b"", person: bytes = b"", size: int = 32) -> bytes:
    return blake2b(data, key=key, person=person, digest_size=size).digest()


def want(condition: bool) -> None:
    if not condition:
        raise Wrong


def fields(value: Any, names: dict[str, Any]) -> dict[str, Any]:
    """An object with these names in this order; what has its default is left out, and stands in the result."""
    want(isinstance(value, dict) and list(value) == [name for name in names if name in value])
    want(all(name in value or default is not None for name, default in names.items()))
    want(all(names[name] is None or value[name] != names[name] for name in value))
    return {**names, **value}


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    want(len({name for name, _ in pairs}) == len(pairs))
    return dict(pairs)


def compact(raw: bytes) -> Any:
    value = json.loads(raw, object_pairs_hook=once)
    want(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() == raw)
    return value


def whole(value: Any) -> int:
    want(type(value) is int and 0 <= value < 2**53)
    return int(value)


def padded(size: int) -> int:
    """As the Padmé paper has it, and no finer than 256."""
    exponent = size.bit_length() - 1
    last_bits = exponent - exponent.bit_length()
    mask = (1 << max(last_bits, 8)) - 1
    return (size + mask) & ~mask


def read_outer(outer: bytes) -> dict[str, Any]:
    value = compact(outer)
    want(list(value) == ["e2e"])
    e2e = fields(value["e2e"], E2E)
    want(e2e["suite"] in (1, 2))
    un64(e2e["commit"], 32), un64(e2e["header"], 24), whole(e2e["epoch"])
    e2e["keys"] = [fields(one, WRAPPED) for one in e2e["keys"]]
    want(len({one["device"] for one in e2e["keys"]}) == len(e2e["keys"]))
    for one in e2e["keys"]:
        un64(one["device"], 32), un64(one["sealed"], 112)
        want(not one["prekey"] or len(un64(one["prekey"], 32)) == 32)
    if e2e["suite"] == 2:
        want(bool(e2e["keys"]) and not any(e2e[name] for name in ("epoch", "nonce", "salt", "ops", "memory")))
    else:
        un64(e2e["nonce"], 32)
        want(not e2e["keys"] and (bool(e2e["salt"]) or e2e["ops"] == e2e["memory"] == 0))
        if e2e["salt"]:
            want(len(un64(e2e["salt"], 16)) == 16 and 2 <= e2e["ops"] <= 8 and 32 << 10 <= e2e["memory"] <= 256 << 10)
    return e2e


def content_key(e2e: dict[str, Any], reader: Reader) -> bytes:
    """64 octets: the message's half, and the account's."""
    found = [reader.key] if reader.key else []
    for one in e2e["keys"]:
        if one["device"] == reader.device and not found:
            secret = reader.secrets[one["prekey"] or reader.box]
            found.append(
                sodium.crypto_box_seal_open(un64(one["sealed"], 112), sodium.crypto_scalarmult_base(secret), secret)
            )
    for shared in reader.shared:
        key = hash256(un64(e2e["nonce"], 32), shared, b"tmtp-e2e-shared", 64)
        if to64(hash256(b"", key[:32], b"tmtp-e2e-commit")) == e2e["commit"]:
            found.append(key[:32] + hash256(reader.uid.encode(), key[32:], b"tmtp-e2e-account"))
    want(len(found) == 1 and to64(hash256(b"", found[0][:32], b"tmtp-e2e-commit")) == e2e["commit"])
    return found[0]


def passphrase_key(passphrase: str, e2e: dict[str, Any]) -> bytes:
    octets = unicodedata.normalize("NFKC", passphrase).encode()
    salt, memory = un64(e2e["salt"], 16), e2e["memory"] * 1024
    return sodium.crypto_pwhash_alg(32, octets, salt, e2e["ops"], memory, sodium.crypto_pwhash_ALG_ARGON2ID13)


def decrypted(key: bytes, header: bytes, sealed: bytes) -> bytes:
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    sodium.crypto_secretstream_xchacha20poly1305_init_pull(state, header, key)
    plain = b""
    for start in range(0, len(sealed), 65536 + 17):
        piece, tag = sodium.crypto_secretstream_xchacha20poly1305_pull(state, sealed[start : start + 65536 + 17])
        want(tag == (3 if start + 65536 + 17 >= len(sealed) else 0))
        plain += piece
    return plain


def read_manifest(raw: bytes) -> dict[str, Any]:
    manifest = fields(compact(raw), MANIFEST)
    want(manifest["v"] == 1 and manifest["suite"] in (1, 2) and bool(manifest["sender"]) and bool(manifest["request"]))
    whole(manifest["time"]), whole(manifest["epoch"]), un64(manifest["outer"], 32), un64(manifest["subject"], 32)
    for one in (manifest["inner"], manifest["text"], *manifest["attachments"]):
        want(set(fields(one, PIECE)) == {"size", "hash"})
        whole(one["size"]), un64(one["hash"], 32)
    for one in manifest["for"]:
        fields(one, RECIPIENT)
    accounts = [fields(one, ADDRESSEE) for one in manifest["accounts"]]
    want(len({one["uid"] for one in accounts} - {""}) == len(accounts))
    for one in accounts:
        un64(one["link"], 56)
        want(
            (manifest["suite"] == 1 and one["uid"] != manifest["sender"] and not one["head"])
            or len(un64(one["head"], 32)) == 32
        )
    manifest["accounts"] = {one["uid"]: one for one in accounts}
    return manifest


def open_post(data: bytes, datahead: int, service_key: bytes, sender: str, reader: Reader) -> dict[str, Any]:
    """What a sealed post says. Raises `Wrong`, or whatever a library raises, for what is none."""
    outer, sealed = data[:datahead], data[datahead:]
    e2e = read_outer(outer)
    key = content_key(e2e, reader)
    stream_key = hash256(service_key + outer, key[:32], b"tmtp-e2e-stream")
    plain = decrypted(stream_key, un64(e2e["header"], 24), sealed)
    end = 4 + int.from_bytes(plain[:4], "big")
    raw, signature = plain[4:end], plain[end : end + 64]
    manifest = read_manifest(raw)
    signed = b"tmtp-e2e\0" + service_key + raw
    want(sodium.crypto_sign_open(signature + signed, un64(manifest["device"], 32)) == signed)
    want(manifest["sender"] == sender and {sender, reader.uid} <= set(manifest["accounts"]))
    want((manifest["suite"], manifest["epoch"]) == (e2e["suite"], e2e["epoch"]))
    want(manifest["outer"] == to64(hash256(outer)))
    at, pieces = end + 64, []
    for one in (manifest["inner"], manifest["text"], *manifest["attachments"]):
        pieces.append(plain[at : at + one["size"]])
        want(len(pieces[-1]) == one["size"] and to64(hash256(pieces[-1])) == one["hash"])
        at += one["size"]
    want(len(plain) == padded(at) and not any(plain[at:]))
    head = json.loads(pieces[0], object_pairs_hook=lambda pairs: once([(name.lower(), value) for name, value in pairs]))
    want("e2e" not in head and manifest["thread"] == (head.get("threadid") or ""))
    want(manifest["subject"] == to64(hash256(head.get("subject", "").encode())))
    attached = head.get("attach", [])
    want([one.get("size", 0) for one in attached] == [one["size"] for one in manifest["attachments"]])
    want(len({one["name"] for one in attached}) == len(attached))
    link = sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
        un64(manifest["accounts"][reader.uid]["link"], 56), None, bytes(24), key[32:]
    )
    count = int.from_bytes(link[:8], "big")
    want(count < 2**53 and (count > 0 or not any(link[8:])))
    return {
        "key": to64(key),
        "manifest": raw.decode(),
        "head": pieces[0].decode(),
        "text": pieces[1].decode(),
        "attachments": [to64(one) for one in pieces[2:]],
        "link": {"count": count, "last": to64(link[8:]) if any(link[8:]) else ""},
    }


def safety_number(service_key: bytes, sides: list[dict[str, Any]]) -> str:
    content = service_key
    for uid, head in sorted((side["uid"].encode(), un64(side["head"], 32)) for side in sides):
        content += len(uid).to_bytes(4, "big") + uid + head
    octets = hash256(content, person=b"tmtp-safety", size=64)
    return " ".join(f"{int.from_bytes(octets[at : at + 5], 'big') % 100000:05}" for at in range(0, 60, 5))
