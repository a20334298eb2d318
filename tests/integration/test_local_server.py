# SPDX-License-Identifier: AGPL-3.0-or-later
"""The local server against pages of other sites, other users of the machine, and programs that misbehave (B1, B6, D4)."""

import asyncio
import io
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.small_engine import Visitor, visited
from tmtp_client import limits
from tmtp_client.api import models as m

EVIL = "http://evil.example"


@pytest.fixture
async def visitor(tmp_path: Path) -> AsyncIterator[Visitor]:
    async with visited(tmp_path) as made:
        yield made


async def ask(ws: aiohttp.ClientWebSocketResponse, method: str, number: int = 1, **params: Any) -> Any:
    await ws.send_json({"id": number, "method": method, "params": params})
    return await ws.receive_json(timeout=10)


# -- who may come in -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", ["/", "/api/1", "/files/work/m/0", "/nothing", "/enter?token=x", "/tokens"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1:1", "127.0.0.1", "localhost.evil.example:{port}", ""]
)
async def test_a_name_of_another_site_that_points_here_is_refused_with_every_right(
    visitor: Visitor, path: str, host: str
) -> None:
    headers = {**visitor.bearer, "Host": host.format(port=visitor.server.port)}
    assert (await visitor.get(path, headers)).status in {400, 421}


async def test_a_request_with_two_hosts_is_refused(visitor: Visitor) -> None:
    port = visitor.server.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    key = visitor.entrance.key
    request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nHost: evil.example\r\nAuthorization: Bearer {key}\r\n\r\n"
    writer.write(request.encode())
    assert b" 4" in (await reader.readline())[8:11]
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
async def test_its_own_names_are_taken(visitor: Visitor, name: str) -> None:
    headers = {**visitor.bearer, "Host": f"{name}:{visitor.server.port}"}
    assert (await visitor.get("/", headers)).status == 200


@pytest.mark.parametrize("origin", [EVIL, "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1", "http://127.0.0.1"])
async def test_another_sites_page_gets_nothing_even_with_cookie_and_key(visitor: Visitor, origin: str) -> None:
    headers = {**await visitor.cookie(), **visitor.bearer, "Origin": origin.format(port=visitor.server.port)}
    assert (await visitor.get("/", headers)).status == 403
    assert (await visitor.get("/tokens", headers, "POST")).status == 403
    assert (await visitor.get("/enter?token=" + visitor.entrance.issue(), headers)).status == 403
    assert (await visitor.get("/files/work?name=a", headers, "POST", data=b"x")).status == 403
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await visitor.socket(headers)
    assert refused.value.status == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_another_ports_page_cannot_embed_a_file_although_its_browser_sends_the_cookie(
    visitor: Visitor, tmp_path: Path, site: str
) -> None:
    (tmp_path / "work-m-1").write_bytes(b"picture")
    cookie = (await visitor.cookie())["Cookie"]
    assert (await visitor.get("/files/work/m/1", {"Cookie": cookie, "Sec-Fetch-Site": site})).status == 403
    assert (await visitor.get("/files/work/m/1", {"Cookie": cookie, "Sec-Fetch-Site": "same-origin"})).status == 200


@pytest.mark.parametrize("path", ["/", "/api/1", "/files/work/m/0"])
async def test_without_cookie_or_key_nothing_is_told(visitor: Visitor, path: str) -> None:
    stranger = {"Origin": visitor.server.url}
    assert (await visitor.get(path, stranger)).status == 401
    assert (await visitor.get(path, stranger | {"Cookie": f"tmtp-{visitor.server.port}=00"})).status == 401
    assert (await visitor.get(path, stranger | {"Authorization": "Bearer " + "0" * 64})).status == 401
    assert (await visitor.get(path, stranger | {"Authorization": "Bearer"})).status == 401
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await visitor.socket(stranger)
    assert refused.value.status == 401


async def test_a_page_that_does_not_say_its_origin_changes_nothing(visitor: Visitor) -> None:
    cookie = {"Cookie": (await visitor.cookie())["Cookie"]}
    octets = {"Content-Type": "application/octet-stream"}
    assert (await visitor.get("/files/work?name=a", cookie | octets, "POST", data=b"x")).status == 403
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await visitor.socket(cookie)
    assert refused.value.status == 403


