# SPDX-License-Identifier: AGPL-3.0-or-later
"""Signing in from a terminal: the person's browser is opened, or its address printed."""

import webbrowser
from collections.abc import Callable
from dataclasses import dataclass

from tmtp_client.engine import signing_in
from tmtp_core.wire import messages as m


@dataclass(frozen=True, slots=True)
class Ways:
    """How a person signs in: also where it is not asked for (`wanted`), and whether a browser is opened for them."""

    wanted: bool = False
    browser: bool = True


async def signed_in(provider: m.SignIn, nonce: str, tell: Callable[[str], None], *, browser: bool) -> str:
    """As `tmtp_client.engine.signing_in` has it. `tell` is given the address to open."""

    def open_url(label: str, url: str) -> None:
        tell(url)
        if browser:
            webbrowser.open(url)

    return await signing_in.signed_in(provider, nonce, open_url)
