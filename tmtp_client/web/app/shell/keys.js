// SPDX-License-Identifier: AGPL-3.0-or-later
/**
 * The keyboard: everything can be done by it, and single letters can be switched off (WCAG 2.1.4).
 *
 * Letters act where nobody is typing: in a list on its rows, in a conversation on its messages. `g` and another letter go
 * somewhere. F6 goes from pane to pane; Escape goes back.
 */

import { html, Icon, signal, useLayoutEffect, useRef, useState } from "../base/html.js";
import { told, visible } from "../base/text.js";
import { t } from "../base/words.js";
import { soon } from "../controls/focus.js";
import { undoLast } from "../controls/saying.js";
import { archive, markRead, markUnread, mute } from "../list/acts.js";
import { movable, threadRoute } from "../list/list.js";
import { foundMovable } from "../list/search.js";
import { conversation } from "../state/conversation.js";
import { peopleOf } from "../state/people.js";
import { link } from "../state/routes.js";
import { lettersAreKeys } from "../state/settings_of.js";
import { accountOf, accounts, narrow, route, select, serviceName } from "../state/state.js";
import { listOf } from "../state/threads.js";
import { currentMessage, forward, reply } from "../thread/at_hand.js";
import { enter, focusThread, moveMessage } from "../thread/standing.js";
import { archiveOpen, leaveThread, unreadOpen } from "../thread/thread.js";

const SECOND_KEY_MS = 1500; // after g
const PANES = ["rail", "list", "details"];

const helpIsOpen = signal(false);
const jumpIsOpen = signal(false);
let afterG = 0;

/** Hear the keyboard. */
export function keepKeys() {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
    if (!document.querySelector(".client")) return; // locked, or not begun: nothing to act upon
    if (keyed(event)) event.preventDefault();
  });
  addEventListener("click", (event) => {
    const row = event.target instanceof Element && event.target.closest("[data-row]");
    if (!row || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (isByPointer(event) && !narrow.value) return; // the list stays: so does the focus
    if (row.getAttribute("aria-current") === "true") focusThread();
    else enter();
  });
}

/** Firefox counts a click in what Enter does to a link; browsers that tell no kind of pointer count none. @param {any} event */
const isByPointer = ({ pointerType, detail }) => (pointerType === undefined ? detail > 0 : pointerType !== "");

/** @param {KeyboardEvent} event @returns {boolean} whether it was one of ours */
function keyed(event) {
  const { key } = event;
  const typing = event.target instanceof Element && event.target.matches("input, textarea, select, [contenteditable]");
  if ((event.ctrlKey || event.metaKey) && !event.altKey) {
    if (key === "k") return open(jumpIsOpen);
    if (/^[1-9]$/.test(key) && event.ctrlKey) return toService(Number(key) - 1);
    return false;
  }
  if (event.altKey) return false;
  if (key === "F6") return nextPane(event.shiftKey ? -1 : 1);
  if (key === "Escape") return back(event.target);
  if (typing || !lettersAreKeys.value) return false;
  if (afterG && event.timeStamp - afterG < SECOND_KEY_MS) {
    afterG = 0;
    return goTo(key.toLowerCase());
  }
  const act = ACTS[key];
  return act ? act(event) !== false : false;
}

/** What single letters do. Those that act do so on the row with the focus, or on what is open. */
const ACTS = {
  j: () => move(1),
  k: () => move(-1),
  o: () => inList() && openCurrent(),
  "/": () => search(),
  "?": () => open(helpIsOpen),
  g: (event) => (afterG = event.timeStamp), // when it was pressed, however late the page comes to it
  n: () => select({ account: accountHere(), pane: "new" }),
  r: () => withMessage(reply),
  f: () => withMessage(forward),
  e: () => withThread(archiveOpen, archive),
  m: () => withThread(mute, mute),
  u: () => withThread(unreadOpen, markUnread),
  I: () => withThread(markRead, markRead),
  t: () => press("act-tag"),
  b: () => press("act-snooze"),
  v: () => press("act-views"),
  ".": () => press("act-more"),
  z: () => undoLast(),
};

const PLACES = {
  i: () => select({ account: accountHere() }),
  a: () => select({ page: "all" }),
  u: () => select({ account: accountHere(), query: { of: "unseen" } }),
  l: () => select({ account: accountHere(), query: { of: "snoozed" } }),
  e: () => select({ account: accountHere(), query: { of: "archived" } }),
  d: () => select({ account: accountHere(), query: { of: "drafts" } }),
  o: () => select({ account: accountHere(), query: { of: "outbox" } }),
  c: () => select({ account: accountHere(), pane: "contacts" }),
  p: () => select({ account: accountHere(), pane: "ping" }),
  s: () => select({ page: "settings" }),
};