async def test_a_token_opens_the_door_once_and_becomes_a_cookie_that_no_script_reads(visitor: Visitor) -> None:
    made = await visitor.get("/tokens", visitor.bearer, "POST")
    path = made.body.decode().split(str(visitor.server.port), 1)[1].rstrip('"}')
    entered = await visitor.get(path)
    assert entered.status == 200
    name, *attributes = [one.strip() for one in entered.headers["Set-Cookie"].split(";")]
    assert name.startswith(f"tmtp-{visitor.server.port}=")
    assert {one.lower() for one in attributes} == {"httponly", "path=/", "samesite=strict"}
    assert (await visitor.get("/", {"Cookie": name})).status == 200
    again = await visitor.get(path)
    assert again.status == 403
    assert "Set-Cookie" not in again.headers


async def test_a_page_makes_no_tokens(visitor: Visitor) -> None:
    assert (await visitor.get("/tokens", await visitor.cookie(), "POST")).status == 403


async def test_a_token_gets_too_old(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "API_TOKEN_LIFE_S", -1.0)
    assert (await visitor.get("/enter?token=" + visitor.entrance.issue())).status == 403


@pytest.mark.parametrize("token", ["", "x", "%00", "%ff%fe", "0" * 64])
async def test_a_wrong_token_opens_nothing(visitor: Visitor, token: str) -> None:
    assert (await visitor.get("/enter?token=" + token)).status == 403


_KNOCK = """
import os, socket, sys
os.setuid(65534)
port, key, *where = sys.argv[1:]
with socket.socket() as knocking:
    if where:
        knocking.bind((where[0], int(where[1])))
    knocking.connect(("127.0.0.1", int(port)))
    request = f"GET / HTTP/1.1\\r\\nHost: 127.0.0.1:{port}\\r\\nAuthorization: Bearer {key}\\r\\n\\r\\n"
    knocking.sendall(request.encode())
    print(knocking.recv(12).decode())
"""


async def test_another_user_of_the_machine_is_refused_with_a_stolen_key(visitor: Visitor) -> None:
    if os.getuid() != 0 or not Path("/proc/net/tcp").exists():
        pytest.skip("to be another user one has to be root, on Linux")
    command = (sys.executable, "-c", _KNOCK, str(visitor.server.port), visitor.entrance.key)
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    assert done.stdout == "HTTP/1.1 403\n"
    assert (await visitor.get("/", visitor.bearer)).status == 200


async def test_another_user_is_refused_also_from_the_port_that_a_browser_of_the_person_has(visitor: Visitor) -> None:
    """All of 127.0.0.0/8 is this machine: the same port at another of its addresses is free to take."""
    if os.getuid() != 0 or not Path("/proc/net/tcp").exists():
        pytest.skip("to be another user one has to be root, on Linux")
    _, writer = await asyncio.open_connection("127.0.0.1", visitor.server.port)
    taken = writer.get_extra_info("sockname")[1]
    for address in ("127.0.0.2", "127.1.2.3"):
        knock = (str(visitor.server.port), visitor.entrance.key, address, str(taken))
        command = (sys.executable, "-c", _KNOCK, *knock)
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
        assert done.stdout == "HTTP/1.1 403\n"
    writer.close()
    await writer.wait_closed()


async def test_every_answer_forbids_framing_sniffing_and_running(visitor: Visitor) -> None:
    for path, headers in (("/", visitor.bearer), ("/", {}), ("/nothing", visitor.bearer), ("/enter", {})):
        answer = await visitor.get(path, headers)
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        kept = answer.status == 200 and path == "/"  # the page itself is the same for everybody
        assert answer.headers["Cache-Control"] == ("no-cache" if kept else "no-store")
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "Server" not in answer.headers


async def test_it_listens_on_loopback_only(visitor: Visitor) -> None:
    listening = [
        line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
    ]
    own = [one for one in listening if int(one.rpartition(":")[2], 16) == visitor.server.port]
    assert own == [f"0100007F:{visitor.server.port:04X}"]


# -- the WebSocket -------------------------------------------------------------------------------------------------
async def test_requests_are_answered_each_with_its_id(visitor: Visitor) -> None:
    ws = await visitor.socket(await visitor.cookie())
    assert (await ask(ws, "render", 7, text="a"))["result"] == {"html": "a"}
    assert await ask(ws, "messages.show", 8, account="a", message="b") == {
        "id": 8,
        "problem": {"code": "not_found", "text": "no message has this id", "field": "message"},
    }
    await ws.close()


async def test_a_slow_answer_holds_up_no_other(visitor: Visitor) -> None:
    ws = await visitor.socket()
    visitor.engine.may_answer.clear()
    await ws.send_json({"id": 1, "method": "people.list", "params": {"account": "work"}})
    assert (await ask(ws, "render", 2, text="a"))["id"] == 2
    visitor.engine.may_answer.set()
    assert (await ws.receive_json())["id"] == 1
    await ws.close()


