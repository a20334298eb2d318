# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looking up who is here, where the instance allows it: op 17. Only aliases are told, and not many at once."""

import msgspec

from tmtp_core import limits
from tmtp_core.domain import quotas
from tmtp_core.domain.accounts import active_account
from tmtp_core.domain.bridging import refuse_bridge
from tmtp_core.domain.outcome import Answer, Asker, Moment, Outcome
from tmtp_core.domain.port import Ledger
from tmtp_core.errors import RequestRefused
from tmtp_core.wire.revision2 import Find, Listing


def find(request: Find, ledger: Ledger, asker: Asker, moment: Moment) -> Outcome:
    """Aliases that begin with the text, at most `limits.DIRECTORY_ANSWERS_MAX`. Raises `RequestRefused`."""
    account = active_account(ledger, asker)
    refuse_bridge(account)
    if not moment.policy.directory:
        raise RequestRefused("Find: there is no directory here")
    if len(request.text) < limits.DIRECTORY_TEXT_MIN_CHARACTERS:
        raise RequestRefused(f"Find: give at least {limits.DIRECTORY_TEXT_MIN_CHARACTERS} characters")
    quotas.count_find(ledger, account, moment)
    aliases = ledger.aliases_from(request.text[: limits.NAME_MAX_BYTES], limits.DIRECTORY_ANSWERS_MAX)
    data = msgspec.json.encode(list(aliases))
    return Outcome(answers=[Answer(Listing(request.id, len(data)), data)])
