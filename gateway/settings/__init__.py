# SPDX-License-Identifier: AGPL-3.0-or-later
"""The YAML file, typed and checked (C4). `config/gateway.yaml` is its manual."""

from gateway.settings.loading import SettingsInvalid, load_bridges, load_rules, load_settings
from gateway.settings.models import (
    Address,
    AdministrationSettings,
    BackupSettings,
    Instance,
    Listen,
    Settings,
    Skin,
    SmtpBridge,
)
from gateway.settings.shown import settings_yaml
from gateway.settings.yaml_source import Problem

__all__ = [
    "Address",
    "AdministrationSettings",
    "BackupSettings",
    "Instance",
    "Listen",
    "Problem",
    "Settings",
    "SettingsInvalid",
    "Skin",
    "SmtpBridge",
    "load_bridges",
    "load_rules",
    "load_settings",
    "settings_yaml",
]
