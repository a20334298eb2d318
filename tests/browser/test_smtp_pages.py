# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every page on an intake, with real mail in it and with none, as it looks and as axe hears it (C2, C5)."""

from pathlib import Path
from typing import Final

from bridges.smtp.control import models as s
from gateway.console.rendering import part
from tests.browser.conftest import Enter
from tests.browser.test_pages import look_at
from tests.support.mail_world import LONG, MailWorld

PAGES: Final = {
    "smtp": "/smtp",
    "smtp-overview": "/smtp/intake",
    "smtp-overview-empty": "/smtp/quiet",
    "smtp-held": "/smtp/intake/held",
    "smtp-held-rejected": "/smtp/intake/held?state=rejected",
    "smtp-held-empty": "/smtp/quiet/held",
    "smtp-held-expired-empty": "/smtp/quiet/held?state=expired",
    "smtp-senders": "/smtp/intake/senders",
    "smtp-senders-none": "/smtp/intake/senders?search=nobody-of-this-name",
    "smtp-senders-empty": "/smtp/quiet/senders",
    "smtp-sender": "/smtp/intake/senders/1",
    "smtp-sender-suspended": "/smtp/intake/senders/3",
    "smtp-sender-hostile": "/smtp/intake/senders/4",
    "smtp-sender-suspend": "/smtp/intake/senders/4/suspend",
    "smtp-vet": "/smtp/intake/senders/new",
    "smtp-correspondents": "/smtp/intake/correspondents",
    "smtp-correspondents-none": "/smtp/intake/correspondents?state=refused",
    "smtp-correspondents-empty": "/smtp/quiet/correspondents",
    "smtp-correspondent": "/smtp/intake/correspondents/teller0%40bank.example",
    "smtp-correspondent-invited": "/smtp/intake/correspondents/teller3%40bank.example",
    "smtp-report": "/smtp/intake/report",
    "smtp-report-empty": "/smtp/quiet/report",
    "smtp-decisions": "/smtp/intake/decisions",
    "smtp-decisions-checked": "/smtp/intake/decisions?check=1",
    "smtp-decisions-none": "/smtp/intake/decisions?search=nobody-of-this-name",
    "smtp-missing": "/smtp/nowhere",
    "smtp-mail-missing": "/smtp/intake/held/999999",
}


def test_every_page_on_an_intake_can_be_used_by_everybody(
    mail_world: MailWorld, enter_mail: Enter, axe: str, screens: Path
) -> None:
    page = enter_mail()
    found = []
    held: list[s.HeldMail] = mail_world.smtp("held.list", limit=100)
    kinds = {
        "papers": next(one for one in held if one.subject == "The papers"),
        "markup": next(one for one in held if "<script>" in one.subject),
        "long": next(one for one in held if "wide" in one.subject),
        "nobodys": next(one for one in held if one.author == LONG),
        "rejected": next(one for one in held if one.state == "rejected"),
    }
    pages = PAGES | {f"smtp-mail-{kind}": f"/smtp/intake/held/{one.number}" for kind, one in kinds.items()}
    pages |= {"smtp-mail-reject": f"/smtp/intake/held/{kinds['long'].number}/reject"}
    for name, path in pages.items():
        answer = page.goto(mail_world.url + path)
        assert answer is not None
        assert answer.status == (404 if name.endswith("missing") else 200), name
        for details in page.locator(".log details").all():
            details.evaluate("(one) => { one.open = true; }")
        found += look_at(page, name, axe, screens)
    assert found == []


def test_the_narrowest_and_the_widest_screens(mail_world: MailWorld, enter_mail: Enter, screens: Path) -> None:
    page = enter_mail()
    mail: s.HeldMail = mail_world.smtp("held.list", limit=1)[0]
    for name in ("", f"/held/{mail.number}", "/held", "/senders", "/correspondents", "/report", "/decisions"):
        for width, height in ((320, 640), (360, 640), (699, 900), (700, 900), (1000, 800), (3840, 2160)):
            page.set_viewport_size({"width": width, "height": height})
            page.goto(f"{mail_world.url}/smtp/intake{name}")
            assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), (name, width)
            if width in {360, 3840}:
                page.screenshot(path=screens / f"smtp{name.replace('/', '-')}-{width}-light.png")


def test_addresses_that_are_hard_to_write_lead_to_their_pages(mail_world: MailWorld, enter_mail: Enter) -> None:
    page = enter_mail()
    author = "o'brien+a&b=c%2f#?@supplier.example"
    assert mail_world.send(author, to="sales@example.org").startswith("5")  # no record: refused, and seen
    page.goto(f"{mail_world.url}/smtp/intake/correspondents?search=o%27brien")
    page.get_by_role("link", name="o'brien").click()
    assert page.url.lower().endswith(part(author).lower())
    assert author in page.get_by_role("heading", level=1).inner_text()
