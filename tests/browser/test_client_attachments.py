# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files of messages, looked at where they stand: pictures, sounds, films, texts, PDF, and what only claims to be one
(B1, B6; docs/decisions/0028-attachments-shown.md).
"""

import base64
import io
import re
import wave
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Playwright, expect

from tests.browser.conftest import CHROMIUM, launched
from tests.support.attempts import attempts, audit
from tests.support.axe import violations
from tests.support.pages import ComeIn, Someone, Town, canary
from tmtp_client import limits
from tmtp_client.api import operations as o

PATIENCE_MS, LOOK_MS = 60_000, 50
CONTRAST = 128  # of 256 shades, between what is written and what it stands on
NARROW, WIDE = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
_RUNS: Final = "<script>top.hit('{canary}');fetch('{canary}/run')</script><img src='{canary}/img' onerror='top.hit(2)'>"
_SVG: Final = "<svg xmlns='http://www.w3.org/2000/svg' onload='top.hit(3)'><image href='{canary}/svg'/></svg>"
_RECORD: Final = """async () => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 48 });
  const pen = canvas.getContext("2d");
  const recorder = new MediaRecorder(canvas.captureStream(20), { mimeType: "video/webm" });
  const pieces = [];
  recorder.ondataavailable = ({ data }) => pieces.push(data);
  const whole = new Promise((done) => (recorder.onstop = () => done(new Blob(pieces))));
  recorder.start();
  for (let frame = 0; frame < 12; frame += 1) {
    pen.fillStyle = `hsl(${frame * 30}, 80%, 50%)`;
    pen.fillRect(0, 0, 64, 48);
    await new Promise((done) => setTimeout(done, 50));
  }
  recorder.stop();
  return btoa(String.fromCharCode(...new Uint8Array(await (await whole).arrayBuffer())));
}"""


class Sent(NamedTuple):
    """Ada has a message with all files; the canary that some of them name."""

    ada: Someone
    thread: str
    heard: list[str]


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """With a viewer of PDF, which a browser without a frame around it does not have."""
    with launched(playwright, CHROMIUM) as opened:
        yield opened


def picture(form: str, size: tuple[int, int] = (640, 360), **options: object) -> bytes:
    made = io.BytesIO()
    frames = [Image.effect_mandelbrot(size, (-2.2, -1.2, 1 + place, 1.2), 40).convert("RGB") for place in range(2)]
    more = {"save_all": True, "append_images": frames[1:], "duration": 100, "loop": 0} if form == "GIF" else {}
    frames[0].save(made, form, **more, **options)
    return made.getvalue()


def sound() -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(1)
        out.setframerate(8_000)
        out.writeframes(bytes(128 + (place // 10 % 2) * 20 for place in range(8_000)))
    return made.getvalue()


def film(browser: Browser) -> bytes:
    """A second of colours, as this browser records it."""
    page = browser.new_page()
    recorded: str = page.evaluate(_RECORD)
    page.close()
    return base64.b64decode(recorded)


def document(address: str) -> bytes:
    """A PDF of one page that wants to send and to lead elsewhere: when it is opened, and wherever one clicks."""
    url = address.encode()
    words = b"BT /F1 36 Tf 20 90 Td (As agreed) Tj ET"
    parts = [
        b"<</Type/Catalog/Pages 2 0 R/OpenAction<</S/JavaScript/JS(this.submitForm\\('%b/js'\\);app.launchURL\\('%b/launch',true\\);)>>>>"
        % (url, url),
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>"
        b"/AA<</O<</S/URI/URI(%b/page)>>>>/Annots[<</Type/Annot/Subtype/Link/Rect[0 0 300 200]/A<</S/URI/URI(%b/link)>>>>]>>"
        % (url, url),
        b"<</Length %d>>stream\n%b\nendstream" % (len(words), words),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    whole, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        places.append(len(whole))
        whole += b"%d 0 obj\n%b\nendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % len(whole)
    return whole + b"xref\n0 6\n0000000000 65535 f \n" + table + end


def files(browser: Browser, address: str) -> dict[str, bytes]:
    """By name. Those that are `not …` are not what they are called."""
    runs, svg = (text.replace("{canary}", address).encode() for text in (_RUNS, _SVG))
    png = picture("PNG", (64, 64))
    large, broken = bytearray(png), bytearray(png)
    large[16:24] = (40_000).to_bytes(4) * 2
    broken[24] = 77  # bits of a sample
    return {
        "plan.png": picture("PNG", (1_600, 900)),
        "tall.jpg": picture("JPEG", (200, 3_000)),
        "moves.gif": picture("GIF"),
        "beep.wav": sound(),
        "film.webm": film(browser),
        "notes.txt": ("Grüße an alle\n" + "a line of a long text\n" * 60_000).encode(),
        "runs.txt": runs,
        "table.csv": b"day;stones\nMonday;12\n",
        "contract.pdf": document(address),
        "bomb.png": bytes(large),
        "broken.png": bytes(broken),
        "not a picture.png": b"<!doctype html>" + runs,
        "not a photo.jpg": svg,
        "not a text.txt": b"MZ\x90\0\3\0\0\0",
        "not a document.pdf": b"<!doctype html>" + runs,
        "not a film.mp4": b"<!doctype html>" + runs,
        "drawing.svg": svg,
        "page.html": runs,
    }


@pytest.fixture(scope="module")
def sent(town: Town, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sent]:
    ada, bob = town.person("Ada Looks", "work"), town.person("Bob Attaches", "work")
    town.acquaint(ada, bob, "work")
    folder = tmp_path_factory.mktemp("files")
    with canary() as (address, heard):
        staged = []
        for name, octets in files(browser, address).items():
            (folder / name).write_bytes(octets)
            staged.append(bob.ask("files.stage", o.Stage("work", str(folder / name))).file)
        bob.ask("messages.send", o.Send("work", (ada.name,), "Files", "All of them", files=tuple(staged), delay_s=0))
        yield Sent(ada, ada.message("work", "All of them").thread, heard)


@pytest.fixture
def page(sent: Sent, come_in: ComeIn) -> Page:
    came = come_in(sent.ada, f"/#/a/work/t/{sent.thread}", further=partial(attempts, may_open=True))
    expect(came.get_by_role("list", name="Files")).to_be_visible()
    return came


def opened(page: Page, name: str) -> Locator:
    """What stands below a file's name once it was opened, by keyboard."""
    button = page.get_by_role("button", name=f"Open {name}")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name=f"Close {name}")).to_have_attribute("aria-expanded", "true")
    return page.locator(".file").filter(has=page.get_by_role("button", name=f"Close {name}"))


