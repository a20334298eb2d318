# SPDX-License-Identifier: AGPL-3.0-or-later
"""Telling the administrators of a service of somebody (D2, D3; docs/protocol.md, *Reports*).

What is told is whom, why, and the person's own words: nothing of what was written goes along.
"""

from tmtp_client.api import models, problems
from tmtp_client.engine import acquaintance
from tmtp_client.engine.composing import check_unicode
from tmtp_client.engine.context import Context
from tmtp_core import limits
from tmtp_core.wire import revision2 as m2


def offered(context: Context) -> bool:
    """Whether the service takes reports, as far as this device has heard since it runs."""
    connection = context.connection
    return context.revision >= 2 and connection is not None and m2.REPORTS in connection.features


async def report(context: Context, uid: str, reason: str, text: str) -> models.Person:
    """Tell them. It changes nothing of how one stands with the person, who hears nothing.

    Raises `ProblemError`, and `Refused`, `Disconnected`, TimeoutError: the service has to hear of it.
    """
    person = await acquaintance.person(context, uid)
    words = text.strip()
    check_unicode(words)
    units, most = len(words.encode("utf-16-le")) // 2, limits.REPORT_WORDS_MAX_UTF16_UNITS
    if units > most:
        raise problems.usage(f"a report has at most {most} characters; this has {units}", "text")
    if context.revision < 2:
        raise problems.refused("this service takes no reports: the account is of revision 1")
    connection = await context.soon()
    if m2.REPORTS not in connection.service.result().features:
        raise problems.refused("this service takes no reports: it runs an older release")
    await connection.ask(m2.Report(context.request_id(), uid, reason, words))
    return person
