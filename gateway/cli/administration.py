# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway overview`, `queue …`, `audit …`, `token …` and `console-…` (C1)."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.administration import ROLES, Scope
from gateway.administration import models as m
from gateway.cli.common import (
    FAILED,
    USAGE,
    ConfigOption,
    InstanceOption,
    JsonOption,
    YesOption,
    ask,
    ask_many,
    expiry_ms,
    fail,
    print_json,
    say,
    show_table,
    to_its_end,
)
from tmtp_core.ids import posted_text

queue = typer.Typer(no_args_is_help=True, help="See what waits for whom; never what it says.")
audit = typer.Typer(no_args_is_help=True, help="Read the log of what administrators changed, and check it.")
token = typer.Typer(no_args_is_help=True, help="Make, list and revoke tokens for programs that use the API.")

LimitOption = Annotated[int, typer.Option(min=1, max=m.PAGE_MAX, help="How many at most.")]
_MIB = 1 << 20
_ARCHIVES = {"none": "no archive: what is delivered is kept by the members' devices alone"}
_BACKUPS = {
    "not_set_up": "none are set up: with this machine everything would be lost",
    "none": "there is none yet: tmtp-gateway backup",
    "kept": "the newest",
    "unreadable": "their folder cannot be read, or does not answer: tmtp-gateway doctor",
}


def overview(config: ConfigOption = Path("gateway.yaml"), as_json: JsonOption = False) -> None:
    """Show how the service is: people, queues, delays, disk, and how old the newest backup is.

    Example: tmtp-gateway overview -c gateway.yaml
    """
    seen = ask(config, m.Overview, "overview")
    if as_json:
        print_json(seen)
        return
    free, total = seen.disk_free_bytes // _MIB, seen.disk_total_bytes // _MIB
    say(f"tmtp-gateway {seen.version}: {seen.rss_bytes // _MIB} MiB in memory; {free} of {total} MiB free on the disk")
    show_table(
        "Instances",
        (
            "instance",
            "healthy",
            "accounts",
            "connected",
            "invitations",
            "reports",
            "waiting",
            "eldest since",
            "acks within",
        ),
        (
            (
                one.instance,
                "yes" if one.healthy else "NO",
                f"{one.accounts} ({one.accounts_barred} barred)" if one.accounts_barred else str(one.accounts),
                f"{one.devices_connected} devices",
                str(one.invitations_open),
                str(one.reports_open),
                f"{one.messages_queued} messages, {one.bytes_queued} bytes",
                posted_text(one.oldest_queued_ms) if one.oldest_queued_ms is not None else "-",
                f"{one.ack_ms_p50:.0f} / {one.ack_ms_p99:.0f} ms" if one.ack_ms_p50 and one.ack_ms_p99 else "-",
            )
            for one in seen.instances
        ),
    )
    for one in seen.instances:
        say(f"{one.instance}: {_ARCHIVES[one.archive]}")
    say(f"backups: {_BACKUPS[seen.backups.state]}{_newest(seen)}")


def _newest(seen: m.Overview) -> str:
    if seen.backups.newest_ms is None:
        return ""
    hours = (seen.now_ms - seen.backups.newest_ms) / 3_600_000
    return f" of {seen.backups.kept} is {hours:.0f} hours old"


