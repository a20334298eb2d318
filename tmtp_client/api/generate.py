# SPDX-License-Identifier: AGPL-3.0-or-later
"""Writes what is made from the schema: `python -m tmtp_client.api.generate docs/client-api.md types.d.ts`.

The document is committed, and a test compares it. TypeScript's types are made where they are used, and never committed.
"""

import sys
from itertools import groupby
from pathlib import Path
from typing import Final

import msgspec

from tmtp_client import limits
from tmtp_client.api import schema
from tmtp_client.api.inline import INLINE
from tmtp_client.api.models import EVENTS, VERSION
from tmtp_client.api.operations import OPERATIONS, Operation

_INTRODUCTION: Final = """\
# The local API

<!-- Made by tmtp_client/api/generate.py. Change the structs, then run: python -m tmtp_client.api.generate -->

Everything that a person's device does, it does behind this interface: windows, the command line and programs use the
same operations. It is version {version}; a field may be added to an answer, none changes its meaning.

`tmtp daemon` runs the engine and serves the API on 127.0.0.1, at a port that the system chooses. `daemon.json` in the
home (mode 0600, there while the daemon runs) says where:

```json
{{"version": {version}, "pid": 4711, "port": 40321, "url": "http://127.0.0.1:40321", "key": "…"}}
```

## Coming in
- **A program** sends `Authorization: Bearer KEY` with the `key` of `daemon.json` in each request. The key is another
  each time the daemon starts.
- **A browser** is let in once: a program asks `POST /tokens` (with the key) and opens the `url` of the answer,
  `/enter?token=…`. The token works once, for {token_s:.0f} seconds; it becomes a cookie (`HttpOnly`, `SameSite=Strict`,
  for the browser's session), with which pages of this server ask.

Everything else is refused: a `Host` that is not 127.0.0.1, localhost or [::1] with the port; an `Origin`, or
`Sec-Fetch-Site`, of another site; a page's WebSocket or upload without an `Origin`; on Linux, connections of other
users of the machine. Answers carry a policy under which nothing runs, loads or is framed; that of the client's pages,
at `/`, lets them run and load what the same server has, and nothing else. A browser that is refused gets the reason as
a page, in words.

A home that is locked says nothing of an account any more: what had been asked for is answered `locked`, and a socket
that has not taken what was on its way is cut off; who comes again resumes.

## The WebSocket `/api/{version}`
Texts of JSON. A request is `{{"id": 1, "method": "threads.list", "params": {{"account": "work"}}}}`; its answer has the
same `id`, and `result` or `problem`. Answers come in any order. Unknown fields of a request are refused, with their
names.

| limit | |
|---|---|
| a frame to the engine | {frame} MiB |
| requests of one socket that wait for their answers | {requests}; no more is read meanwhile |
| sockets | {sockets} |
| a connection without cookie or key | is cut off after {stranger:.0f} s, or when {strangers} others have come |
| a socket that takes nothing | is cut off after {slow:.0f} s |
| files taken in, handed out at once | {uploads}, {downloads} |

## Events
After `home.watch` events follow on the same socket: `type`, `account`, `number` and `data`. Numbers rise within an
account, and what has changed is told once and in order: several changes of one message, thread, person or group that
nobody has been told of yet are told as one, as it is then, in the place of the last.

Who comes again gives the last number of each account as `since`, and goes on there; accounts that are not named begin
now. `gap` says that some are not kept any more: what is shown is then to be asked anew, and events go on from its
`number`. Events without a number (presence, progress, the home) are told to those who listen, and not kept.

A home can be watched while it is locked: the event `home` says when it is opened. What an account has got by then is
to be asked for.

## Files
`POST /files/ACCOUNT?name=NAME` with the octets as `application/octet-stream` takes in a file, of any size, and answers
`Staged`; its `file` goes into `messages.send`. `GET /files/ACCOUNT/MESSAGE/PLACE` hands out an attachment: `Range`,
`If-Range` and `If-None-Match` work. It comes as a file to keep; with `?inline=1` as what it is, if that is one of
{inline}, and if its octets say
so, too: else the answer is 415, and 413 for a picture of more than {pixels} million pixels or {picture} MiB. With
`?inline=ask` the answer says so beforehand, as JSON: `why` is empty, `other` or `large`. Of a text only the first
{text} MiB come. A page may show that in a frame, but for a PDF: a link in one would lead the whole page away, so it
opens in a tab of its own. The answer has a policy that lets nothing run or load. Locking the home cuts off whatever is
on its way. Problems come as JSON, with a status.

`POST /codes?of=invitation` with the octets of a picture (PNG, JPEG, GIF or WebP; {code_picture} MiB at most) as
`application/octet-stream` is answered as on the socket: `result` is `Text`, the link that its QR code says (`of=link`:
a text that adds a device), or `problem` says what is wrong with it. Nothing of the picture is kept.

## In Python
```python
from tmtp_client.api.connecting import connected
from tmtp_client.api.operations import ListThreads

async with connected(home) as client:  # the daemon, or the engine in this process when none runs
    page = await client.call("threads.list", ListThreads(account="work"))
    async for event in client.events():
        ...
```
Answers and the `data` of events are structs of `tmtp_client.api.models`; every failure is a `ProblemError`.
TypeScript's types: `python -m tmtp_client.api.generate types.d.ts`.
"""

