# SPDX-License-Identifier: AGPL-3.0-or-later
"""A calendar file (RFC 5545) as a few lines that a person can read."""

import re
from typing import Final

from bridges import limits

_LINE: Final = re.compile(r"([A-Za-z-]+)((?:;(?:[^:\"]|\"[^\"]*\")*)?):(.*)")
_MOMENT: Final = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)\d\d(Z?))?")
_ZONE: Final = re.compile(r";TZID=\"?([^;\"]{1,80})", re.IGNORECASE)
_NAME: Final = re.compile(r";CN=(?:\"([^\"]{1,200})\"|([^;\"]{1,200}))", re.IGNORECASE)
_METHODS: Final = {
    "REQUEST": "Invitation",
    "CANCEL": "Cancelled",
    "REPLY": "Answer to an invitation",
    "COUNTER": "Another time is proposed",
}
_SHOWN: Final = (
    ("DTSTART", "Begins"),
    ("DTEND", "Ends"),
    ("DURATION", "Lasts"),
    ("LOCATION", "Where"),
    ("ORGANIZER", "Organiser"),
    ("RRULE", "Repeats"),
    ("URL", "Address"),
    ("DESCRIPTION", "About"),
)


def calendar_as_text(text: str) -> str:
    """What is to happen when and where; "" where no event is in it."""
    unfolded = re.sub(r"\r?\n[ \t]", "", text)
    method = ""
    events: list[dict[str, tuple[str, str]]] = []
    inside = False
    for line in unfolded.splitlines():
        match = _LINE.fullmatch(line[: limits.FIELD_MAX_CHARACTERS])
        if match is None:
            continue
        name, options, value = match[1].upper(), match[2], match[3]
        if name == "METHOD":
            method = value.strip().upper()
        elif name == "BEGIN" and value.strip().upper() in ("VEVENT", "VTODO"):
            inside = len(events) < limits.CALENDAR_EVENTS_MAX
            events += [{}] if inside else []
        elif name in ("BEGIN", "END"):
            inside = inside and value.strip().upper() in ("VALARM",) and name == "END"
        elif inside:
            events[-1].setdefault(name, (options, value))
    return "\n\n".join(_event(_METHODS.get(method, "Event"), event) for event in events if event)


def _event(what: str, event: dict[str, tuple[str, str]]) -> str:
    lines = [f"{what}: {_plain(event['SUMMARY'][1]) if 'SUMMARY' in event else '(no title)'}"]
    for name, label in _SHOWN:
        if name in event:
            lines.append(f"{label}: {_value(name, *event[name])}")
    return "\n".join(lines)


def _value(name: str, options: str, value: str) -> str:
    if name in ("DTSTART", "DTEND") and (match := _MOMENT.match(value)):
        day = f"{match[1]}-{match[2]}-{match[3]}"
        zone = "UTC" if match[6] else _ZONE.search(options)
        named = zone if isinstance(zone, str) else zone[1] if zone else ""
        return f"{day} {match[4]}:{match[5]} {named}".rstrip() if match[4] else day
    if name == "ORGANIZER":
        called = _NAME.search(options)
        address = re.sub(r"^mailto:", "", value.strip(), flags=re.IGNORECASE)
        return f"{called[1] or called[2]} <{address}>" if called else address
    return _plain(value)


def _plain(value: str) -> str:
    """RFC 5545 §3.3.11."""
    return re.sub(r"\\([\\;,nN])", lambda match: "\n" if match[1] in "nN" else match[1], value).strip()