@queue.command("list")
def list_queues(
    instance: InstanceOption,
    config: ConfigOption = Path("gateway.yaml"),
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """Show for whom something waits, those first whose eldest delivery waits longest.

    Example: tmtp-gateway queue list -c gateway.yaml --instance members --limit 10
    """
    found = ask_many(config, m.Queue, "queues.list", instance=instance, limit=limit)
    if as_json:
        print_json(found)
        return
    if not found:
        say(f"Nothing waits on {instance}.")
        return
    show_table(
        f"Queues on {instance}",
        ("alias", "uid", "deliveries", "bytes", "eldest since"),
        ((one.alias, one.uid, str(one.deliveries), str(one.bytes), posted_text(one.oldest_ms)) for one in found),
    )


@audit.command("list")
def list_audit(
    config: ConfigOption = Path("gateway.yaml"), limit: LimitOption = 50, as_json: JsonOption = False
) -> None:
    """Show the newest entries: who changed what, and whether it was done.

    Example: tmtp-gateway audit list -c gateway.yaml --limit 20
    """
    entries = ask(config, m.AuditPage, "audit.list", limit=limit).entries
    if as_json:
        print_json(entries)
        return
    show_table(
        "Audit log, newest first",
        ("number", "at", "actor", "operation", "instance", "target", "outcome", "detail"),
        (
            (
                str(one.number),
                posted_text(one.at_ms),
                one.actor,
                one.operation,
                one.instance,
                one.target,
                one.outcome,
                one.detail,
            )
            for one in entries
        ),
    )


@audit.command()
def verify(config: ConfigOption = Path("gateway.yaml"), as_json: JsonOption = False) -> None:
    """Check that no entry was changed, moved or taken out. Exit code 1 where one was.

    Keep the number of entries and the last hash elsewhere: they show, later, that none was taken off the end.

    Example: tmtp-gateway audit verify -c gateway.yaml
    """
    verdict = ask(config, m.AuditVerdict, "audit.verify")
    if as_json:
        print_json(verdict)
    elif verdict.intact:
        say(f"All {verdict.entries} entries are as they were written. The last hash: {verdict.head}")
    if not verdict.intact:
        fail(f"Entry {verdict.first_broken} is not as it was written, or is missing; those before it are.", FAILED)


@token.command("create")
def create_token(
    name: Annotated[str, typer.Argument(help="What it is for; the audit log shows it.")],
    config: ConfigOption = Path("gateway.yaml"),
    scope: Annotated[list[str] | None, typer.Option(help="What it may do, such as accounts:read; repeat it.")] = None,
    role: Annotated[str | None, typer.Option(help=f"Or all that a role may: {', '.join(ROLES)}.")] = None,
    instance: Annotated[
        list[str] | None, typer.Option("--instance", "-i", metavar="NAME", help="On this one only; repeat it.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="For example 12h, 7d or 4w; default: never.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token, told once, with which a program uses the API.

    Example: tmtp-gateway token create -c gateway.yaml provisioning --scope invitations:write -i members --expires 52w

    Example: tmtp-gateway token create -c gateway.yaml "the helpdesk's tool" --role helpdesk
    """
    if role is not None and role not in ROLES:
        fail(f"--role {role} is none; one of {', '.join(ROLES)}", USAGE)
    known = ROLES["owner"]
    wanted: set[Scope] = set(ROLES[role]) if role is not None else set()
    for one in scope or ():
        found = next((each for each in known if each == one), None)
        if found is None:
            fail(f"--scope {one} is none; one of {', '.join(sorted(known))}", USAGE)
        wanted.add(found)
    if not wanted:
        fail("say what it may do: --scope or --role", USAGE)
    body = m.CreateToken(name=name, scopes=sorted(wanted), instances=instance or [], expires_ms=expiry_ms(expires))
    with to_its_end():
        made = ask(config, m.NewToken, "tokens.create", body)
        if as_json:
            print_json(made)
            return
        say("This is shown only now; keep it where nobody else reads it:")
        say(f"  {made.token}")


@token.command("list")
def list_tokens(config: ConfigOption = Path("gateway.yaml"), as_json: JsonOption = False) -> None:
    """Show the tokens: what each may do, and when it was used last. Never the tokens themselves.

    Example: tmtp-gateway token list -c gateway.yaml
    """
    found = ask_many(config, m.Token, "tokens.list")
    if as_json:
        print_json(found)
        return
    if not found:
        say("There are no tokens. Make one: tmtp-gateway token create NAME --role auditor")
        return
    show_table(
        "Tokens",
        ("number", "name", "may", "on", "until", "used"),
        (
            (
                str(one.number),
                one.name,
                "\n".join(one.scopes),
                ", ".join(one.instances) or "all instances",
                posted_text(one.expires_ms) if one.expires_ms is not None else "no end",
                posted_text(one.used_ms) if one.used_ms is not None else "never",
            )
            for one in found
        ),
    )


@token.command("revoke")
def revoke_token(
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="As `token list` shows it.")],
    config: ConfigOption = Path("gateway.yaml"),
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Revoke a token: it is good for nothing from now on.

    Example: tmtp-gateway token revoke -c gateway.yaml 3
    """
    if not yes and not typer.confirm(f"Revoke token {number}? What uses it stops working."):
        fail("Nothing was revoked.", FAILED)
    done = ask(config, m.Done, "tokens.revoke", number=number)
    if as_json:
        print_json(done)
    else:
        say(f"Token {number} is revoked.")


def console_link(
    person: Annotated[str, typer.Option(metavar="NAME", help="Who is to sign in; the audit log shows it.")],
    config: ConfigOption = Path("gateway.yaml"),
    role: Annotated[str, typer.Option(help="owner, administrator, helpdesk or auditor.")] = "administrator",
    as_json: JsonOption = False,
) -> None:
    """Make a link with which a person signs in to the console, once, within minutes.

    Example: tmtp-gateway console-link -c gateway.yaml --person "Grace Hopper" --role helpdesk
    """
    if role not in ROLES:
        fail(f"--role {role} is none; one of {', '.join(ROLES)}", USAGE)
    made = ask(config, m.SignInLink, "console.link", m.CreateSignInLink(person=person, role=role))  # type: ignore[arg-type]
    if as_json:
        print_json(made)
        return
    say(f"Give this to {person}, and to nobody else; it is good once, until {posted_text(made.expires_ms)}:")
    say(f"  {made.url}")


def console_people(config: ConfigOption = Path("gateway.yaml"), as_json: JsonOption = False) -> None:
    """Show who may enter the console.

    Example: tmtp-gateway console-people -c gateway.yaml
    """
    found = ask_many(config, m.ConsolePerson, "console.people")
    if as_json:
        print_json(found)
        return
    if not found:
        say("Nobody may enter the console yet. Let somebody in: tmtp-gateway console-link --person NAME")
        return
    show_table(
        "Who may enter the console",
        ("name", "role", "passkeys", "last here", "since"),
        (
            (
                one.person,
                one.role,
                str(one.passkeys),
                posted_text(one.seen_ms) if one.seen_ms is not None else "not signed in",
                posted_text(one.created_ms),
            )
            for one in found
        ),
    )


def console_remove(
    person: Annotated[str, typer.Argument(metavar="NAME", help="As `console-people` shows it.")],
    config: ConfigOption = Path("gateway.yaml"),
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Keep somebody out of the console: sessions end at once, passkeys and links are good for nothing any more.

    Example: tmtp-gateway console-remove -c gateway.yaml "Grace Hopper"
    """
    if not yes and not typer.confirm(f"Keep {person} out of the console?"):
        fail("Nobody was kept out.", FAILED)
    done = ask(config, m.Done, "console.remove", person=person)
    if as_json:
        print_json(done)
    else:
        say(f"{person} may not enter the console any more.")
