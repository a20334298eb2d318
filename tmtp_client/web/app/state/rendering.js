// SPDX-License-Identifier: AGPL-3.0-or-later
/**
 * Messages as the engine renders them, put into the page node by node (B6, D2).
 *
 * What the engine answers is judged once more, from a list of elements: nothing else comes into the page. A link loses
 * its address there: what it leads to is kept beside it, and opened by a second act. Long quotes are folded.
 */

import { call } from "../base/api.js";
import { rendered } from "../base/rendered.js";
import { t } from "../base/words.js";
import { whenLocked } from "./state.js";

const KEPT = 600;
const SHORT = 1_000; // characters of a text that the engine renders by itself; a longer one takes its turn in a process
const BATCH = 25; // short ones of one request
const BATCH_LONG = 5;
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
whenLocked(() => kept.clear());

/**
 * A text as HTML, or at once if it is known.
 * @param {string} text
 * @returns {Promise<string> | string}
 */
export function htmlOf(text) {
  return kept.get(text) ?? keep(text, alone(text));
}

/**
 * All texts of these messages that are to be rendered: several in one request, those that one sees first (the last) first.
 * @param {string} account
 * @param {any[]} messages of one page
 */
export function renderedAll(account, messages) {
  const wanted = messages.filter((one) => isRendered(one));
  const unknown = wanted.filter((one) => !isKept(one.text)).reverse();
  const long = (one) => one.text.length > SHORT;
  for (const some of batches(unknown.filter((one) => !long(one)), BATCH)) ask(account, some);
  for (const some of batches(unknown.filter(long), BATCH_LONG)) ask(account, some);
  return Promise.allSettled(wanted.map((one) => htmlOf(one.text)));
}

/** @param {string} account @param {any[]} messages whose texts are asked for in one request */
function ask(account, messages) {
  const answer = call("messages.render", { account, messages: messages.map((one) => one.id) });
  for (const { id, text } of messages) keep(text, answer.then(({ html }) => html?.[id] ?? alone(text)));
}

/** @param {any[]} all @param {number} size */
const batches = (all, size) => Array.from({ length: Math.ceil(all.length / size) }, (_, place) => all.slice(place * size, (place + 1) * size));

/** @param {string} text @returns {Promise<string>} */
const alone = (text) => call("render", { text }).then(({ html }) => html);

/** Whether it is known, or asked for; it is forgotten last then. @param {string} text */
function isKept(text) {
  const found = kept.get(text);
  if (found === undefined) return false;
  kept.delete(text);
  kept.set(text, found);
  return true;
}

/** @param {string} text @param {Promise<string>} coming */
function keep(text, coming) {
  if (kept.size >= KEPT) kept.delete(kept.keys().next().value);
  kept.set(text, coming);
  coming.then((html) => kept.has(text) && kept.set(text, html), () => kept.delete(text));
  return coming;
}

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