# -- what is shown ---------------------------------------------------------------------------------------------------
def test_pictures_sounds_and_films_are_shown_with_what_they_are(page: Page) -> None:
    shown = opened(page, "plan.png")
    expect(shown).to_contain_text(re.compile(r"plan\.png [\d.]+ kB"))
    expect(shown.get_by_role("figure", name="plan.png")).to_contain_text("PNG picture · 1,600 × 900")
    plan = shown.get_by_role("img", name="Picture plan.png")
    assert plan.evaluate("(one) => one.naturalWidth") == 1_600
    box, file = plan.bounding_box(), shown.bounding_box()
    assert box is not None
    assert file is not None
    assert box["x"] + box["width"] <= file["x"] + file["width"]
    beep = opened(page, "beep.wav")
    beep.locator("audio").evaluate(
        "(one) => new Promise((done) => (one.readyState ? done() : (one.onloadedmetadata = done)))"
    )
    assert beep.locator("audio").evaluate("(one) => [one.paused, Math.round(one.duration)]") == [True, 1]
    expect(beep.get_by_role("figure")).to_contain_text("WAV sound")
    films = opened(page, "film.webm")
    films.locator("video").evaluate(
        "(one) => new Promise((done) => (one.readyState ? done() : (one.onloadedmetadata = done)))"
    )
    assert films.locator("video").evaluate("(one) => [one.paused, one.videoWidth, one.videoHeight]") == [True, 64, 48]
    page.get_by_role("button", name="Close plan.png").click()
    expect(plan).to_have_count(0)


def test_a_picture_that_moves_stands_still_for_who_wants_that(page: Page) -> None:
    """WCAG 2.3.3: the browser of these tests asks for little motion."""
    shown = opened(page, "moves.gif")
    still, moves = shown.locator("canvas"), shown.locator("img")
    expect(still).to_have_accessible_name("Picture moves.gif")
    page.wait_for_function("() => document.querySelector('.shown canvas').width === 640")
    expect(moves).to_be_hidden()
    shown.get_by_role("button", name="Let it move").click()
    expect(moves).to_be_visible()
    expect(still).to_have_count(0)


