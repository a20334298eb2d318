# SPDX-License-Identifier: AGPL-3.0-or-later
"""The deciders of one instance that need more than the ledger: its keys, its chance, who may register."""

from dataclasses import dataclass

from tmtp_core.domain.accounts import Accounts
from tmtp_core.domain.admission import Admissions
from tmtp_core.domain.device_log import DeviceLogs
from tmtp_core.domain.devices import Devices
from tmtp_core.domain.invitations import Invitations
from tmtp_core.domain.posting import Posting


@dataclass(frozen=True, slots=True)
class Rules:
    """One of each. What they decide, they decide inside the writer's transaction."""

    admissions: Admissions
    accounts: Accounts
    devices: Devices
    logs: DeviceLogs
    invitations: Invitations
    posting: Posting
