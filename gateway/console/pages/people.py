# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may enter the console; for the owner (C1)."""

from aiohttp import web

from gateway.administration import models as m
from gateway.console.rendering import part
from gateway.console.visits import Visit

_HERE = "/people"


async def people(visit: Visit) -> web.Response:
    """Everybody who may enter."""
    found: list[m.ConsolePerson] = await visit.ask("console.people")
    return visit.page("people.html", title="Administrators", here="people", people=found)


async def ask_remove(visit: Visit) -> web.Response:
    """Before somebody may not enter any more."""
    name = visit.named("person")
    return visit.page(
        "confirm.html",
        title="Are you sure?",
        here="people",
        crumbs=(("Administrators", _HERE),),
        question=f"Keep {name} out of the console?",
        consequences=(
            "Every session ends now, and passkeys and links of this person are good for nothing any more.",
            "Accounts of members are not touched. A new sign-in link lets the person in again.",
        ),
        act="Keep out",
        action=f"{_HERE}/{part(name)}/remove",
        back=_HERE,
    )


async def remove(visit: Visit) -> web.Response:
    """Somebody may not enter any more."""
    await visit.form()
    name = visit.named("person")
    await visit.ask("console.remove", person=name)
    return visit.go(_HERE, f"{name} may not enter any more.")