def test_texts_stand_in_a_frame_of_no_origin_and_a_long_one_is_cut(sent: Sent, page: Page) -> None:
    shown = opened(page, "notes.txt")
    frame = page.frame_locator("iframe[title='notes.txt']")
    expect(frame.locator("body")).to_contain_text("Grüße an alle")
    expect(shown.get_by_role("figure")).to_contain_text(re.compile(r"Text.*Only the first 1 MB are shown", re.DOTALL))
    [inner] = [one for one in page.frames if one.name != "" or one is not page.main_frame]
    assert len(inner.locator("body").inner_text().encode()) <= limits.TEXT_SHOWN_MAX_BYTES
    opened(page, "runs.txt")
    expect(page.frame_locator("iframe[title='runs.txt']").locator("body")).to_contain_text("<script>")
    expect(opened(page, "table.csv").get_by_role("figure")).to_contain_text("Text")
    assert page.locator("iframe").evaluate_all("(all) => all.map((one) => one.getAttribute('sandbox'))") == ["", "", ""]
    assert page.locator("iframe").evaluate_all("(all) => all.map((one) => one.contentDocument)") == [None] * 3
    assert sent.heard == []


def test_a_pdf_opens_in_a_tab_of_its_own_by_a_second_act(sent: Sent, page: Page) -> None:
    """In a frame one click on a link in it would lead the page away, whatever policy it comes under."""
    shown = opened(page, "contract.pdf")
    expect(shown.get_by_role("figure", name="contract.pdf")).to_contain_text("in a tab of its own")
    link = shown.get_by_role("link", name="Open in a new tab contract.pdf")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    with page.context.expect_page() as tab:
        link.evaluate("(one) => one.click()")
    viewer = tab.value
    for _ in range(PATIENCE_MS // LOOK_MS):
        if any(one.url.startswith("chrome-extension:") for one in viewer.frames):
            break
        viewer.wait_for_timeout(LOOK_MS)
    else:
        pytest.fail("the viewer has not begun")
    assert viewer.evaluate("window.opener") is None
    viewer.wait_for_timeout(1_000)  # what it does on being opened, it has done
    assert sent.heard == []
    viewer.close()


# -- what is not -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("not a picture.png", "It is not what its name says"),
        ("not a photo.jpg", "It is not what its name says"),
        ("not a text.txt", "It is not what its name says"),
        ("not a document.pdf", "It is not what its name says"),
        ("not a film.mp4", "It is not what its name says"),
        ("bomb.png", "It is too large to be shown here"),
        ("broken.png", "It is broken"),
    ],
)
def test_what_cannot_be_shown_says_why(sent: Sent, page: Page, name: str, why: str) -> None:
    shown = opened(page, name)
    expect(shown.get_by_role("alert")).to_contain_text(why)
    expect(shown.locator("img, iframe, video")).to_have_count(0)
    expect(shown.get_by_role("link", name=f"Download {name}")).to_have_attribute("download", name)
    assert sent.heard == []


def test_what_may_run_is_only_kept(sent: Sent, page: Page) -> None:
    for name in ("drawing.svg", "page.html"):
        expect(page.get_by_role("link", name=f"Download {name}")).to_be_visible()
        expect(page.get_by_role("button", name=f"Open {name}")).to_have_count(0)
    assert sent.heard == []


def read(page: Page, name: str) -> None:
    """Wait until a text stands in its frame with light and dark in it: black on black is found by no other means."""
    frame = page.locator(f"iframe[title='{name}']")
    frame.scroll_into_view_if_needed()
    for _ in range(PATIENCE_MS // LOOK_MS):  # a frame in a process of its own is painted when it comes into sight
        picture = Image.open(io.BytesIO(frame.screenshot())).convert("L")
        shades = picture.crop((4, 4, picture.width - 4, picture.height - 4)).getcolors() or []
        if max(shade for _, shade in shades) - min(shade for _, shade in shades) > CONTRAST:  # type: ignore[operator]
            return
        page.wait_for_timeout(LOOK_MS)
    pytest.fail("the text cannot be read")


# -- for everybody ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_files_opened_keep_nobody_from_using_the_page(page: Page, axe: str, scheme: str, screens: Path) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for name in ("plan.png", "tall.jpg", "moves.gif", "beep.wav", "film.webm", "table.csv", "contract.pdf", "bomb.png"):
        opened(page, name)
    expect(page.get_by_role("figure")).to_have_count(7)
    for width, size in (("wide", WIDE), ("narrow", NARROW)):
        page.set_viewport_size(size)  # type: ignore[arg-type]
        page.locator(".shown canvas").scroll_into_view_if_needed()
        assert violations(page, axe) == []
        assert not [one for one in audit(page) if "it could run or load" not in one]
        read(page, "table.csv")
        page.screenshot(path=screens / f"client-attached-frames-{width}-{scheme}.png")
        page.get_by_role("figure").first.scroll_into_view_if_needed()
        page.screenshot(path=screens / f"client-attached-pictures-{width}-{scheme}.png")
