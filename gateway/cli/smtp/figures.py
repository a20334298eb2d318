# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway smtp status | report | replay | audit …` (C2, C5)."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from bridges.smtp.control import models as s
from bridges.smtp.control.export import TABLES, as_csv
from gateway.cli.common import (
    FAILED,
    USAGE,
    ConfigOption,
    JsonOption,
    bridges_of,
    fail,
    loaded,
    print_json,
    say,
    show_table,
)
from gateway.cli.smtp.asking import LimitOption, NameOption, ask, moment
from gateway.settings import load_rules

audit = typer.Typer(no_args_is_help=True, help="The log of decisions: what became of each mail, and who changed what.")

_RESIDUE_SHOWN = 20


def status(config: ConfigOption = Path("gateway.yaml"), name: NameOption = None, as_json: JsonOption = False) -> None:
    """Show how an intake is, and what an administrator should look at. Exit code 1 where it has no service.

    Example: tmtp-gateway smtp status -c gateway.yaml
    """
    found = ask(config, name, s.Status, "status")
    if as_json:
        print_json(found)
    else:
        rows = (
            ("service", "connected" if found.connected else "away"),
            ("sessions", str(found.sessions)),
            ("held mail", f"{found.held} ({found.held_bytes} bytes)"),
            ("waiting for the service", f"{found.spooled} ({found.spooled_bytes} bytes)"),
            ("members' answers on their way", str(found.outgoing)),
            ("vetted senders", f"{found.senders_active}, and {found.senders_suspended} suspended"),
        )
        show_table(f"Intake {found.name}", ("what", "value"), rows)
        for line in found.attention:
            say(f"! {line}")
    if not found.connected:
        raise typer.Exit(FAILED)