const accountHere = () => route.value.account || accounts.value[0].name;
const inPane = (name) => Boolean(document.activeElement?.closest(`[data-pane="${name}"]`));
const inList = () => inPane("list");
const list = () => (route.value.page === "search" ? foundMovable : movable).current;

/** @param {import("../base/html.js").signal<boolean>} what */
function open(what) {
  what.value = true;
  return true;
}

function goTo(key) {
  if (/^[1-9]$/.test(key)) return toService(Number(key) - 1);
  PLACES[key]?.();
  if (PLACES[key]) soon(focusPane);
  return key in PLACES;
}

/** The focus goes to what one came for; false while that is not there. */
function focusPane() {
  const { pane, page } = route.value;
  if (pane || page === "settings") return focusFirst("details");
  if (page === "first" && narrow.value) return focusFirst("rail");
  return list()?.focus() || (document.querySelector('[data-pane="list"] .empty') && focusFirst("list"));
}

function toService(place) {
  const account = accounts.value[place];
  if (!account) return false;
  select({ account: account.name });
  soon(focusPane);
  return true;
}

/** Among messages where the focus is there, or where there is nothing else; else among rows. */
function move(by) {
  if (inPane("details") && route.value.pane === "thread") return moveMessage(by);
  if (list()) return list().move(by);
  return route.value.pane === "thread" ? moveMessage(by) : false;
}

function openCurrent() {
  document.activeElement?.closest("[data-row]")?.click();
}

function search() {
  const input = document.getElementById("search-words");
  if (input) input.focus();
  else select({ page: "search", query: { in: route.value.page === "service" ? route.value.account : "" } });
}

/** @param {(message: any) => void} act */
function withMessage(act) {
  const now = conversation.value;
  if (!now?.thread) return false;
  const message = now.messages.find((one) => one.id === currentMessage.value) ?? now.messages.findLast((one) => one.kind === "message");
  if (message?.kind !== "message") return false;
  act(message);
  return true;
}

/** On the row that has the focus, or on what is open. */
function withThread(onOpen, onRow) {
  const row = inList() && route.value.page !== "search" ? document.activeElement.closest("[data-row]") && list()?.current() : null;
  const now = conversation.value;
  if (row && row.id !== now?.id) {
    onRow(row);
    if (onRow === archive) list().move(1);
    return true;
  }
  if (!now?.thread) return false;
  onOpen(now.thread);
  return true;
}

/** @param {string} id of a button */
function press(id) {
  const button = document.getElementById(id);
  button?.click();
  return Boolean(button);
}

/** Out of what one types; from a conversation to its list; from a page to where one came from. */
function back(target) {
  const { page, pane, account } = route.value;
  if (target instanceof Element && target.closest('[data-part="compose"]')) return focusThread();
  if (pane === "thread") {
    const key = `${account} ${route.value.thread}`;
    const foundKey = `${account} ${route.value.query.at}`;
    if (narrow.value || inPane("list")) leaveThread();
    soon(() => list()?.focus(page === "search" ? foundKey : key) || list()?.focus());
    return true;
  }
  if (page === "search") {
    select(route.value.query.in ? { account: route.value.query.in } : { page: "first" });
    soon(focusPane);
    return true;
  }
  if (pane || page === "settings") {
    select(account ? { account } : { page: "first" });
    soon(focusPane);
    return true;
  }
  return false;
}

/** From pane to pane, and round. @param {number} by */
function nextPane(by) {
  const there = PANES.filter((name) => document.querySelector(`[data-pane="${name}"]`));
  const at = there.findIndex(inPane);
  focusFirst(there[(at + by + there.length) % there.length]);
  return true;
}

/** @param {string} name */
function focusFirst(name) {
  if (name === "list" && list()?.focus()) return true;
  if (name === "details" && route.value.pane === "thread" && focusThread()) return true;
  const pane = document.querySelector(`[data-pane="${name}"]`);
  const first = name === "rail" ? pane?.querySelector('[aria-current="page"]') : null;
  (first ?? pane?.querySelector("a, button, input, textarea, select, [tabindex='0']") ?? pane)?.focus();
  return Boolean(pane);
}

