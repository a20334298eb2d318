// SPDX-License-Identifier: AGPL-3.0-or-later
/**
 * Lists of conversations and the one that is open, kept true by events.
 *
 * A list is what was asked for so far, the latest first: further pages come when somebody scrolls there. One is kept for
 * each place that was looked at, so that going back to a service takes no time.
 *
 * Where a person wants what is unread first, an inbox begins with the pages of what is unread, and goes on with its own.
 * What is read meanwhile stays where it is until one looks at another list: it does not run away from under one's hands.
 */

import { call, listen } from "../base/api.js";
import { batch, effect, signal } from "../base/html.js";
import { unseenFirst } from "./settings_of.js";
import { accounts } from "./state.js";

const PAGE = 100;
const LISTS_KEPT = 24;
const SOON_MS = 60; // events that come together are one change of a list

const UNSEEN = "unseen "; // before a cursor: of the pages of what is unread
const REST = "rest"; // in place of a cursor: what is unread is here, and the others have not been asked for

/**
 * @typedef {{account: string, of: string, tag: string}} Place which list: `account` "" is all of them
 * @typedef {{threads: any[], next: string | null, busy: boolean, problem: string}} List `next` null: nothing asked yet
 * @typedef {{place: Place, list: import("../base/html.js").signal<List>, unseenFirst: boolean, turn: number, meanwhile: Map<string, any>}} Kept
 *   turn: another one each time that it is asked for from its beginning; meanwhile: what changed while its next page was on its way,
 *   which may be older
 */

/** @type {Map<string, Kept>} */
const lists = new Map();
/** The list that was looked at last. */
let looked = "";
/** Threads that changed and are not in their lists yet, by account and id. @type {Map<string, any>} */
let changed = new Map();
let timer = 0;

/** @param {Place} place */
const nameOf = ({ account, of, tag }) => JSON.stringify([account, of, tag]);
/** @param {any} thread */
export const threadKey = (thread) => `${thread.account} ${thread.id}`;
/** @param {any} one @param {any} other */
const later = (one, other) =>
  Boolean(one.first) !== Boolean(other.first) ? (one.first ? -1 : 1) : byTime(one, other);
/** @param {any} one @param {any} other */
const byTime = (one, other) =>
  one.last_posted === other.last_posted ? (one.id > other.id ? -1 : 1) : one.last_posted > other.last_posted ? -1 : 1;

/** @param {Place} place */
const wantsUnseenFirst = (place) => place.of === "inbox" && unseenFirst(place.account);

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
    found = { place, list: signal({ threads: [], next: null, busy: false, problem: "" }), unseenFirst: wantsUnseenFirst(place), turn: 0, meanwhile: new Map() };
    if (lists.size >= LISTS_KEPT) lists.delete(lists.keys().next().value);
  }
  lists.set(name, found);
  if (looked !== name) {
    looked = name;
    if (found.unseenFirst) queueMicrotask(() => putReadOnesBack(found));
  }
  if (found.list.peek().next === null && !found.list.peek().busy) queueMicrotask(() => more(place));
  return found.list;
}

/** One comes back to a list: what was read meanwhile stands where it belongs. @param {Kept} kept */
function putReadOnesBack({ list }) {
  if (!list.value.threads.some((one) => one.first && !one.unseen)) return;
  const last = list.value.threads.at(-1);
  const threads = list.value.threads.map((one) => ({ ...one, first: Boolean(one.unseen) }));
  const isHere = (one) => one.first || list.value.next === "" || (list.value.next !== REST && !last.first && byTime(one, last) <= 0);
  list.value = { ...list.value, threads: threads.filter(isHere).sort(later) };
}

/**
 * The next page of a list, unless it is whole.
 * @param {Place} place
 */
