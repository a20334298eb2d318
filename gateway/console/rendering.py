# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pages from templates, in which nothing that members chose is anything but text (D1, D2).

Escaping is on everywhere, a name that a template does not get is an error, and every piece of text that leaves has its
control and format characters spelled out: a name that turns the direction of what follows shows how it does it.
"""

import hashlib
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from markupsafe import Markup

from tmtp_core.text import visible

if TYPE_CHECKING:  # jinja2 takes 3 MB: loaded when the first page is shown
    from jinja2 import Environment

_MINUTE_S: Final = 60
_HOUR_S: Final = 3_600
_DAY_S: Final = 86_400
_UNITS: Final = ((_DAY_S, "day"), (_HOUR_S, "hour"), (_MINUTE_S, "minute"))
_SIZES: Final = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
_NARROW_BLANK: Final = "\u202f"
_TYPES: Final = {".css": "text/css", ".svg": "image/svg+xml", ".mjs": "text/javascript", ".txt": "text/plain"}


class Asset:
    """A file that pages name. Its address holds its hash, so that browsers keep it and never use an old one."""

    def __init__(self, package: str, folder: str, name: str) -> None:
        self.content = resources.files(package).joinpath(folder, name).read_bytes()
        self.type = _TYPES["." + name.rpartition(".")[2]]
        self.path = f"/static/{hashlib.sha256(self.content).hexdigest()[:16]}/{name}"


def assets() -> dict[str, Asset]:
    """Every file there is, by name: the design system's, and the console's own."""
    found = {}
    for package, folder in (("tmtp_client.look", "."), ("gateway.console", "static")):
        for file in resources.files(package).joinpath(folder).iterdir():
            if "." + file.name.rpartition(".")[2] in _TYPES:
                found[file.name] = Asset(package, folder, file.name)
    return found


def templates(files: dict[str, Asset]) -> "Environment":
    """The environment of all templates. `asset` gives the address of a file, `icon` one of the design system's."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - see above

    environment = Environment(
        loader=PackageLoader("gateway.console"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    icons = files["icons.svg"].path
    environment.globals["asset"] = lambda name: files[name].path
    environment.globals["icon"] = lambda name: Markup(
        '<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"/></svg>'
    ).format(icons, name)
    environment.filters |= {
        "part": part,
        "ago": ago,
        "until": until,
        "moment": moment,
        "duration": duration,
        "size": size,
        "count": count,
    }
    return environment


def _shown(value: Any) -> Any:
    """What a template puts out; markup of our own stays as it is."""
    if (
        not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable()
    ):  # the last: nothing to spell out
        return value
    return visible(value)


def part(text: str) -> str:
    """A name as one part of an address, also where it holds a slash."""
    return quote(text, safe="")


def count(value: float) -> str:
    """12345 as 12 345."""
    return f"{value:,}".replace(",", _NARROW_BLANK)


def size(octets: int) -> str:
    """Octets in the unit that leaves few digits."""
    value, unit = float(octets), 0
    while value >= 1024 and unit < len(_SIZES) - 1:
        value, unit = value / 1024, unit + 1
    digits = f"{value:.0f}" if unit == 0 or value >= 1000 else f"{value:.3g}"
    return f"{digits} {_SIZES[unit]}"


def duration(seconds: float) -> str:
    """How long, in its largest unit."""
    for length, unit in _UNITS:
        if seconds >= length:
            whole = int(seconds // length)
            return f"{whole} {unit}{'s' if whole > 1 else ''}"
    return f"{int(seconds)} s"


def stamp(at_ms: int) -> str:
    """A moment to the minute, UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def sentence(text: str) -> str:
    """What a refusal says, as a sentence; an address, a name or a number in front stays as it is written."""
    first = text.partition(" ")[0].rstrip(":,")
    begun = text if any(mark in first for mark in "@.:/") else f"{text[:1].upper()}{text[1:]}"
    return f"{begun.rstrip('.')}."


def moment(at_ms: int) -> Markup:
    """A moment, in full."""
    return _time(at_ms, stamp(at_ms))


def ago(at_ms: int | None, now_ms: int) -> Markup | str:
    """How long ago a moment is; in full where one points at it."""
    if at_ms is None:
        return "never"
    seconds = max(0, now_ms - at_ms) / 1000
    return _time(at_ms, f"{duration(seconds)} ago" if seconds >= _MINUTE_S else "just now")


def until(at_ms: int | None, now_ms: int) -> Markup | str:
    """How far off a moment is."""
    if at_ms is None:
        return "never"
    return _time(at_ms, f"in {duration((at_ms - now_ms) / 1000)}" if at_ms > now_ms else "over")


def _time(at_ms: int, text: str) -> Markup:
    iso = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(iso, stamp(at_ms), text)
