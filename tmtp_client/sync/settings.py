# SPDX-License-Identifier: AGPL-3.0-or-later
"""Settings of an account, the same on all its devices: their names, their defaults, what they may be.

A value that another device told and that is none here (of a newer release, say) is kept in its register, and taken for
not set.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, select

from tmtp_client import limits
from tmtp_client.store import tables
from tmtp_client.sync import registers

KIND: Final = "setting"
FIELD: Final = "value"
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")


@dataclass(frozen=True, slots=True)
class Setting:
    """One of them. `must_be`: which values are right, in words; `is_right`: whether one is."""

    name: str
    default: Any
    must_be: str
    is_right: Callable[[Any], bool]


def _whole(name: str, default: int, maximum: int, unit: str) -> Setting:
    return Setting(
        name,
        default,
        f"a whole number of {unit} from 0 to {maximum}",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= maximum,
    )


def _switch(name: str, default: bool) -> Setting:
    return Setting(name, default, "true or false", lambda value: isinstance(value, bool))


def _one_of(name: str, default: str, *others: str) -> Setting:
    values = (default, *others)
    return Setting(name, default, f"one of {', '.join(values)}", lambda value: value in values)


ALL: Final = (
    _whole("undo_s", 10, limits.UNDO_MAX_S, "seconds"),  # how long a message can be taken back before it leaves
    _one_of("notifications", "all", "mentions", "none"),  # of what a person is told
    _switch("notification_text", True),  # whether a notification shows what was written, or only that something was
    Setting(
        "language",
        "",
        "a language such as en or pt-BR, or nothing: as the device has it",
        lambda value: isinstance(value, str) and (value == "" or _LANGUAGE.fullmatch(value) is not None),
    ),
    _switch("single_letter_keys", True),  # of the pages; people who dictate switch them off (WCAG 2.1.4)
    _switch("presence_shown", True),  # whether contacts see that one is there (A6)
    _switch("encrypt", True),  # whether new threads are sealed where all their readers have keys (B9)
    _whole("large_files_gib", limits.UNFINISHED_GIB, limits.UNFINISHED_MAX_GIB, "GiB"),  # of one author, not whole yet
    _one_of("order", "newest", "unseen"),  # of the inbox
    Setting(  # the person's own tokens over the service's look (B2); who shows it checks it part by part
        "skin",
        {},
        f"an object of {limits.SKIN_REVISED_MAX_BYTES} octets at most",
        lambda value: isinstance(value, dict) and len(msgspec.json.encode(value)) <= limits.SKIN_REVISED_MAX_BYTES,
    ),
)
BY_NAME: Final = {setting.name: setting for setting in ALL}


def check(name: str, value: Any) -> None:
    """Raises ValueError, with the name and what would be right, unless this may be set (`state.set_setting`)."""
    setting = BY_NAME.get(name)
    if setting is None:
        raise ValueError(f"name: there is no setting {name!r}; there are {', '.join(BY_NAME)}")
    if not setting.is_right(value):
        raise ValueError(f"value: {name} must be {setting.must_be}")


def get(c: Connection, name: str) -> Any:
    """One of the known ones: as it was set, or its default."""
    return _right(BY_NAME[name], registers.get(c, KIND, name, FIELD))


def values(c: Connection) -> dict[str, Any]:
    """All known ones."""
    r = tables.register.c
    rows = c.execute(select(r.key, r.value).where(r.kind == KIND, r.field == FIELD))
    found = {name: msgspec.json.decode(value) for name, value in rows}
    return {setting.name: _right(setting, found.get(setting.name)) for setting in ALL}


def _right(setting: Setting, value: Any) -> Any:
    return value if value is not None and setting.is_right(value) else setting.default
