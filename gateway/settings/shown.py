# SPDX-License-Identifier: AGPL-3.0-or-later
"""The settings as they are in force, with defaults filled in, for an administrator to read (C1)."""

import yaml

from gateway.settings.models import Settings
from tmtp_core.store.places import parsed_address


def settings_yaml(settings: Settings) -> str:
    """As YAML that could be loaded again; of a database's address without its password, if somebody put one there."""
    shown = settings.model_dump(mode="json")
    for instance in shown["instances"]:
        if instance["database"] is not None:
            instance["database"] = parsed_address(instance["database"]).render_as_string(hide_password=True)
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)