def report(
    config: ConfigOption = Path("gateway.yaml"),
    name: NameOption = None,
    csv: Annotated[Path | None, typer.Option(metavar="DIR", help="Write its tables there, as CSV files.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how far the way out of SMTP is: who still writes by it, who was invited, who has joined, when it could end.

    Example: tmtp-gateway smtp report -c gateway.yaml

    Example: tmtp-gateway smtp report -c gateway.yaml --csv ./report
    """
    if csv is not None and as_json:
        fail("--csv and --json are two ways to have it: give one", USAGE)
    found = ask(config, name, s.Report, "report")
    if as_json:
        print_json(found)
    elif csv is not None:
        _write_tables(found, csv)
    else:
        _show_report(found)


def replay(
    rules: Annotated[
        Path,
        typer.Option("--rules", metavar="NEW.yaml", help="A settings file, or one with senders: and routes: alone."),
    ],
    config: ConfigOption = Path("gateway.yaml"),
    name: NameOption = None,
    days: Annotated[int, typer.Option(min=1, max=400, help="Of how many days.")] = 30,
    as_json: JsonOption = False,
) -> None:
    """Try other rules on the mail of the last days: what would have become of it. Nothing is changed.

    What is tried are the senders and routes of the file; records that administrators have made stay as they are, but
    where the file vets the same. Of a file that has no senders:, or no routes:, those of now count.

    Example: tmtp-gateway smtp replay -c gateway.yaml --rules new.yaml --days 30
    """
    from gateway.bridges import vetted  # noqa: PLC0415 - it takes some megabytes

    _, bridge, _ = bridges_of(config, name)
    tried = loaded(rules, lambda path: load_rules(path, bridge))
    asked = s.Replay(
        senders=[vetted(one) for one in tried.senders],
        routes=[s.ReplayedRoute(recipient=one.recipient, unknown=one.unknown) for one in tried.routes],
        days=days,
    )
    found = ask(config, name, s.ReplayAnswer, "replay", asked)
    if as_json:
        print_json(found)
        return
    kinds = sorted({*found.before, *found.after})
    show_table(
        f"{found.messages} messages of {found.days} days",
        ("outcome", "as it was", "with these rules"),
        ((kind, str(found.before.get(kind, 0)), str(found.after.get(kind, 0))) for kind in kinds),
    )
    for change in found.changes:
        say(f"{change.author} to {change.recipient}: {change.messages} × {change.before}, would be {change.after}")
        for step in change.trace:
            say(f"    {step}")
    if not found.changes:
        say("Nothing would have been otherwise.")
    if found.unknown:
        say(f"Of {found.unknown} messages too little was looked at to say.")


@audit.command("list")
def list_decisions(
    config: ConfigOption = Path("gateway.yaml"),
    name: NameOption = None,
    search: Annotated[str | None, typer.Option(help="An address, a recipient, or who did it.")] = None,
    before: Annotated[int | None, typer.Option(min=1, metavar="NUMBER", help="Those older than this one.")] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """Show what was decided, with the steps that led there; the newest first.

    Example: tmtp-gateway smtp audit list -c gateway.yaml --search partner.example
    """
    page = ask(config, name, s.DecisionPage, "decisions.list", search=search, before=before, limit=limit)
    if as_json:
        print_json(page)
        return
    if not page.entries:
        say("There is no such entry.")
        return
    for entry in page.entries:
        say(f"{entry.number}  {moment(entry.at_ms)}  {_entry_text(entry)}")
    if page.next is not None:
        say(f"There are older ones: --before {page.next}")


@audit.command("verify")
def verify(config: ConfigOption = Path("gateway.yaml"), name: NameOption = None, as_json: JsonOption = False) -> None:
    """See whether the log of decisions is as it was written. Exit code 1 where it is not.

    Example: tmtp-gateway smtp audit verify -c gateway.yaml
    """
    found = ask(config, name, s.DecisionVerdict, "decisions.verify")
    if as_json:
        print_json(found)
    elif found.intact:
        say(f"All {found.entries} entries from {found.first} on are as they were written. Keep this elsewhere:")
        say(f"  {found.head}")
    if not found.intact:
        if not as_json:
            fail(f"Entry {found.first_broken} is not as it was written, or one before it is missing.", FAILED)
        raise typer.Exit(FAILED)


def _entry_text(entry: s.DecisionEntry) -> str:
    """An entry in lines: who, what, and for each recipient the outcome and the steps."""
    body = msgspec.json.decode(entry.body)
    if entry.kind == "act":
        detail = f": {body['detail']}" if body.get("detail") else ""
        head = f"{body['by']}: {body['act']} {body['target']}{detail}"
    else:
        evidence = body["evidence"]
        head = (
            f"mail from {evidence['author'] or evidence['mail_from'] or 'nobody'} at {evidence['peer'] or 'a socket'}"
        )
    lines = [head]
    for one in body.get("decided", ()):
        lines.append(f"    {one['recipient']}: {one['outcome']}")
        lines += [f"        {step}" for step in one["trace"]]
    return "\n".join(lines)


def _write_tables(found: s.Report, folder: Path) -> None:
    """A file for each table. What is there under these names is replaced."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for table in TABLES:
            (folder / f"{table}.csv").write_text(as_csv(found, table), "utf-8", newline="")
    except OSError as error:
        fail(f"{folder} cannot be written: {error.strerror or error}", FAILED)
    say(f"Written: {', '.join(f'{folder / table}.csv' for table in TABLES)}")


def _show_report(found: s.Report) -> None:
    show_table(
        "What came by SMTP",
        (
            "days",
            "senders",
            "messages",
            "delivered",
            "held",
            "refused",
            "by persons",
            "by machines",
            "weakly proved",
            "not proved",
        ),
        (
            tuple(
                str(value)
                for value in (
                    *(one.days, one.senders, one.messages, one.delivered, one.held, one.refused),
                    *(one.human, one.machine, one.weak, one.unproved),
                )
            )
            for one in found.windows
        ),
    )
    rate = f"{found.joined_rate:.0%}" if found.joined_rate is not None else "nobody was invited"
    days = f"{found.median_days:.1f} days" if found.median_days is not None else "nobody has joined"
    steps = [(f"correspondents: {state}", str(count)) for state, count in found.states.items()]
    show_table(
        "The way out",
        ("what", "value"),
        [
            *steps,
            ("invited, ever", str(found.invited)),
            ("joined, ever", str(found.joined)),
            ("of those invited have joined", rate),
            ("from invitation to joining", days),
            ("projected end of SMTP", found.zero_date or "it does not fall, or there is too little to say"),
        ],
    )
    if found.residue:
        show_table(
            "Who still writes by SMTP",
            ("address", "step", "is", "proof", "messages", "last"),
            (
                (
                    one.address,
                    one.state,
                    f"a machine ({one.machine})" if one.machine else "a person",
                    one.proof,
                    str(one.messages),
                    moment(one.last_seen_ms),
                )
                for one in found.residue[:_RESIDUE_SHOWN]
            ),
        )
        if len(found.residue) > _RESIDUE_SHOWN:
            say(f"and {len(found.residue) - _RESIDUE_SHOWN} more: --json or --csv has all of them")
    if found.members:
        show_table(
            "What members received in 30 days",
            ("member", "by SMTP", "by TMTP"),
            ((one.alias, str(one.smtp), str(one.tmtp)) for one in found.members),
        )
