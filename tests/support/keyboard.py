# SPDX-License-Identifier: AGPL-3.0-or-later
"""A page as who has no mouse uses it: the focus is moved, keys are pressed, words are typed, and nothing else is done."""

from typing import Final

from playwright.sync_api import BrowserContext, Locator, Page, expect

TABS_MAX: Final = 60
_NO_POINTER: Final = """\
for (const kind of ["pointerdown", "mousedown", "touchstart", "wheel"])
  addEventListener(kind, (event) => event.isTrusted && console.error(`a pointer was used: ${kind}`), true);
"""


class Keyboard:
    """What a person does with one page. Every act waits until what it is about is there."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def tab_to(self, target: Locator, key: str = "Tab") -> None:
        """Press Tab, or Shift+Tab, until the focus is there."""
        tab_to(self.page, target, key)

    def press(self, target: Locator, key: str = "Enter") -> None:
        """Come to it, and press the key."""
        press(self.page, target, key)

    def type_into(self, target: Locator, text: str) -> None:
        """Come to it, and type."""
        type_into(self.page, target, text)

    def choose(self, target: Locator, name: str) -> None:
        """Type the beginning of a name, and take it from the list that opens."""
        self.type_into(target, name[:6])
        expect(self.page.get_by_role("option", name=name)).to_be_visible()
        self.keys("ArrowDown", "Enter")

    def keys(self, *keys: str) -> None:
        """Press them where the focus is, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def attach(self, button: Locator, name: str, media: str, content: bytes) -> None:
        """Open the system's own dialog by this button, and take a file there."""
        with self.page.expect_file_chooser() as chooser:
            self.press(button)
        chooser.value.set_files({"name": name, "mimeType": media, "buffer": content})


def tab_to(page: Page, target: Locator, key: str = "Tab") -> None:
    """Press Tab, or Shift+Tab, until the focus is there, as who has no mouse does."""
    expect(target).to_be_visible()  # a page that is still on its way has nothing to come to
    for _ in range(TABS_MAX):
        if target.count() == 1 and target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press(key)
    raise AssertionError(f"the focus does not come to {target}")


def press(page: Page, target: Locator, key: str = "Enter") -> None:
    """Come to it by keyboard, and press the key."""
    tab_to(page, target)
    page.keyboard.press(key)


def type_into(page: Page, target: Locator, text: str) -> None:
    """Come to it by keyboard, and type."""
    tab_to(page, target)
    page.keyboard.type(text)


def without_pointer(context: BrowserContext) -> None:
    """From now on a page's console says when a pointer was used, which fails the test that watches it."""
    context.add_init_script(_NO_POINTER)
