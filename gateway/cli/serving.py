# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway serve`: run until told to stop."""

import asyncio
import gc
import os
import signal
import sys

import structlog

from gateway.app import Gateway
from gateway.clock import SystemClock
from gateway.descriptors import raise_descriptors_max
from gateway.logs import configure_logs
from gateway.memory import Tidying, give_back
from gateway.settings import Address, Settings
from gateway.supervision import Supervisor
from tmtp_core import limits

log = structlog.get_logger()

_YOUNG_OBJECTS = 50_000  # containers made and not freed before the collector looks at them; about 5 MB
_SWITCH_INTERVAL_S = 0.001  # storage.md: with 5 ms the loop starves the writer when both are busy


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop where there is one."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _spare_the_collector() -> None:
    """What is there at start stays; and cycles, which closed links leave, are looked for less often.

    With Python's own thresholds the search takes a seventh of the loop's time when many devices log in.
    """
    gc.collect()
    gc.freeze()
    give_back()
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])


async def _tidy(gateway: Gateway) -> None:
    """Give memory back that ended links leave, for ever."""
    tidying = Tidying()
    while True:
        await asyncio.sleep(limits.ENDED_LINKS_INTERVAL_S)
        listeners = [listener for instance in gateway.instances.values() for listener in instance.listeners]
        tidying.look(sum(one.ended for one in listeners), sum(len(one.links) for one in listeners))


async def tell_alive(supervisor: Supervisor) -> None:
    """Say that this process lives as often as is asked for, for ever: from the loop, which is what must turn."""
    interval_s = supervisor.interval_s
    while interval_s is not None:
        supervisor.alive()
        await asyncio.sleep(interval_s)


def secure_descriptors(needed: int) -> None:
    """Let as many files and sockets be open as the system allows, and say when these are fewer than needed."""
    allowed = raise_descriptors_max()
    if allowed < needed:
        log.warning(
            "descriptors_few",
            allowed=allowed,
            needed=needed,
            mend="raise the limit (LimitNOFILE= of systemd, ulimit -Hn), or lower limits.connections_max",
        )


async def serve_until_told(settings: Settings, *, process: int = 1, http: Address | None = None) -> bool:
    """Start everything, wait for SIGTERM or SIGINT, stop everything.

    False when it was not told to stop: other processes have taken this one for dead, and it is to be started again.
    """
    configure_logs(settings.log.level, settings.log.format)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    supervisor = Supervisor.from_environment(os.environ)
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    gateway = Gateway(settings, SystemClock(), os.urandom, process=process, http=http)
    hangup = asyncio.Event()  # taken from the first moment: by default this signal ends a process
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    secure_descriptors(gateway.descriptors_needed)
    await gateway.start()
    loop.add_signal_handler(signal.SIGHUP, gateway.reload_certificates)
    if hangup.is_set():
        gateway.reload_certificates()
    _spare_the_collector()
    for name in gateway.instances:
        log.info("serving", instance=name, link=gateway.client_address(name).link())
    log.info("ready", http="{}:{}".format(*gateway.http_address))
    supervisor.ready(f"serving {', '.join(gateway.instances)}")
    background = [loop.create_task(_tidy(gateway)), loop.create_task(tell_alive(supervisor))]
    ends = [loop.create_task(told.wait()), loop.create_task(gateway.evicted())]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for task in (*ends, *background):
        task.cancel()
    log.info("stopping")
    supervisor.stopping()
    await gateway.stop()
    log.info("stopped")
    return told.is_set()
