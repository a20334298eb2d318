# SPDX-License-Identifier: AGPL-3.0-or-later
"""The whole examination, in the order in which one thing explains the next."""

from collections.abc import Iterator

from gateway.doctor.backups import examine_backups
from gateway.doctor.databases import examine_databases
from gateway.doctor.doors import examine_doors
from gateway.doctor.findings import Finding, warn
from gateway.doctor.machine import examine_machine
from gateway.doctor.places import examine_places, is_running
from gateway.settings import Settings
from tmtp_core.clock import Clock


def examine(settings: Settings, clock: Clock, descriptors_needed: int) -> Iterator[Finding]:
    """Everything that is looked at (disk, and connections to the gateway's own addresses). Changes nothing."""
    data = settings.data_dir
    if not data.is_dir():
        yield warn(
            "data_dir", f"{data} is not there", "start the gateway once: tmtp-gateway serve; or restore a backup"
        )
        yield from examine_doors(settings, clock, running=False)
        return
    yield from examine_places(settings)
    yield from examine_machine(settings, clock, descriptors_needed)
    yield from examine_databases(settings, clock)
    yield from examine_doors(settings, clock, running=is_running(data))
    yield from examine_backups(settings, clock)
