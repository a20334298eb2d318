# SPDX-License-Identifier: AGPL-3.0-or-later
"""pydantic's findings in words for an administrator: what is wrong, and what would be right (C4)."""

import difflib
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from gateway.settings.models import Settings
from gateway.settings.yaml_source import Path, Problem, YamlSource


def explained(source: YamlSource, detail: ErrorDetails, whole: type[BaseModel] = Settings) -> Problem:
    """One finding, at its place in the file; `whole`: what the file is."""
    path: Path = tuple(detail["loc"])
    key = path[-1] if path else "the file"
    context = detail.get("ctx", {})
    shown = _shown(detail["input"])
    manual = "see tmtp-gateway sample-config"
    words: dict[str, tuple[str, str]] = {
        "extra_forbidden": (f"there is no setting {key}", _nearest(path, whole)),
        "missing": (f"{key} is missing", f"add {key}:; {manual}"),
        "literal_error": (f"{shown} is not allowed here", f"one of {context.get('expected')}"),
        "string_pattern_mismatch": (
            f"{shown} is no colour" if "#" in context.get("pattern", "") else f"{shown} cannot be a name",
            '"#" and six hex digits, in quotes'
            if "#" in context.get("pattern", "")
            else "lower-case letters, digits and -, a letter first, 32 at most",
        ),
        "too_short": (f"{shown} is not enough", f"at least {context.get('min_length')}; {manual}"),
        "value_error": (f"{shown} does not fit", str(context.get("error"))),
        "model_type": ("this must be a block of settings", manual),
    }
    otherwise = (f"{shown} does not fit", detail["msg"].replace("Input should be", "it should be"))
    return source.problem(path, *words.get(detail["type"], otherwise))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _nearest(path: Path, whole: type[BaseModel]) -> str:
    """The known settings beside an unknown one, the likeliest first."""
    if not path:
        return "settings with their names, as tmtp-gateway sample-config prints them"
    model: Any = whole
    for part in path[:-1]:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        model = _model_of(field.annotation) if field is not None else None
        if model is None:
            return "see tmtp-gateway sample-config"
    known = list(model.model_fields)
    near = difflib.get_close_matches(str(path[-1]), known, n=1)
    return f"did you mean {near[0]}?" if near else "one of " + ", ".join(known)


def _model_of(annotation: Any) -> Any:
    """The model inside an annotation such as `list[Instance]` or `Tls | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_of(inner)
        if found is not None:
            return found
    return None