_TYPES: Final = """\
// The local API of TMTP Gateway's client, version {version}. Made by tmtp_client/api/generate.py.
// SPDX-License-Identifier: AGPL-3.0-or-later

"""


def document() -> str:
    """docs/client-api.md."""
    parts = [_introduction(), "\n## Operations\n"]
    parts.append("A lock beside a name: it is answered while the home is locked, too.\n")
    for group, operations in groupby(OPERATIONS, lambda one: one.name.partition(".")[0]):
        parts.append(f"\n### Operations: {group}\n\n| operation | parameters | answer | |\n|---|---|---|---|\n")
        parts += [_row(operation) for operation in operations]
    parts.append("\n## What events carry\n\n| `type` | `data` |\n|---|---|\n")
    parts += [f"| `{name}` | {_link(kind.__name__)} |\n" for name, kind in EVENTS.items()]
    parts.append("\n## Objects\n\nA field with `?` may be missing: it is then what stands behind `=`.\n")
    parts += [_section(one) for one in schema.shapes()]
    return "".join(parts)


def typescript() -> str:
    """The types, for pages and programs."""
    parts = [_TYPES.format(version=VERSION)]
    for one in schema.shapes():
        parts.append(f"{_comment(one.about)}export interface {one.name} {{\n")
        for field in one.fields:
            parts.append(_comment(field.note, "  ") if field.note else "")
            parts.append(f"  readonly {field.name}{'?' if field.optional else ''}: {schema.type_text(field.type)};\n")
        parts.append("}\n\n")
    parts.append("/** What each operation takes and answers. */\nexport interface Operations {\n")
    for operation in OPERATIONS:
        answer = " | ".join(one.__name__ for one in schema.answers(operation.answer))
        parts.append(_comment(operation.does, "  "))
        answer = f"readonly {answer}[]" if operation.many else answer
        parts.append(f'  "{operation.name}": {{ params: {operation.params.__name__}; answer: {answer} }};\n')
    parts.append("}\n\n/** What each type of event carries. */\nexport interface Events {\n")
    parts += [f'  "{name}": {kind.__name__};\n' for name, kind in EVENTS.items()]
    parts.append(
        "}\n\n/** An event, told apart by its type. */\nexport type TypedEvent = {\n"
        "  [T in keyof Events]: { readonly type: T; readonly account: string; readonly number?: number;"
        " readonly data: Events[T] };\n}[keyof Events];\n"
    )
    return "".join(parts)


def _introduction() -> str:
    return _INTRODUCTION.format(
        version=VERSION,
        token_s=limits.API_TOKEN_LIFE_S,
        frame=limits.API_FRAME_MAX_BYTES >> 20,
        requests=limits.API_REQUESTS_MAX,
        sockets=limits.API_SOCKETS_MAX,
        slow=limits.API_SLOW_READER_S,
        stranger=limits.API_STRANGER_S,
        strangers=limits.API_STRANGERS_MAX,
        uploads=limits.API_UPLOADS_MAX,
        downloads=limits.API_DOWNLOADS_MAX,
        inline=", ".join(sorted(INLINE)),
        pixels=limits.PICTURE_SHOWN_MAX_PIXELS // 1_000_000,
        picture=limits.PICTURE_SHOWN_MAX_BYTES >> 20,
        text=limits.TEXT_SHOWN_MAX_BYTES >> 20,
        code_picture=limits.CODE_PICTURE_MAX_BYTES >> 20,
    )


def _row(operation: Operation) -> str:
    answer = " or ".join(_link(one.__name__) for one in schema.answers(operation.answer))
    lock = " 🔒" if operation.locked else ""
    many = "list of " if operation.many else ""
    return f"| `{operation.name}`{lock} | {_link(operation.params.__name__)} | {many}{answer} | {operation.does} |\n"


def _section(one: schema.Shape) -> str:
    lines = [f"\n### {one.name}\n{one.about}\n"]
    if one.fields:
        lines.append("\n| field | type | |\n|---|---|---|\n")
    for field in one.fields:
        kind = schema.type_text(field.type, "{}[]").replace("|", "\\|")
        default = f" = {msgspec.json.encode(field.default).decode()}" if field.optional else ""
        lines.append(f"| `{field.name}{'?' if field.optional else ''}` | `{kind}{default}` | {field.note} |\n")
    return "".join(lines)


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _comment(text: str, indent: str = "") -> str:
    lines = text.replace("*/", "* /").splitlines()
    if len(lines) == 1:
        return f"{indent}/** {lines[0]} */\n"
    return "".join((f"{indent}/**\n", *(f"{indent} * {line}".rstrip() + "\n" for line in lines), f"{indent} */\n"))


def main(paths: list[str]) -> None:
    """Write each file, by its ending."""
    for path in paths or ["docs/client-api.md"]:
        Path(path).write_text(typescript() if path.endswith(".ts") else document(), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
