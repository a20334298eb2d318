# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway report …`: what members tell the administrators of somebody (D2, D3)."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.administration import models as m
from gateway.cli.common import ConfigOption, InstanceOption, JsonOption, ask, ask_pages, print_json, say, show_table
from tmtp_core import limits
from tmtp_core.domain.reports import Closing
from tmtp_core.ids import posted_text

report = typer.Typer(no_args_is_help=True, help="See what members report, and close it.")


@report.command("list")
def list_reports(
    instance: InstanceOption,
    config: ConfigOption = Path("gateway.yaml"),
    closed: Annotated[bool, typer.Option("--closed", help="Those that were closed, instead of the open ones.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what members have reported, oldest first. The words are the reporter's: nobody has verified them.

    Example: tmtp-gateway report list -c gateway.yaml --instance members
    """
    state = "closed" if closed else "open"
    found = ask_pages(config, m.Report, "reports.list", lambda one: one.report, instance=instance, state=state)
    if as_json:
        print_json(found)
    elif not found:
        say(f"No report to {instance} is {'closed' if closed else 'open'}.")
    else:
        show_table(
            f"Reports to {instance}",
            ("report", "about", "why", "in their words", "by", "made", "outcome" if closed else "about the same"),
            (_row(one) for one in found),
        )
        if not closed:
            say(f"To keep somebody out: tmtp-gateway account bar --instance {instance} NAME")


@report.command()
def close(
    number: Annotated[int, typer.Argument(metavar="REPORT", help="As `report list` shows it.")],
    instance: InstanceOption,
    outcome: Annotated[
        Closing,
        typer.Option(
            help="acted: you have done something about it; no_action: it is so, and nothing needs to be done; "
            "unfounded: it is not so."
        ),
    ],
    config: ConfigOption = Path("gateway.yaml"),
    note: Annotated[str, typer.Option(help="For other administrators, and for the audit log.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Close a report. Neither who made it nor who it is about hears of that.

    Example: tmtp-gateway report close -c gateway.yaml --instance members 5 --outcome acted --note "barred"
    """
    body = m.CloseReport(outcome=outcome, note=note)
    done = ask(config, m.Done, "reports.close", body, instance=instance, report=number)
    if as_json:
        print_json(done)
    else:
        say(f"Report {number} is closed. It is kept for {limits.REPORTS_CLOSED_KEPT_DAYS} days.")


def _row(one: m.Report) -> tuple[str, ...]:
    barred = " (barred)" if one.reported_status == "barred" else ""
    last = str(one.about_same) if one.closed_ms is None else ": ".join(part for part in (one.outcome, one.note) if part)
    return (
        str(one.report),
        f"{one.reported_alias or one.reported}{barred}",
        one.reason,
        one.words,
        one.reporter_alias or one.reporter,
        posted_text(one.made_ms),
        last,
    )
