# SPDX-License-Identifier: AGPL-3.0-or-later
"""What others' words try in a page, and what they do to it: noted, so that a test can say that there was nothing (B6).

`attempts` notes whatever a script could do that should not be there: a call of a function that no page of ours calls,
another page, a frame, a download, a navigation, and what the page's policy refuses. It says so to the console, of which
`watch` of `tests.support.pages` notes every error. `audit` looks at the page as it stands.
"""

from typing import Final
from urllib.parse import urlsplit

from playwright.sync_api import Download, Frame, Page

from tmtp_client.api.guards import DOOR

_CALLS: Final = ("alert", "confirm", "prompt", "print", "open", "hit")
_HOOKS: Final = """
for (const name of %s) window[name] = (...said) => (console.error(`a script calls ${name}(${said.join(", ")})`), null);
addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI, sample }) =>
  console.error(`the policy refuses ${violatedDirective}: ${blockedURI} ${sample}`));
"""
_LAY_OUT: Final = """
() => {
  const all = new CSSStyleSheet();
  all.replaceSync("* { content-visibility: visible !important }");
  document.adoptedStyleSheets.push(all);
  return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
}
"""
_AUDIT: Final = r"""
() => {
  const found = new Set();
  const note = (what, element) => found.size < 20 && found.add(`${what}: ${element.outerHTML.slice(0, 300)}`);

  // What could run or load, had the policy let it.
  const forbidden = "script, style, link, base, meta[http-equiv], iframe, object, embed, form[action], math, template, [srcset], [ping], [background]";
  const asked = document.querySelector("dialog[open]"); // nothing else can be reached meanwhile
  for (const one of document.body.querySelectorAll(forbidden)) if (!one.src?.startsWith(`${location.origin}/`)) note("it could run or load", one);
  for (const element of document.body.querySelectorAll("*")) {
    for (const { name, value } of element.attributes) {
      if (name.startsWith("on")) note(`an attribute that runs (${name})`, element);
      if (["href", "src", "action", "formaction", "data", "poster", "xlink:href"].includes(name)) {
        const url = new URL(value, location);
        if (url.origin !== location.origin && url.protocol !== "blob:" && !element.matches("dialog .form-acts [rel~=noreferrer]")) note(`an address elsewhere (${name})`, element);
      }
    }
  }
  for (const one of document.querySelectorAll(".prose :not(summary)[id], .prose [style], .prose [name], .prose svg, .prose img, .prose input")) note("the words' own", one);

  // What would turn or hide words: neither shown nor spoken.
  const steering = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069\u{e0000}-\u{e0fff}]/u;
  const piled = /\p{M}{5,}/u;
  const words = (text, element) => {
    if (steering.test(text)) note(`steering letters in ${JSON.stringify(text.slice(0, 80))}`, element);
    if (piled.test(text)) note("piled marks", element);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) words(texts.currentNode.data, texts.currentNode.parentElement);
  for (const element of document.body.querySelectorAll("*")) for (const name of ["aria-label", "title", "alt", "download", "placeholder"]) words(element.getAttribute(name) ?? "", element);
  words(document.title, document.head.querySelector("title"));

  // What is painted: within its own frame, and the page within its window.
  if (document.scrollingElement.scrollWidth > innerWidth) note(`the page is ${document.scrollingElement.scrollWidth} wide`, document.body);
  const clips = (element) => !["visible", ""].includes(getComputedStyle(element).overflowX);
  const meet = (a, b) => ({ left: Math.max(a.left, b.left), top: Math.max(a.top, b.top), right: Math.min(a.right, b.right), bottom: Math.min(a.bottom, b.bottom) });
  const isSomething = ({ left, top, right, bottom }) => right - left > 1 && bottom - top > 1;
  const within = (inner, outer) => inner.left >= outer.left - 1 && inner.top >= outer.top - 1 && inner.right <= outer.right + 1 && inner.bottom <= outer.bottom + 1;
  const spoken = (element) => element.closest(".spoken, .skip"); // what is in sight for nobody, or not before it has the focus
  /** Whether what is seen of an element's descendants lies within their frame; what cuts them off need not be looked into. */
  const look = (element, clip, frame, limits) => {
    for (const child of element.children) {
      if (spoken(child)) continue;
      const rect = child.getBoundingClientRect();
      const shown = clip ? meet(rect, clip) : rect;
      if (isSomething(shown) && !within(shown, limits)) note(`it is painted outside of its frame (${JSON.stringify(shown)} of ${JSON.stringify(limits)})`, child);
      if (!clips(child)) look(child, clip, frame, limits);
      else if (!within(rect, limits)) look(child, shown, frame, limits);
    }
  };
  for (const frame of document.querySelectorAll("[data-message], a.row, .pane-head, .service, .people > li, li.ping, .waiting, .confirm")) {
    const limits = frame.getBoundingClientRect();
    if (limits.right > innerWidth + 1 || limits.left < -1) note(`it is wider than the window (${limits.left} to ${limits.right})`, frame);
    if (!clips(frame)) look(frame, null, frame, limits);
  }
  const frames = [...document.querySelectorAll("[data-message]")].map((one) => [one, one.getBoundingClientRect()]);
  frames.slice(1).forEach(([one, rect], at) => isSomething(meet(rect, frames[at][1])) && note("it lies over the message before", one));

  // The page's own controls: in sight where they should be, and nothing of a message on them.
  const own = "button, a[href], input, textarea, select, summary, [role=button]";
  for (const control of (asked ?? document).querySelectorAll(own)) {
    if (control.closest(".prose, [hidden], [inert]") || spoken(control) || !control.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    const article = control.closest("[data-message]");
    if (article) {
      const hovering = getComputedStyle(control.parentElement).position === "absolute";
      for (const prose of hovering ? [] : article.querySelectorAll(".prose, .verbatim, .message-who, .message-subject, .file-name")) {
        if (isSomething(meet(control.getBoundingClientRect(), prose.getBoundingClientRect()))) note("words lie over a control", control);
      }
    }
    const { left, top, right, bottom } = control.getBoundingClientRect();
    const [x, y] = [(left + right) / 2, (top + bottom) / 2];
    const place = control.closest(".scroller")?.getBoundingClientRect();
    if (place && (y < place.top || y > place.bottom)) continue; // scrolled away
    const on = x > 0 && y > 0 && x < innerWidth && y < innerHeight ? document.elementFromPoint(x, y) : null;
    if (on && !control.contains(on) && !on.contains(control)) note(`a control is covered by ${on.outerHTML.slice(0, 120)}`, control);
  }
  return [...found];
}
"""


def attempts(page: Page, url: str, troubles: list[str], *, may_open: bool = False) -> None:
    """From now on note in `troubles` what no words may bring a page to do that is served at this address.

    `may_open`: its own files may stand in frames, and open in a tab.
    """

    def goes(frame: Frame) -> None:
        to = urlsplit(frame.url)
        if frame is page.main_frame and (to.netloc != urlsplit(url).netloc or to.path not in {"/", DOOR}):
            troubles.append(f"the page goes to {frame.url}")

    def loads(download: Download) -> None:
        troubles.append(f"a download begins: {download.url}")

    if not may_open:
        page.on("popup", lambda other: troubles.append(f"another page is opened: {other.url}"))
        page.on("frameattached", lambda frame: troubles.append(f"a frame is put in: {frame.url}"))
    page.on("framenavigated", goes)
    page.on("download", loads)
    page.add_init_script(_HOOKS % list(_CALLS))


def audit(page: Page) -> list[str]:
    """What is wrong with the page as it stands: what could run, words that steer, what lies where it should not."""
    page.evaluate(_LAY_OUT)  # what is far from sight has no size of its own until then
    found: list[str] = page.evaluate(_AUDIT)
    return [one.encode("utf-8", "backslashreplace").decode("utf-8") for one in found]
