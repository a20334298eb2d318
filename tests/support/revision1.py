# SPDX-License-Identifier: AGPL-3.0-or-later
"""A service that knows revision 1 only: a real one, behind a front that lets nobody ask for another revision."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.relay import prepare
from tmtp_client.connection import Endpoint
from tmtp_client.connection.endpoint import client_context
from tmtp_client.engine.joining import Service
from tmtp_core.wire.address import ServiceAddress


@asynccontextmanager
async def only_revision_1(behind: Endpoint, folder: Path) -> AsyncIterator[Service]:
    """In front of this service for the length of the block, on loopback, with a certificate of its own authority."""
    if not folder.exists():
        await asyncio.to_thread(prepare, folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    await asyncio.to_thread(context.load_cert_chain, folder / "relay.pem", folder / "relay.key")
    links: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        links.add(task)
        try:
            await _between(reader, writer, behind)
        except asyncio.CancelledError:
            pass  # the block has ended
        finally:
            links.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield Service(ServiceAddress("127.0.0.1", server.sockets[0].getsockname()[1]), str(folder / "ca.pem"))
    finally:
        server.close()
        for task in list(links):
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)


async def _between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, behind: Endpoint) -> None:
    size = await reader.readexactly(4)
    head = await reader.readexactly(int(size, 16))
    onward, outward = await asyncio.open_connection(behind.host, behind.port, ssl=client_context(behind))
    outward.write(size + head.replace(b'"id":"2"', b'"id":"1"'))
    there, back = (asyncio.create_task(_copied(*pair)) for pair in ((reader, outward), (onward, writer)))
    try:
        await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (there, back):
            task.cancel()
        await asyncio.gather(there, back, return_exceptions=True)
        outward.transport.abort()


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