async def test_no_more_is_read_while_too_much_is_unanswered(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "API_REQUESTS_MAX", 3)
    ws = await visitor.socket()
    visitor.engine.may_answer.clear()
    for number in range(10):
        await ws.send_json({"id": number, "method": "people.list", "params": {"account": "work"}})
    other = await visitor.socket()
    assert (await ask(other, "render", 2, text="a"))["id"] == 2
    assert len(visitor.engine.asked) == 3
    visitor.engine.may_answer.set()
    assert {(await ws.receive_json())["id"] for _ in range(10)} == set(range(10))
    await ws.close()
    await other.close()


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", '{"id": "a", "method": "x"}', '{"id": 1}', '{"id": 1, "method": "x", "more": 1}'),
        f'{{"id": 1, "method": "render", "params": {{"text": {"[" * 100_000 + "]" * 100_000}}}}}',
    ],
    ids=lambda text: text[:40],
)
async def test_what_is_no_request_is_answered_so_and_the_socket_goes_on(visitor: Visitor, text: str) -> None:
    ws = await visitor.socket()
    await ws.send_str(text)
    answer = await ws.receive_json()
    assert answer["id"] == 0
    assert answer["problem"]["code"] == "usage"
    assert (await ask(ws, "render", text="a"))["result"] == {"html": "a"}
    await ws.close()


async def test_a_frame_that_is_too_long_ends_its_socket_alone(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "API_FRAME_MAX_BYTES", 10_000)
    ws, other = await visitor.socket(), await visitor.socket()
    await ws.send_json({"id": 1, "method": "render", "params": {"text": "x" * 10_000}})
    assert (await ws.receive()).type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}
    assert ws.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
    assert (await ask(other, "render", text="a"))["result"] == {"html": "a"}
    await other.close()


async def test_binary_frames_are_not_taken(visitor: Visitor) -> None:
    ws = await visitor.socket()
    await ws.send_bytes(b"{}")
    assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE
    assert ws.close_code == aiohttp.WSCloseCode.UNSUPPORTED_DATA


async def test_sockets_are_counted(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "API_SOCKETS_MAX", 2)
    first, second = await visitor.socket(), await visitor.socket()
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await visitor.socket()
    assert refused.value.status == 503
    await first.close()
    await second.close()
    async with asyncio.timeout(60):
        while True:
            try:
                third = await visitor.socket()
                break
            except aiohttp.WSServerHandshakeError:
                await asyncio.sleep(0.01)
    await third.close()


async def test_a_page_that_does_not_read_is_cut_off_and_resumes_where_it_was(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "API_SLOW_READER_S", 0.3)
    ws = await visitor.socket()
    assert ws._conn is not None
    await ask(ws, "home.watch")
    ws._conn.protocol.pause_reading()  # type: ignore[union-attr]
    visitor.engine.happens("work", 300, "x" * 200_000)  # 60 MB, far more than a system's sockets hold
    async with asyncio.timeout(60):
        while visitor.engine.listeners_of_watches:
            await asyncio.sleep(0.01)
    ws._conn.protocol.resume_reading()  # type: ignore[union-attr]
    got = [message.json()["number"] async for message in ws if message.type is aiohttp.WSMsgType.TEXT]
    assert len(got) < 300
    assert got == list(range(1, len(got) + 1))
    monkeypatch.undo()
    again = await visitor.socket()
    await ask(again, "home.watch", since={"work": len(got)})
    rest = [(await again.receive_json())["number"] for _ in range(300 - len(got))]
    assert got + rest == list(range(1, 301))
    await again.close()
    await ws.close()


async def test_events_follow_the_answer_to_a_watch(visitor: Visitor) -> None:
    visitor.engine.happens("work", 3)
    ws = await visitor.socket()
    assert (await ask(ws, "home.watch", since={"work": 1}))["result"] == {"numbers": {"work": 1}}
    assert [(await ws.receive_json())["number"] for _ in range(2)] == [2, 3]
    visitor.engine.tell(m.Event("presence", "work", 0, m.PresenceEvent("u", True)))
    assert await ws.receive_json() == {"type": "presence", "account": "work", "data": {"uid": "u", "present": True}}
    assert (await ask(ws, "home.watch"))["result"] == {"numbers": {"work": 3}}
    visitor.engine.happens("work")
    assert (await ws.receive_json())["number"] == 4
    await ws.close()


