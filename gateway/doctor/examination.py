# SPDX-License-Identifier: AGPL-3.0-or-later
"""The whole examination, in the order in which one thing explains the next."""

from collections.abc import Iterator

from gateway.doctor.backups import examine_backups
from gateway.doctor.bridges import examine_bridges
from gateway.doctor.databases import examine_databases
from gateway.doctor.doors import examine_doors
from gateway.doctor.findings import Finding, fail, warn
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
    for about, looks in (
        ("data_dir", examine_places(settings)),
        ("machine", examine_machine(settings, clock, descriptors_needed)),
        ("databases", examine_databases(settings, clock)),
        ("doors", examine_doors(settings, clock, running=is_running(data))),
        ("bridges", examine_bridges(settings, running=is_running(data))),
        ("backups", examine_backups(settings, clock)),
    ):
        try:
            yield from looks
        except OSError as error:
            yield fail(
                about,
                f"{error.filename or 'something'} cannot be looked at: {error.strerror or error}",
                "run this as the user who runs the gateway, and see whether the disk is well",
            )