export async function more(place) {
  const kept = lists.get(nameOf(place));
  if (!kept || kept.list.value.busy || kept.list.value.next === "") return;
  const { list, turn } = kept;
  const { next } = list.value;
  const ofUnseen = kept.unseenFirst && (next === null || next.startsWith(UNSEEN));
  const meanwhile = (kept.meanwhile = new Map());
  list.value = { ...list.value, busy: true, problem: "" };
  try {
    const after = next === null || next === REST ? "" : next.replace(UNSEEN, "");
    const page = await call("threads.list", { ...place, of: ofUnseen ? "unseen" : place.of, after, limit: PAGE });
    if (kept.turn !== turn) return; // it was begun anew meanwhile
    const own = page.threads.map((one) => ({ ...one, account: one.account || place.account, first: kept.unseenFirst && one.unseen > 0 }));
    const follows = page.next ? `${ofUnseen ? UNSEEN : ""}${page.next}` : ofUnseen ? REST : "";
    const before = next === null ? [] : list.value.threads;
    const found = { threads: joined(before, kept.unseenFirst ? own.filter((one) => belongs(place, one, false)) : own), next: follows, busy: false, problem: "" };
    list.value = { ...found, threads: withChanges(kept, found, [...meanwhile.values()]) };
  } catch (problem) {
    if (kept.turn === turn) list.value = { ...list.value, busy: false, problem: problem.message };
  }
}

/** A list with its next page. @param {any[]} threads @param {any[]} own */
function joined(threads, own) {
  const last = threads.at(-1);
  if (!own.length || !last) return own.length ? own : threads;
  const here = new Set(own.map(threadKey));
  const first = new Set(threads.filter((one) => one.first && here.has(threadKey(one))).map(threadKey));
  if (!first.size && later(last, own[0]) < 0) return [...threads, ...own];
  // Something moved meanwhile, or is here already as unread: what came with the page is as it is now.
  const now = own.map((one) => (first.has(threadKey(one)) ? { ...one, first: true } : one));
  return [...threads.filter((one) => !here.has(threadKey(one))), ...now].sort(later);
}

/** Ask for a list from its beginning; what is here is shown until then. @param {Kept} kept */
function askAnew(kept) {
  kept.turn += 1;
  kept.unseenFirst = wantsUnseenFirst(kept.place);
  kept.list.value = { ...kept.list.value, next: null, busy: false, problem: "" };
  more(kept.place);
}

/** All lists are asked for anew. */
export const forgetLists = () => [...lists.values()].forEach(askAnew);

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
    for (const kept of lists.values()) {
      const { place, list } = kept;
      const mine = now.filter((one) => !place.account || one.account === place.account);
      if (list.value.busy) mine.forEach((one) => kept.meanwhile.set(`${one.account} ${one.id}`, one));
      if (mine.length && list.value.next !== null) list.value = { ...list.value, threads: withChanges(kept, list.value, mine) };
    }
  });
}

/** @param {Kept} kept @param {List} list @param {any[]} mine */
function withChanges({ place, unseenFirst }, list, mine) {
  const gone = new Set(mine.map((one) => `${one.account} ${one.id}`));
  const before = new Set(list.threads.filter((one) => gone.has(threadKey(one))).map(threadKey));
  const last = list.threads.at(-1);
  const threads = list.threads.filter((one) => !gone.has(threadKey(one)));
  const isFirst = new Set(list.threads.filter((one) => one.first && gone.has(threadKey(one))).map(threadKey));
  for (const { thread: changedOne } of mine) {
    const thread = changedOne && { ...changedOne, first: unseenFirst && (changedOne.unseen > 0 || isFirst.has(threadKey(changedOne))) };
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

/** Follow what happens, and what a person wants first. */
export function keepLists() {
  effect(() => {
    for (const { name } of accounts.value) unseenFirst(name); // whose change is followed, too, while there is no list
    for (const kept of lists.values()) if (kept.unseenFirst !== wantsUnseenFirst(kept.place)) queueMicrotask(() => askAnew(kept));
  });
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
const forgetAll = () => [...lists.values()].filter((one) => !one.place.account).forEach(askAnew);
