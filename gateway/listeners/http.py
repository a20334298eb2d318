# SPDX-License-Identifier: AGPL-3.0-or-later
"""Health and metrics over HTTP, for this machine (C1).

`/healthz`: the process answers. `/readyz`: every instance accepts, and its last commit worked. `/metrics`:
figures in Prometheus' text format, labelled by instance.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from gateway.listeners.local_http import LocalHttp
from tmtp_core import limits

_HELP = {
    "links": "Open connections.",
    "devices_connected": "Devices that are logged in.",
    "messages_queued": "Messages that wait for at least one device.",
    "commits_total": "Transactions committed.",
    "decisions_total": "Requests decided in them.",
    "acks_total": "Deliveries that devices acknowledged.",
    "commit_failures_total": "Transactions that failed.",
    "deliveries_total": "Copies handed to connected devices.",
    "processes": "Processes that serve the instance together, this one among them.",
    "healthy": "1 when the last commit worked.",
    "certificate_ends_timestamp_seconds": "When the certificate ends, in seconds since 1970.",
    "journal_behind": "Entries of the journal beside the backups that its disk has not taken.",
}


class Watched(Protocol):
    """What is watched: an instance."""

    @property
    def healthy(self) -> bool:
        """Whether the last commit worked."""
        ...

    def figures(self) -> dict[str, float]:
        """Counters (named `…_total`) and gauges."""
        ...


class _Collector:
    def __init__(self, services: Mapping[str, Watched]) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        """One metric family for each figure, one sample for each instance."""
        figures = {name: service.figures() for name, service in self._services.items()}
        for figure, text in _HELP.items():
            counter = figure.endswith("_total")
            kind = CounterMetricFamily if counter else GaugeMetricFamily
            family = kind(f"tmtp_{figure.removesuffix('_total')}", text, labels=["instance"])
            for name, values in figures.items():
                family.add_metric([name], values[figure])
            yield family


class HttpListener:
    """Serves the three pages on one address. Raises OSError when it cannot be had."""

    def __init__(
        self, services: Mapping[str, Watched], host: str, port: int, also: Iterable[web.AbstractRouteDef] = ()
    ) -> None:
        """`also`: what others answer here."""
        self._services = services
        self._also = also
        self._host = host
        self._port = port
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Collector(services))
        self._server: LocalHttp | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        assert self._server is not None
        return self._server.address

    async def start(self) -> None:
        """Listen."""
        app = web.Application(client_max_size=limits.SIGN_OUT_MAX_BYTES)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_routes(self._also)
        self._server = LocalHttp(app)
        await self._server.listen(self._host, self._port)

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            await self._server.stop()
            self._server = None

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        unready = [name for name, service in self._services.items() if not service.healthy]
        if unready:
            return web.Response(text=f"not ready: {', '.join(unready)}\n", status=503)
        return web.Response(text="ready\n")

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
