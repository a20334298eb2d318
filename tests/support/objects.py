# SPDX-License-Identifier: AGPL-3.0-or-later
"""The object storage of the tests: OpenStack Swift with its S3 API, started on loopback, gone with the tests.

It is a real one, in production elsewhere, which checks signatures and ranges and stores what it is given; it comes from
PyPI, starts within two seconds and needs no service of the machine. moto and s3rver only play S3; MinIO, Garage and
Ceph are in no registry from which these tests could have them, or want a cluster.
"""

import atexit
import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.session import Session

from bench.server import free_port
from tests.support.thorough import NOTHING_IS_MISSED
from tmtp_core.store.places import Bucket

USER, KEY = "tmtp:gateway", "only-for-tests"
_PROGRAM = Path(__file__).parent / "swift_server.py"

SWIFT = pytest.mark.skipif(
    find_spec("swift") is None and not NOTHING_IS_MISSED, reason="Swift is not installed: pip install swift"
)


class ObjectStorage:
    """A Swift with its own folder and port."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tmtp-swift-"))
        self.port = free_port()
        self._server: subprocess.Popen[bytes] | None = None
        self._buckets = 0

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            command = [sys.executable, "-W", "ignore", _PROGRAM, self.folder, str(self.port)]
            self._server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        assert self._server.stdout is not None
        said = self._server.stdout.readline()
        assert said == b"ready\n", (self.folder / "log").read_text("utf-8")

    def stop(self) -> None:
        """Kill it. What it has stored is there when it starts again."""
        if self._server is not None:
            assert self._server.stdout is not None
            self._server.kill()
            self._server.wait()
            self._server.stdout.close()
            self._server = None

    def hang(self, hangs: bool) -> None:
        """It is there, and answers nothing; or goes on."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP if hangs else signal.SIGCONT)

    def remove(self) -> None:
        """Stop it and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def client(self) -> Any:
        """botocore's."""
        return Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id=USER,
            aws_secret_access_key=KEY,
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )

    def new_bucket(self, port: int | None = None) -> Bucket:
        """An empty one; through another port where something stands in between."""
        self._buckets += 1
        name = f"tmtp{self._buckets}"
        self.client().create_bucket(Bucket=name)
        return Bucket(f"http://127.0.0.1:{port or self.port}", name, "us-east-1", "some/where")

    def keys(self, bucket: Bucket) -> list[str]:
        """What is stored."""
        return [one["Key"] for one in self.client().list_objects_v2(Bucket=bucket.name).get("Contents", ())]

    def uploads(self, bucket: Bucket) -> list[str]:
        """What is being stored in parts, and is not ended."""
        return [one["Key"] for one in self.client().list_multipart_uploads(Bucket=bucket.name).get("Uploads", ())]


@cache
def storage() -> ObjectStorage:
    """The one that the tests of this process share."""
    one = ObjectStorage()
    atexit.register(one.remove)
    one.start()
    return one


class Babbler(ThreadingHTTPServer):
    """Answers whatever it is asked with 200, and an empty page or another one."""

    def __init__(self, page: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.page = page
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        page: bytes = getattr(self.server, "page")  # noqa: B009 - the base class has none
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def do_PUT(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def log_message(self, *args: object) -> None:
        """Not of interest."""


class Cutter:
    """Stands between a client and the storage, and cuts each connection after so many octets of answers."""

    def __init__(self, to: int, octets: int) -> None:
        self._to = to
        self._octets = octets
        self.cuts = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """No connection more."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._to))
            threading.Thread(target=self._forward, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, self._octets), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, left: int | None) -> None:
        with contextlib.suppress(OSError):
            while octets := source.recv(16_384):
                target.sendall(octets[:left])
                if left is not None:
                    left -= len(octets)
                    if left <= 0:
                        self.cuts += 1
                        break
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        if left is not None:
            source.close()
            target.close()