async def test_ending_closes_sockets_and_does_not_wait_for_them(tmp_path: Path) -> None:
    async with visited(tmp_path) as visitor:
        ws = await visitor.socket()
        await ask(ws, "home.watch")
        waiting = asyncio.create_task(ws.receive())
        idle = await asyncio.open_connection("127.0.0.1", visitor.server.port)
    assert (await waiting).type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}
    idle[1].close()


# -- files -----------------------------------------------------------------------------------------------------------
async def test_a_page_takes_in_a_file_of_any_size(visitor: Visitor, tmp_path: Path) -> None:
    headers = await visitor.cookie() | {"Content-Type": "application/octet-stream"}
    octets = os.urandom(3_000_000)
    answer = await visitor.get("/files/work?name=r%C3%A9sum%C3%A9.pdf", headers, "POST", data=io.BytesIO(octets))
    assert answer.body.decode() == '{"file":"upload","name":"résumé.pdf","size":3000000}'
    assert (tmp_path / "upload").read_bytes() == octets


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"])
async def test_what_a_form_can_send_is_no_upload(visitor: Visitor, kind: str) -> None:
    headers = await visitor.cookie() | {"Content-Type": kind}
    assert (await visitor.get("/files/work?name=a", headers, "POST", data=b"x")).status == 415


async def test_an_upload_that_ends_early_is_abandoned(visitor: Visitor) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", visitor.server.port)
    head = (
        f"POST /files/work?name=a HTTP/1.1\r\nHost: 127.0.0.1:{visitor.server.port}\r\nContent-Length: 1000\r\n"
        f"Authorization: Bearer {visitor.entrance.key}\r\nContent-Type: application/octet-stream\r\n\r\nsome"
    )
    writer.write(head.encode())
    await writer.drain()
    async with asyncio.timeout(60):
        while not (visitor.engine.folder / "upload").exists():  # it has begun
            await asyncio.sleep(0.01)
    writer.close()
    await writer.wait_closed()
    async with asyncio.timeout(60):
        while not visitor.engine.abandoned:
            await asyncio.sleep(0.01)
    assert not visitor.engine.failures


async def test_an_upload_that_stalls_is_abandoned(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "API_UPLOAD_STALL_S", 0.1)

    async def stalling() -> AsyncIterator[bytes]:
        yield b"some"
        await asyncio.sleep(3600)

    headers = visitor.bearer | {"Content-Type": "application/octet-stream"}
    answer = await visitor.get("/files/work?name=a", headers, "POST", data=stalling())
    assert answer.status == 503
    assert visitor.engine.abandoned == 1


