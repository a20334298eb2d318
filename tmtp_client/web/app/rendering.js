// SPDX-License-Identifier: AGPL-3.0-or-later
/**
 * Messages as the engine renders them, put into the page node by node (B6, D2).
 *
 * What the engine answers is judged once more, from a list of elements: nothing else comes into the page. A link loses
 * its address there: what it leads to is kept beside it, and opened by a second act. Long quotes are folded.
 */

import { call } from "./api.js";
import { rendered } from "./rendered.js";
import { t } from "./words.js";

const KEPT = 600;
const QUOTE_LONG = 280; // characters of a quote that is folded wherever it stands; one at the end is folded always
const ELEMENTS = new Set([
  "a", "bdi", "blockquote", "br", "code", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s", "span", "strong",
  "table", "tbody", "td", "th", "thead", "tr", "ul",
]);
// A message's headings stand below the page's own: who goes from heading to heading finds conversations, not their texts.
const HEADINGS = { h1: "4", h2: "5", h3: "6", h4: "6", h5: "6", h6: "6" };
const SCHEMES = /^(?:https?|tmtp|mailto):/i;

/** HTML by text, the latest last. @type {Map<string, Promise<string> | string>} */
const kept = new Map();

/**
 * A text as HTML, or at once if it is known.
 * @param {string} text
 * @returns {Promise<string> | string}
 */
export function htmlOf(text) {
  let found = kept.get(text);
  if (found === undefined) {
    found = call("render", { text }).then(({ html }) => {
      if (kept.has(text)) kept.set(text, html);
      return html;
    });
    found.catch(() => kept.delete(text));
    if (kept.size >= KEPT) kept.delete(kept.keys().next().value);
    kept.set(text, found);
  }
  return found;
}

/** All texts of these messages that are to be rendered. @param {any[]} messages */
export const renderedAll = (messages) =>
  Promise.allSettled(messages.filter((one) => isRendered(one)).map((one) => htmlOf(one.text)));

/** Whether a message is shown as markup; else it stands as it was written. @param {any} message */
export const isRendered = (message) => !message.plain && Boolean(message.text) && message.state !== "unreadable" && message.kind !== "return";

/**
 * The nodes of rendered HTML. The parser's document is inert: nothing in it runs or loads.
 * @param {string} html of the engine
 */
export function nodesOf(html) {
  const parsed = new DOMParser().parseFromString(rendered(html), "text/html");
  const made = document.createDocumentFragment();
  made.append(...[...parsed.body.childNodes].map(copied).filter(Boolean));
  foldQuotes(made);
  return made;
}

/** @param {Node} node @returns {Node | null} */
function copied(node) {
  if (node.nodeType === Node.TEXT_NODE) return document.createTextNode(node.data);
  if (node.nodeType !== Node.ELEMENT_NODE) return null;
  const name = node.localName;
  if (!ELEMENTS.has(name)) return document.createTextNode(node.textContent);
  const made = document.createElement(name in HEADINGS ? "p" : name);
  if (name in HEADINGS) {
    made.setAttribute("role", "heading");
    made.setAttribute("aria-level", HEADINGS[name]);
    made.className = `heading-${name}`;
  }
  if (node.getAttribute("dir") === "auto") made.dir = "auto";
  if (name === "a") becomeLink(made, node.getAttribute("href") ?? "");
  if (name === "span") made.className = node.className === "link-host differs" ? "link-host differs" : "link-host";
  if (name === "ol" && /^\d{1,9}$/.test(node.getAttribute("start") ?? "")) made.start = Number(node.getAttribute("start"));
  if ((name === "td" || name === "th") && node.hasAttribute("align")) made.classList.add(`to-${node.getAttribute("align")}`);
  if (name === "th") made.scope = "col";
  made.append(...[...node.childNodes].map(copied).filter(Boolean));
  if (name !== "table") {
    if (name === "pre") made.tabIndex = 0; // it may scroll, and then by keyboard, too
    return made;
  }
  const around = document.createElement("div");
  around.className = "wide";
  around.tabIndex = 0;
  around.setAttribute("role", "group");
  around.setAttribute("aria-label", t("thread.table"));
  around.append(made);
  return around;
}

/** No address in the page: no way of clicking or dragging follows it, only the act that `links.js` asks for. */
function becomeLink(made, href) {
  if (!SCHEMES.test(href)) return;
  made.setAttribute("role", "link");
  made.tabIndex = 0;
  made.className = "link";
  made.dataset.leads = href;
}

/** @param {DocumentFragment} made */
function foldQuotes(made) {
  for (const quote of [...made.children].filter((one) => one.localName === "blockquote")) {
    const text = quote.textContent.trim();
    const atEnd = quote === made.lastElementChild && made.children.length > 1;
    if (!atEnd && text.length <= QUOTE_LONG) continue;
    const folded = document.createElement("details");
    folded.className = "quote";
    const summary = document.createElement("summary");
    summary.textContent = t("thread.quoted");
    quote.replaceWith(folded);
    folded.append(summary, quote);
  }
}
