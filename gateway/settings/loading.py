# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a file to settings, or to every mistake in it, found in one pass and named with its line (C4)."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.settings.checks import cross_checks, picture_checks, rules_checks
from gateway.settings.models import Instance, ProviderSettings, Settings, SmtpBridge, SmtpRules
from gateway.settings.stand_ins import made_whole
from gateway.settings.words import explained
from gateway.settings.yaml_source import Problem, YamlSource


class SettingsInvalid(Exception):
    """The file has mistakes: all of them, in the order of their lines."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(f"{len(problems)} mistakes")
        self.problems = sorted(problems, key=lambda problem: (problem.line, problem.column))


def load_settings(path: Path, *, open_pictures: bool = False) -> Settings:
    """Read and check a settings file; relative paths in it start at its folder.

    `open_pictures`: decode those of skins too, which takes a moment. Raises `SettingsInvalid` with every mistake, or
    OSError when the file cannot be read.
    """
    return _checked(path, _read(path), open_pictures=open_pictures)


def load_bridges(path: Path) -> tuple[Settings, bool]:
    """The bridges of a file, with `data_dir` and `log`, and whether it has instances, too. Raises as `load_settings`.

    What else is in it is neither kept nor looked at: a bridge's own process may not read an instance's key, and on a
    machine of its own there is none. Each bridge has a stand-in for its instance.
    """
    source = _read(path)
    whole = not isinstance(source.data, dict) or "instances" in source.data or "bridges" not in source.data
    if isinstance(source.data, dict) and "bridges" in source.data:
        left_out = Settings.model_fields.keys() - {"data_dir", "log", "bridges"}
        source.data = {key: value for key, value in source.data.items() if key not in left_out}
        source.data["instances"] = [
            {"name": name, "policy": "public", "listen": [{"tls": "127.0.0.1:0"}]} for name in _named(source.data)
        ]
    return _checked(path, source), whole


def load_rules(path: Path, bridge: SmtpBridge) -> SmtpBridge:
    """A bridge with other senders and routes, to try them: those of a whole settings file, or of a file that has
    nothing but `senders:` and `routes:`, of which each that is not there stays. Raises as `load_settings` does.
    """
    source = _read(path)
    if isinstance(source.data, dict) and "bridges" in source.data:
        settings, _ = load_bridges(path)
        for one in settings.bridges.smtp:
            if one.name == bridge.name:
                return bridge.model_copy(update={"senders": one.senders, "routes": one.routes})
        right = f"a bridge with this name, or a file that has only senders: and routes: of {bridge.name}"
        raise SettingsInvalid([source.problem(("bridges", "smtp"), f"no bridge here is {bridge.name}", right)])
    try:
        rules = SmtpRules.model_validate(source.data if source.data is not None else {})
    except ValidationError as error:
        raise SettingsInvalid([explained(source, detail, SmtpRules) for detail in error.errors()]) from None
    named = {name: value for name in ("senders", "routes") if (value := getattr(rules, name)) is not None}
    tried = bridge.model_copy(update=named)
    found = [source.problem(*one) for one in rules_checks(tried)]
    if found:
        raise SettingsInvalid(found)
    return tried


def _named(data: dict[str, Any]) -> list[str]:
    """The instances that bridges name, each once; what is no bridge is found when all of it is checked."""
    bridges = data["bridges"].get("smtp") if isinstance(data["bridges"], dict) else None
    named = [one.get("instance") for one in bridges if isinstance(one, dict)] if isinstance(bridges, list) else []
    return list(dict.fromkeys(name for name in named if isinstance(name, str))) or ["none"]


def _read(path: Path) -> YamlSource:
    source = YamlSource(path.read_bytes().decode("utf-8", errors="replace"))
    if source.problems:
        raise SettingsInvalid(source.problems)
    return source


def _checked(path: Path, source: YamlSource, *, open_pictures: bool = False) -> Settings:
    try:
        settings = Settings.model_validate(source.data if source.data is not None else {})
    except ValidationError as error:
        mistakes = [explained(source, detail) for detail in error.errors()]
        raise SettingsInvalid([*mistakes, *_contradictions(source, path.resolve().parent)]) from None
    settings = _with_base(settings, path.resolve().parent)
    settings._source = path.resolve()
    found = list(cross_checks(settings))
    if open_pictures and not found:
        found = list(picture_checks(settings))
    if found:
        raise SettingsInvalid([source.problem(*one) for one in found])
    return settings


def _contradictions(source: YamlSource, base: Path) -> list[Problem]:
    """What else is wrong in a file with mistakes of form: among what is right, one setting against another."""
    settings, mistaken = made_whole(source.data)
    if settings is None:
        return []
    return [
        source.problem(place, wrong, right)
        for place, wrong, right in cross_checks(_with_base(settings, base))
        if not any(place[: len(mistake)] == mistake for mistake in mistaken)
    ]


def _with_base(settings: Settings, base: Path) -> Settings:
    """Make all paths absolute."""
    instances = [_instance_with_base(instance, base) for instance in settings.instances]
    smtp = [_bridge_with_base(bridge, base) for bridge in settings.bridges.smtp]
    bridges = settings.bridges.model_copy(update={"smtp": smtp})
    tls = settings.administration.tls
    tls = tls.model_copy(update={name: _below(base, getattr(tls, name)) for name in ("certificate", "key")})
    sign_in = settings.administration.sign_in
    if sign_in is not None:
        changed = {"secret": _below(base, sign_in.secret), "provider": _provider_with_base(sign_in.provider, base)}
        sign_in = sign_in.model_copy(update=changed)
    administration = settings.administration.model_copy(update={"tls": tls, "sign_in": sign_in})
    places = {name: _below(base, getattr(settings.backup, name)) for name in ("to", "journal")}
    backup = settings.backup.model_copy(update=places)
    return settings.model_copy(
        update={
            "data_dir": base / settings.data_dir,
            "instances": instances,
            "administration": administration,
            "backup": backup,
            "bridges": bridges,
        }
    )


def _bridge_with_base(bridge: SmtpBridge, base: Path) -> SmtpBridge:
    files = {name: _below(base, getattr(bridge.tls, name)) for name in ("certificate", "key")}
    listen = [
        one.model_copy(update={"lmtp": one.lmtp.model_copy(update={"path": _below(base, one.lmtp.path)})})
        if one.lmtp is not None
        else one
        for one in bridge.listen
    ]
    relay = bridge.smarthost
    if relay is not None:
        relay = relay.model_copy(update={name: _below(base, getattr(relay, name)) for name in ("ca", "password")})
    tls = bridge.tls.model_copy(update=files)
    return bridge.model_copy(update={"tls": tls, "listen": listen, "smarthost": relay})


def _instance_with_base(instance: Instance, base: Path) -> Instance:
    tls, skin = instance.tls, instance.skin
    changed: dict[str, object] = {
        "tls": tls.model_copy(update={name: _below(base, getattr(tls, name)) for name in ("certificate", "key")})
    }
    if skin is not None:
        pictures = {name: _below(base, getattr(skin, name)) for name in ("logo", "backdrop")}
        changed["skin"] = skin.model_copy(update=pictures)
    if instance.sign_in is not None:
        provider = _provider_with_base(instance.sign_in.provider, base)
        changed["sign_in"] = instance.sign_in.model_copy(update={"provider": provider})
    return instance.model_copy(update=changed)


def _provider_with_base(provider: ProviderSettings, base: Path) -> ProviderSettings:
    return provider.model_copy(update={"ca": _below(base, provider.ca)})


def _below(base: Path, path: Path | None) -> Path | None:
    return base / path if path is not None else None
