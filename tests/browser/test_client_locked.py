# SPDX-License-Identifier: AGPL-3.0-or-later
"""A home that is locked: its pages keep nothing that was read or written, and are where one was once it is opened (B8)."""

from collections.abc import Iterator

from playwright.sync_api import BrowserContext, Page, expect

from tests.support.pages import ComeIn, Town
from tmtp_client.api import operations as o

READ, WRITTEN = "Granite-42-comes-on-Monday", "Basalt-43-will-wait-for-it"
LISTED = "Feldspar-44-was-in-the-list"
PASSPHRASE = "correct horse battery staple"


def remembered(context: BrowserContext, page: Page, *texts: str) -> set[str]:
    """Those of the texts that the page's scripts hold."""
    session = context.new_cdp_session(page)
    pieces: list[str] = []
    session.on("HeapProfiler.addHeapSnapshotChunk", lambda piece: pieces.append(piece["chunk"]))
    session.send("HeapProfiler.collectGarbage")
    session.send("HeapProfiler.takeHeapSnapshot", {"reportProgress": False})
    session.detach()
    written_out = "".join(pieces)
    return {text for text in texts if text in written_out}


def test_what_was_read_and_written_leaves_the_page_with_the_key(
    town: Town, come_in: ComeIn, context: BrowserContext
) -> None:
    ada, bob = town.person("Ada Closes", "work"), town.person("Bob Tells", "work")
    town.acquaint(ada, bob, "work")
    bob.ask("messages.send", o.Send("work", ("Ada Closes",), "Stones", f"**{READ}**", delay_s=0))
    thread = ada.message("work", f"**{READ}").thread
    ada.ask("home.passphrase", o.SetPassphrase(PASSPHRASE))
    page = come_in(ada, f"/#/a/work/t/{thread}")
    expect(page.locator(".prose strong", has_text=READ)).to_be_visible()
    reply = page.get_by_role("form", name="Reply")
    reply.get_by_role("textbox").fill(WRITTEN)
    reply.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("button", name="Undo").first).to_be_visible()
    assert remembered(context, page, READ, WRITTEN) == {READ, WRITTEN}
    page.locator(
        "[data-message] button"
    ).first.focus()  # where the focus was is looked after (controls/focus.js), and forgotten

    ada.ask("home.lock")
    passphrase = page.get_by_label("Passphrase", exact=True)
    expect(passphrase).to_be_visible()
    for _ in looks(page):
        after = remembered(context, page, READ, WRITTEN)
        if not after:
            break
    assert after == set()

    passphrase.fill(PASSPHRASE)
    passphrase.press("Enter")
    expect(page.locator(".prose strong", has_text=READ)).to_be_visible()


def test_what_was_read_of_an_account_leaves_the_page_with_it(
    town: Town, come_in: ComeIn, context: BrowserContext
) -> None:
    """Another account may come by its name."""
    ada, bob = town.person("Ada Leaves", "work", "club"), town.person("Bob Stays", "work")
    town.acquaint(ada, bob, "work")
    bob.ask("messages.send", o.Send("work", ("Ada Leaves",), LISTED, "Hello", delay_s=0))
    ada.message("work", "Hello")
    page = come_in(ada, "/#/a/work")
    conversations = page.get_by_role("list", name="Conversations").get_by_role("link")
    expect(conversations.filter(has_text=LISTED)).to_be_visible()
    assert remembered(context, page, LISTED) == {LISTED}

    ada.ask("accounts.leave", o.OfAccount("work"))
    expect(page.get_by_role("link", name="Example Works")).to_have_count(0)
    for _ in looks(page):
        after = remembered(context, page, LISTED)
        if not after:
            break
    assert after == set()


def test_what_never_changes_in_a_page_is_made_anew_each_time(town: Town, come_in: ComeIn) -> None:
    """An element kept for ever keeps the place where it was shown, with all that stood there."""
    page = come_in(town.person("Ada Remakes", "work"))
    script = """async () => {
        const { html, Fragment } = await import("/app/base/html.js");
        const make = () => html`<main><p>Same</p><${Fragment} /></main>`;
        const [one, other] = [make(), make()];
        return [one === other, ...one.props.children.map((child, at) => child === other.props.children[at])];
    }"""
    assert page.evaluate(script) == [False, False, False]


def looks(page: Page) -> Iterator[int]:
    """A few, with a moment between them: what is on its way out of the page goes with the next frames."""
    for one in range(40):
        yield one
        page.wait_for_timeout(250)
