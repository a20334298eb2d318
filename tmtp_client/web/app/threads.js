// SPDX-License-Identifier: AGPL-3.0-or-later
/**
 * Lists of conversations and the one that is open, kept true by events.
 *
 * A list is what was asked for so far, the latest first: further pages come when somebody scrolls there. One is kept for
 * each place that was looked at, so that going back to a service takes no time.
 */

import { call, listen } from "./api.js";
import { batch, signal } from "./html.js";

const PAGE = 100;
const LISTS_KEPT = 24;
const SOON_MS = 60; // events that come together are one change of a list

/**
 * @typedef {{account: string, of: string, tag: string}} Place which list: `account` "" is all of them
 * @typedef {{threads: any[], next: string | null, busy: boolean, problem: string}} List `next` null: nothing asked yet
 */

/**
 * `meanwhile`: what changed while its next page was on its way, which may be older.
 * @type {Map<string, {place: Place, list: import("./html.js").signal<List>, meanwhile: Map<string, any>}>}
 */
const lists = new Map();
/** Threads that changed and are not in their lists yet, by account and id. @type {Map<string, any>} */
let changed = new Map();
let timer = 0;

/** @param {Place} place */
const nameOf = ({ account, of, tag }) => JSON.stringify([account, of, tag]);
/** @param {any} thread */
export const threadKey = (thread) => `${thread.account} ${thread.id}`;
/** @param {any} one @param {any} other */
const later = (one, other) =>
  one.last_posted === other.last_posted ? (one.id > other.id ? -1 : 1) : one.last_posted > other.last_posted ? -1 : 1;

/**
 * The list of a place; what is not here yet is asked for.
 * @param {Place} place
 */
export function listOf(place) {
  const name = nameOf(place);
  let found = lists.get(name);
  if (found) {
    lists.delete(name); // the one looked at last is forgotten last
  } else {
    found = { place, list: signal({ threads: [], next: null, busy: false, problem: "" }), meanwhile: new Map() };
    if (lists.size >= LISTS_KEPT) lists.delete(lists.keys().next().value);
  }
  lists.set(name, found);
  if (found.list.peek().next === null && !found.list.peek().busy) queueMicrotask(() => more(place));
  return found.list;
}

/**
 * The next page of a list, unless it is whole.
 * @param {Place} place
 */
export async function more(place) {
  const kept = lists.get(nameOf(place));
  const list = kept?.list;
  if (!list || list.value.busy || list.value.next === "") return;
  const meanwhile = (kept.meanwhile = new Map());
  list.value = { ...list.value, busy: true, problem: "" };
  try {
    const page = await call("threads.list", { ...place, after: list.value.next ?? "", limit: PAGE });
    if (kept.meanwhile !== meanwhile) return; // it was asked anew
    const own = page.threads.map((one) => ({ ...one, account: one.account || place.account }));
    const last = list.value.threads.at(-1);
    let threads = [...list.value.threads, ...own];
    if (last && own.length && later(own[0], last) < 0) {
      // Something moved meanwhile: what came with the page is as it is now.
      const here = new Set(own.map(threadKey));
      threads = [...list.value.threads.filter((one) => !here.has(threadKey(one))), ...own].sort(later);
    }
    const found = { threads, next: page.next ?? "", busy: false, problem: "" };
    list.value = { ...found, threads: withChanges(place, found, [...meanwhile.values()]) };
  } catch (problem) {
    if (kept.meanwhile === meanwhile) list.value = { ...list.value, busy: false, problem: problem.message };
  }
}

/** Forget all lists: what is looked at is asked anew. */
export function forgetLists() {
  for (const { place, list } of lists.values()) {
    list.value = { threads: [], next: null, busy: false, problem: "" };
    more(place);
  }
}

/**
 * A thread as it is now: where a list has it, it is changed there; where it belongs, it is put in.
 * @param {string} account
 * @param {any} thread null: gone, `id` says which
 */
export function threadChanged(account, id, thread) {
  changed.set(`${account} ${id}`, { account, id, thread: thread && { ...thread, account } });
  if (!timer) timer = setTimeout(applyChanged, SOON_MS);
}

function applyChanged() {
  timer = 0;
  const now = [...changed.values()];
  changed = new Map();
  batch(() => {
    for (const { place, list, meanwhile } of lists.values()) {
      const mine = now.filter((one) => !place.account || one.account === place.account);
      if (list.value.busy) mine.forEach((one) => meanwhile.set(`${one.account} ${one.id}`, one));
      if (mine.length && list.value.next !== null) list.value = { ...list.value, threads: withChanges(place, list.value, mine) };
    }
  });
}

/** @param {Place} place @param {List} list @param {any[]} mine */
function withChanges(place, list, mine) {
  const gone = new Set(mine.map((one) => `${one.account} ${one.id}`));
  const before = new Set(list.threads.filter((one) => gone.has(threadKey(one))).map(threadKey));
  const last = list.threads.at(-1);
  const threads = list.threads.filter((one) => !gone.has(threadKey(one)));
  for (const { thread } of mine) {
    if (!thread || !belongs(place, thread, before.has(threadKey(thread)))) continue;
    // What stands behind the last one that was asked for comes with its page.
    if (list.next === "" || before.has(threadKey(thread)) || (last && later(thread, last) < 0)) threads.push(thread);
  }
  return threads.sort(later);
}

/** Whether a list has it. What was read stays among the unread ones while one looks at them. */
function belongs(place, thread, wasHere) {
  switch (place.of) {
    case "archived":
      return Boolean(thread.archived);
    case "snoozed":
      return (thread.snoozed_until_ms ?? 0) > Date.now();
    case "unseen":
      return Boolean(thread.unseen) || wasHere;
    case "tag":
      return (thread.tags ?? []).includes(place.tag);
    case "inbox":
      return !thread.archived && (thread.snoozed_until_ms ?? 0) <= Date.now();
    default:
      return true;
  }
}

/** Follow what happens. */
export function keepLists() {
  listen(({ account, type, data }) => {
    if (type === "message" || type === "thread") threadChanged(account, data.thread.id, data.thread);
    else if (type === "removed" && data.thread_gone) threadChanged(account, data.thread, null);
    else if (type === "gap") forgetLists();
    else if (type === "home") {
      if (data.home.locked) lists.clear();
      else forgetAll();
    }
  });
}

/** Accounts came or went: the list over all of them is another. */
function forgetAll() {
  for (const { place, list } of lists.values()) {
    if (place.account) continue;
    list.value = { threads: [], next: null, busy: false, problem: "" };
    more(place);
  }
}