const HELP = [
  ["move", [["j", "k"], ["Enter"], ["Esc"], ["F6"], ["/"], ["Ctrl", "K"], ["?"]]],
  ["act", [["n"], ["r"], ["f"], ["e"], ["t"], ["b"], ["m"], ["u"], ["I"], ["z"], ["."]]],
  ["go", [["g", "i"], ["g", "a"], ["g", "u"], ["g", "l"], ["g", "e"], ["g", "d"], ["g", "o"], ["g", "c"], ["g", "p"], ["g", "s"], ["g", "1"]]],
];

/** Which keys there are. */
export function KeyList() {
  return html`${!lettersAreKeys.value && html`<p>${t("main.keys_off")}</p>`}
    <div class="key-columns" tabindex="0" role="group" aria-label=${t("main.keys")}>${HELP.map(([group, keys]) => html`<section aria-label=${t(`main.keys_${group}`)}><h3>${t(`main.keys_${group}`)}</h3>
        <dl>${keys.map((one) => html`<div><dt>${one.map((key) => html`<kbd>${key}</kbd> `)}</dt><dd>${t(`main.key_${one.join("_").replace("/", "slash").replace("?", "help").replace(".", "more")}`)}</dd></div>`)}</dl></section>`)}</div>`;
}

/** The same in a window, for who asks. */
export function KeyHelp() {
  const dialog = useRef(null);
  useLayoutEffect(() => {
    if (helpIsOpen.value) dialog.current?.showModal();
  }, [helpIsOpen.value]);
  if (!helpIsOpen.value) return null;
  return html`<dialog ref=${dialog} class="key-help" aria-labelledby="keys-title" onClose=${() => (helpIsOpen.value = false)}>
    <div class="confirm">
      <h2 id="keys-title">${t("main.keys")}</h2>
      <${KeyList} />
      <div class="form-acts"><button class="button" type="button" autofocus onClick=${() => dialog.current.close()}>${t("main.close")}</button></div>
    </div>
  </dialog>`;
}

/** Jump: to a service, a conversation of the list, or somebody one knows. */
export function Jump() {
  const dialog = useRef(null);
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  useLayoutEffect(() => { // at once: what is typed next would act as keys of the page
    if (!jumpIsOpen.value) return;
    setText("");
    setAt(0);
    dialog.current?.showModal();
  }, [jumpIsOpen.value]);
  if (!jumpIsOpen.value) return null;
  const found = targets(text.trim().toLowerCase());
  const go = (one) => {
    dialog.current.close();
    location.hash = one.to;
  };
  const keyed = (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by) setAt((at + by + found.length) % Math.max(found.length, 1));
    else if (event.key === "Enter" && found[at]) go(found[at]);
    else return;
    event.preventDefault();
  };
  return html`<dialog ref=${dialog} class="jump" aria-label=${t("main.jump")} onClose=${() => (jumpIsOpen.value = false)}>
    <div class="jump-body">
      <input autofocus role="combobox" aria-expanded="true" aria-controls="jump-list" aria-activedescendant=${found[at] ? `jump-${at}` : undefined}
        aria-label=${t("main.jump")} placeholder=${t("main.jump")} autocomplete="off" value=${text} onKeyDown=${keyed}
        onInput=${(event) => (setText(event.target.value), setAt(0))} />
      <ul id="jump-list" class="jump-list" role="listbox" aria-label=${t("main.jump")}>
        ${found.map((one, place) => html`<li id=${`jump-${place}`} role="option" aria-selected=${place === at} onClick=${() => go(one)}>
          <${Icon} name=${one.icon} /> <bdi>${one.name}</bdi> <span class="muted">${one.beside}</span></li>`)}
      </ul>
    </div>
  </dialog>`;
}

/** @param {string} words */
function targets(words) {
  const services = accounts.value.map((one) => ({ icon: "mark", name: serviceName(one), beside: visible(one.alias), to: link({ account: one.name }) }));
  const account = accountHere();
  const threads = listOf({ account, of: "inbox", tag: "" }).value.threads.map((one) => ({
    icon: "inbox", name: told(one.subject) || told(one.last_text).slice(0, 60), beside: visible(one.last_alias), to: link({ account, pane: "thread", thread: one.id }),
  }));
  const people = [...peopleOf(account).value.values()]
    .filter((one) => one.stands === "contact")
    .map((one) => ({ icon: "person", name: visible(one.alias), beside: serviceName(accountOf(account)), to: link({ account, pane: "new", query: { to: one.alias } }) }));
  return [...services, ...people, ...threads].filter((one) => `${one.name} ${one.beside}`.toLowerCase().includes(words)).slice(0, 12);
}
