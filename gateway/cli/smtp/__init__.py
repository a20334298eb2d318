# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway smtp …`: what administrators see and do of an SMTP intake (C2, C5)."""

import typer

from gateway.cli.smtp.correspondents import correspondents
from gateway.cli.smtp.figures import audit, replay, report, status
from gateway.cli.smtp.held import held
from gateway.cli.smtp.senders import senders

__all__ = ["smtp"]

smtp = typer.Typer(no_args_is_help=True, help="The SMTP intake: who may write, what waits, and the way out of SMTP.")
smtp.command()(status)
smtp.add_typer(senders, name="senders")
smtp.add_typer(held, name="held")
smtp.add_typer(correspondents, name="correspondents")
smtp.command()(report)
smtp.command()(replay)
smtp.add_typer(audit, name="audit")
