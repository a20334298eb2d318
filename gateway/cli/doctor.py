# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway doctor`: what is wrong, and what would mend it (A7, C1)."""

from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from gateway.app import descriptors_needed
from gateway.cli.common import FAILED, USAGE, ConfigOption, JsonOption, YesOption, err, fail, print_json, say
from gateway.cli.problems import print_problems
from gateway.clock import SystemClock
from gateway.doctor import Finding, examine
from gateway.settings import Problem, Settings, SettingsInvalid, load_settings

_SIGNS: Final = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def doctor(
    config: ConfigOption = Path("gateway.yaml"),
    mend: Annotated[
        bool, typer.Option("--mend", help="Mend what can be mended without harm, after asking for each.")
    ] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Examine a gateway from outside, while it runs or not: databases, payloads, clock, disks, certificates, backups.

    Exit code 0: nothing fails · 1: something does · 2: the settings have mistakes.

    Example: tmtp-gateway doctor -c gateway.yaml

    Example: tmtp-gateway doctor -c gateway.yaml --mend
    """
    if mend and as_json and not yes:
        fail("--mend asks for each, which --json cannot: add --yes, or leave one of them out", USAGE)
    settings = _settings(config, as_json=as_json)
    findings = _examined(settings, shown=not as_json)
    if mend and _mended(findings, ask=not yes, shown=not as_json):
        if not as_json:
            say("and now:")
        findings = _examined(settings, shown=not as_json)
    failed = sum(one.level == "fail" for one in findings)
    if as_json:
        print_json({"ok": not failed, "findings": _told(findings)})
    else:
        warned = sum(one.level == "warn" for one in findings)
        say(f"{len(findings)} things looked at: {failed} fail, {warned} are not as they should be")
    if failed:
        raise typer.Exit(FAILED)


def _settings(config: Path, *, as_json: bool) -> Settings:
    try:
        return load_settings(config)
    except OSError as error:
        fail(f"{config} cannot be read: {error.strerror}; give -c FILE", USAGE)
    except SettingsInvalid as invalid:
        _tell_mistakes(config, invalid.problems, as_json=as_json)


def _tell_mistakes(config: Path, problems: list[Problem], *, as_json: bool) -> NoReturn:
    if as_json:
        found = [
            Finding("fail", f"settings, line {one.line}", f"{one.path}: {one.wrong}", one.right) for one in problems
        ]
        print_json({"ok": False, "findings": _told(found)})
    else:
        print_problems(err, config, problems)
    raise typer.Exit(USAGE) from None


def _told(findings: list[Finding]) -> list[dict[str, str]]:
    return [{"level": one.level, "about": one.about, "text": one.text, "mend": one.mend} for one in findings]


def _examined(settings: Settings, *, shown: bool) -> list[Finding]:
    findings: list[Finding] = []
    for one in examine(settings, SystemClock(), descriptors_needed(settings)):
        findings.append(one)
        if shown:
            say(f"{_SIGNS[one.level]}  {one.about}: {one.text}")
            if one.mend:
                say(f"      mend: {one.mend}")
    return findings


def _mended(findings: list[Finding], *, ask: bool, shown: bool) -> int:
    """How many were mended."""
    count = 0
    for one in findings:
        if one.repair is None or (ask and not typer.confirm(f"{one.about}: {one.text}. Mend it?", default=False)):
            continue
        try:
            one.repair()
        except OSError as error:
            err.print(f"{one.about}: that cannot be mended from here: {error}", style="red", markup=False)
            continue
        count += 1
        if shown:
            say(f"mended: {one.about}: {one.text}")
    return count
