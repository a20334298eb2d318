# SPDX-License-Identifier: AGPL-3.0-or-later
"""An invitation that somebody has as a picture (B7): a photograph of the card, a screenshot of the console. It is chosen,
dropped or pasted, read by the engine in a closed process, and nothing of it is kept. The pictures are real ones: Chromium
draws the card and the console's code, and they are turned, shrunk and photographed from there.
"""

import base64
import io
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from PIL import Image, ImageDraw, ImageFilter
from playwright.sync_api import Browser, Page, expect

from gateway.console.codes import qr
from gateway.invitations.sheet import Card, sheet
from tests.browser.test_client_writing import looked_at
from tests.support.gateway import invited
from tests.support.pages import SERVICES, ComeIn, Town
from tmtp_client.engine.code_reading import CodeReader

SEED: Final = 20_261_126


Read = Callable[[bytes], str]


def invitation(town: Town) -> str:
    return town.do(invited(town.gateways["work"], SERVICES["work"][1])).link


@pytest.fixture
def read(town: Town) -> Read:
    """What the engine finds in a picture."""
    return lambda picture: town.do(CodeReader().read(picture, "invitation"))


@pytest.fixture(scope="module")
def link(town: Town) -> str:
    return invitation(town)


@pytest.fixture(scope="module")
def card(browser: Browser, link: str) -> Image.Image:
    """The sheet that an administrator prints, as a browser shows it."""
    with browser.new_context(viewport={"width": 900, "height": 1100}) as context:
        page = context.new_page()
        page.set_content(sheet("Example Works", [Card("Ada Lovelace", link)], "Friday"))
        return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


@pytest.fixture(scope="module")
def code(browser: Browser, link: str) -> Image.Image:
    """The console's own code, alone."""
    return drawn(browser, link)