async def test_files_are_handed_out_to_keep_and_never_to_run(visitor: Visitor, tmp_path: Path) -> None:
    for place in range(4):
        octets = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\1\0\0\0\1" if place == 1 else b"<script>0</script>"
        (tmp_path / f"work-m-{place}").write_bytes(octets)
    for place, inline, media in (
        (0, "1", "application/octet-stream"),
        (1, "1", "image/png"),
        (1, "0", "application/octet-stream"),
        (2, "1", "application/octet-stream"),
        (3, "1", "text/plain; charset=utf-8"),
    ):
        answer = await visitor.get(f"/files/work/m/{place}?inline={inline}", visitor.bearer)
        assert answer.headers["Content-Type"] == media
        shown = "inline" if media != "application/octet-stream" else "attachment"
        assert answer.headers["Content-Disposition"] == (f"{shown}; filename*=UTF-8''%C3%84rger%22%0D%0A%2F..%5Cx.html")
        framed = "self" if shown == "inline" else "none"
        policy = f"default-src 'none'; sandbox; frame-ancestors '{framed}'"
        assert answer.headers["Content-Security-Policy"] == policy
        assert answer.headers["X-Frame-Options"] == ("SAMEORIGIN" if shown == "inline" else "DENY")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_what_is_not_what_its_name_says_is_kept_and_not_shown(visitor: Visitor, tmp_path: Path) -> None:
    """B6: and where a picture is too large, and of a text only its beginning, under a tag of its own."""
    picture, text = tmp_path / "work-m-1", tmp_path / "work-m-3"
    for octets, status in (
        (b"<svg onload=x />", 415),
        (b"", 415),
        (b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\xff\xff\xff\0\xff\xff\xff", 413),
    ):
        picture.write_bytes(octets)
        assert (await visitor.get("/files/work/m/1?inline=1", visitor.bearer)).status == status
        asked = await visitor.get("/files/work/m/1?inline=ask", visitor.bearer)
        assert (asked.status, asked.body) == (200, b'{"why": "other"}' if status == 415 else b'{"why": "large"}')
        assert (await visitor.get("/files/work/m/1", visitor.bearer)).body == octets
    text.write_bytes(b"MZ\x90\0\3")
    assert (await visitor.get("/files/work/m/3?inline=1", visitor.bearer)).status == 415
    assert (await visitor.get("/files/work/m/2?inline=ask", visitor.bearer)).status == 404
    text.write_bytes(b"a" * limits.TEXT_SHOWN_MAX_BYTES + b"b")
    whole = await visitor.get("/files/work/m/3", visitor.bearer)
    shown = await visitor.get("/files/work/m/3?inline=1", visitor.bearer)
    assert (shown.status, len(shown.body), len(whole.body)) == (200, len(whole.body) - 1, len(whole.body))
    assert shown.headers["ETag"] != whole.headers["ETag"]
    last = await visitor.get("/files/work/m/3?inline=1", visitor.bearer | {"Range": "bytes=-1"})
    assert last.body == b"a"


@pytest.mark.parametrize(
    ("wanted", "status", "octets", "said"),
    [
        ("bytes=0-4", 206, slice(0, 5), "bytes 0-4/200000"),
        ("bytes=199990-", 206, slice(199_990, None), "bytes 199990-199999/200000"),
        ("bytes=-5", 206, slice(-5, None), "bytes 199995-199999/200000"),
        ("bytes=65530-65545", 206, slice(65_530, 65_546), "bytes 65530-65545/200000"),
        ("bytes=100-999999999", 206, slice(100, None), "bytes 100-199999/200000"),
        ("bytes=200000-", 416, slice(0, 0), "bytes */200000"),
        ("bytes=0-1,4-5", 200, slice(None), None),
        ("pages=1-2", 200, slice(None), None),
    ],
)
async def test_ranges(visitor: Visitor, tmp_path: Path, wanted: str, status: int, octets: slice, said: str) -> None:
    content = os.urandom(200_000)
    (tmp_path / "work-m-0").write_bytes(content)
    answer = await visitor.get("/files/work/m/0", visitor.bearer | {"Range": wanted})
    assert (answer.status, answer.headers.get("Content-Range")) == (status, said)
    assert status == 416 or answer.body == content[octets]


async def test_what_has_not_changed_is_not_sent_again_and_what_has_changed_is_sent_whole(
    visitor: Visitor, tmp_path: Path
) -> None:
    (tmp_path / "work-m-0").write_bytes(b"0123456789")
    first = await visitor.get("/files/work/m/0", visitor.bearer)
    tag = first.headers["ETag"]
    for known in (tag, f'"v0", {tag}', f"W/{tag}", "*"):  # RFC 9110 §13.1.2
        assert (await visitor.get("/files/work/m/0", visitor.bearer | {"If-None-Match": known})).status == 304
    assert (await visitor.get("/files/work/m/0", visitor.bearer | {"If-None-Match": '"v0"'})).status == 200
    one = visitor.bearer | {"Range": "bytes=1-2"}
    assert (await visitor.get("/files/work/m/0", one | {"If-Range": tag})).body == b"12"
    assert (await visitor.get("/files/work/m/0", one | {"If-Range": '"v0"'})).body == b"0123456789"
    head = await visitor.get("/files/work/m/0", visitor.bearer, "HEAD")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", "10")


@pytest.mark.parametrize(
    "path",
    [
        "/files/../../etc/passwd",
        "/files/work/m/..%2f..%2fetc%2fpasswd",
        "/files/work/m/x",
        "/files/work/m/-1",
        "/files/work/%2e%2e/0",
        "/files/%2e%2e%2f%2e%2e/m/0",
        "/files/work/m/00000000000000000",
    ],
)
async def test_no_path_leads_out_of_the_vault(visitor: Visitor, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", visitor.server.port)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{visitor.server.port}\r\nConnection: close\r\n"
        f"Authorization: Bearer {visitor.entrance.key}\r\n\r\n".encode()
    )
    answer = await reader.read()
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400"))
    writer.close()
    await writer.wait_closed()


async def test_a_locked_home_hands_out_no_file_and_takes_none_in(visitor: Visitor, tmp_path: Path) -> None:
    (tmp_path / "work-m-0").write_bytes(b"x")
    visitor.engine.locked = True
    headers = visitor.bearer | {"Content-Type": "application/octet-stream"}
    assert (await visitor.get("/files/work/m/0", headers)).status == 423
    assert (await visitor.get("/files/work?name=a", headers, "POST", data=b"x")).status == 423


async def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    async with visited(tmp_path) as visitor:
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", visitor.server.port))