def drawn(browser: Browser, text: str) -> Image.Image:
    with browser.new_context(viewport={"width": 400, "height": 400}) as context:
        page = context.new_page()
        page.set_content(
            f"<style>body {{ margin: 0 }} svg {{ width: 400px; display: block; stroke: black }}</style>{qr(text, 'code')}"
        )
        return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def octets(picture: Image.Image, form: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def photographed(card: Image.Image) -> Image.Image:
    """From aslant, in half light, by a hand that shakes, on a wooden table; two megapixels."""
    chance = random.Random(SEED)
    table = Image.new("RGB", (1600, 1200), (96, 72, 52))
    pen = ImageDraw.Draw(table)
    for y in range(0, 1200, 7):
        pen.line([(0, y), (1600, y + chance.randint(-20, 20))], fill=(80 + chance.randint(0, 40), 64, 44), width=3)
    paper = card.resize((900, 1100)).convert("RGBA")
    seen = paper.transform((1600, 1200), Image.Transform.PERSPECTIVE, _aslant(), Image.Resampling.BICUBIC)
    table.paste(seen, (0, 0), seen)
    light = Image.linear_gradient("L").resize((1600, 1200)).rotate(90).point(lambda value: 90 + value // 3)
    dark = Image.composite(table, Image.new("RGB", table.size, (20, 18, 16)), light)
    noise = Image.effect_noise(table.size, 24).convert("RGB")
    return Image.blend(dark, noise, 0.08).filter(ImageFilter.GaussianBlur(0.9))


def _aslant() -> tuple[float, ...]:
    """The coefficients that bring a card's corners to where a camera sees them (Pillow's PERSPECTIVE)."""
    return (0.95, -0.22, -60.0, 0.11, 0.98, -130.0, 0.00008, -0.00011)


# -- what is read --------------------------------------------------------------------------------------------------------
def test_the_card_is_read_as_a_browser_shows_it(read: Read, card: Image.Image, link: str) -> None:
    assert read(octets(card)) == link


@pytest.mark.parametrize("degrees", [17, 90, 180, 245])
def test_a_turned_code_is_read(read: Read, code: Image.Image, link: str, degrees: int) -> None:
    assert read(octets(code.rotate(degrees, expand=True, fillcolor="white"))) == link


def test_a_mirrored_and_an_inverted_code_are_read(read: Read, code: Image.Image, link: str) -> None:
    """A window from the other side; a screen in dark colours."""
    assert read(octets(code.transpose(Image.Transpose.FLIP_LEFT_RIGHT))) == link
    assert read(octets(code.point(lambda value: 255 - value))) == link


def test_a_small_code_is_read(read: Read, code: Image.Image, link: str) -> None:
    """Two pixels a module, as in a chat's preview."""
    modules = 61  # of a link of this length, with its border
    assert read(octets(code.resize((2 * modules, 2 * modules), Image.Resampling.LANCZOS))) == link


def test_a_photograph_is_read(read: Read, card: Image.Image, link: str) -> None:
    """Also as a telephone packs it, and lying on its side with a note which way is up (EXIF)."""
    photograph = photographed(card)
    assert read(octets(photograph, "JPEG", quality=70)) == link
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read(octets(photograph.rotate(90, expand=True), "JPEG", quality=80, exif=exif)) == link


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP"])
def test_the_usual_formats_are_read(read: Read, code: Image.Image, link: str, form: str) -> None:
    assert read(octets(code, form)) == link


def test_what_is_transparent_is_white(read: Read, code: Image.Image, link: str) -> None:
    clear = code.convert("RGBA")
    clear.putalpha(code.convert("L").point(lambda value: 255 - value))
    assert read(octets(clear)) == link


# -- in the page ---------------------------------------------------------------------------------------------------------
def begun(page: Page) -> None:
    """Past the choice of what opens the history."""
    page.get_by_label("This computer’s keyring").check()
    page.get_by_role("button", name="Continue").click()


def given(page: Page, picture: bytes, name: str = "photo.jpg") -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Take it from a picture").click()
    chooser.value.set_files({"name": name, "mimeType": "image/jpeg", "buffer": picture})


def test_from_a_photograph_to_an_account(
    town: Town, come_in: ComeIn, axe: str, screens: Path, card: Image.Image, link: str
) -> None:
    someone = town.device("Pia Picture")
    page = come_in(someone)
    begun(page)
    looked_at(page, axe, screens, "picture-asked")
    given(page, octets(photographed(card), "JPEG", quality=70))
    expect(page.get_by_label("Invitation link")).to_have_value(link)
    expect(page.get_by_text("This is what the picture says.")).to_be_visible()
    looked_at(page, axe, screens, "picture-read")
    page.get_by_label("Your name there").fill("Pia Picture")
    page.get_by_role("button", name="Join", exact=True).click()
    expect(page.get_by_role("heading", name=re.compile("recovery sheet", re.IGNORECASE)).first).to_be_visible()
    assert not list(someone.home.rglob("*.jpg"))


def test_what_is_wrong_with_a_picture_is_said_and_can_be_mended(
    town: Town, browser: Browser, come_in: ComeIn, axe: str, screens: Path, code: Image.Image, link: str
) -> None:
    page = come_in(town.device("Mia Mistake"))
    begun(page)
    wrong = page.locator(".from-picture .wrong")
    other = drawn(browser, "https://example.com/menu")
    both = Image.new("RGB", (800, 400), "white")
    both.paste(code, (0, 0))
    both.paste(drawn(browser, invitation(town)), (400, 0))
    for picture, words in (
        (octets(Image.new("RGB", (300, 300), "white")), "There is no QR code in this picture"),
        (octets(other), "The QR code in this picture is no invitation to a service."),
        (octets(both), "There are 2 invitations in this picture"),
        (b"%PDF-1.7 not a picture", "This is no PNG, JPEG, GIF or WebP picture."),
        (octets(code)[:1_000], "This picture is broken"),
    ):
        given(page, picture)
        expect(wrong).to_contain_text(words)
    looked_at(page, axe, screens, "picture-wrong")
    given(page, octets(code))
    expect(page.get_by_label("Invitation link")).to_have_value(link)
    expect(wrong).to_have_count(0)


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_is_dropped_or_pasted(town: Town, come_in: ComeIn, code: Image.Image, link: str, way: str) -> None:
    page = come_in(town.device("Dora Drop"))
    begun(page)
    data = page.evaluate_handle(
        """(base64) => {
            const octets = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([octets], "code.png", { type: "image/png" }));
            return data;
        }""",
        base64.b64encode(octets(code)).decode(),
    )
    field = page.get_by_label("Invitation link")
    field.evaluate(
        """(element, [way, data]) => element.dispatchEvent(way === "drop"
            ? new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: data })
            : new ClipboardEvent("paste", { bubbles: true, cancelable: true, clipboardData: data }))""",
        [way, data],
    )
    expect(field).to_have_value(link)
    data.dispose()


def test_a_device_is_linked_from_a_picture_of_the_other_ones_screen(
    town: Town, come_in: ComeIn, other_come_in: ComeIn
) -> None:
    """B4: what the one shows is photographed with the other, both ways."""
    owner, phone = town.person("Lea Linker", "work"), town.device("Lea Linker")
    laptop, new = come_in(owner), other_come_in(phone)
    laptop.goto(f"{owner.url}/#/settings/devices")
    laptop.get_by_role("button", name="Add a device").click()
    dialog = laptop.get_by_role("dialog", name="Add a device")
    expect(dialog.locator(".link-text img, .link-text svg").first).to_be_visible()
    begun(new)
    new.get_by_role("button", name="I have an account already").click()
    given(new, laptop.screenshot())
    expect(new.get_by_label("The first text")).to_have_value(dialog.locator("code").inner_text())
    new.get_by_role("button", name="Continue").click()
    expect(new.locator(".fingerprint")).to_be_visible()
    with laptop.expect_file_chooser() as chooser:
        dialog.get_by_role("button", name="Take it from a picture").click()
    chooser.value.set_files({"name": "phone.png", "mimeType": "image/png", "buffer": new.screenshot(full_page=True)})
    expect(dialog.get_by_label("The text that it shows then")).to_have_value(
        new.locator(".link-text code").inner_text()
    )
