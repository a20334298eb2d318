// SPDX-License-Identifier: AGPL-3.0-or-later
/** The conversation that is open: its messages as far as they were asked for, what waits in it, kept true by events. */

import { call, listen } from "../base/api.js";
import { effect, signal, untracked } from "../base/html.js";
import { renderedAll } from "./rendering.js";
import { locked, route } from "./state.js";

const PAGE = 50;
const KEPT = 200; // messages that are in the page at once; the other end is let go and comes again
const AT_ONCE = 10; // messages that are put into the page in one frame: more of them, and it does not hear keys meanwhile
const UNSEEN_FRAME_MS = 100;
const RENDERING_PATIENCE_MS = 300; // then messages are shown as they were written until they are rendered

/**
 * @typedef {object} Conversation
 * @property {string} account
 * @property {string} id
 * @property {any} thread null: not here yet
 * @property {any[]} messages oldest first
 * @property {any[]} waiting
 * @property {string} before where to go on towards the beginning; "": it is here
 * @property {boolean} atEnd whether the latest message is here
 * @property {string} at the message to be looked at, "": the first unread, or the last
 * @property {string} firstUnseen the message before which "new" stands
 * @property {number} opened another one for each time that it was begun anew
 * @property {boolean} busy
 * @property {string} problem
 * @property {string} code of the problem
 */

/** @type {import("../base/html.js").signal<Conversation | null>} */
export const conversation = signal(null);
let openings = 0;

/** What came while pages were asked for: a page may be older than that. @type {Set<any[]>} */
const asking = new Set();

/** @param {any} one @param {any} other */
const earlier = (one, other) =>
  one.posted === other.posted ? (one.id < other.id ? -1 : 1) : one.posted < other.posted ? -1 : 1;

/** Where pages go on before a message. @param {any} one */
const cursor = (one) => `${one.posted} ${one.id}`;

/** Which opening waits for its first page; what is heard meanwhile may be newer than that, and is acted on after it. */
let opening = 0;
/** @type {{type: string, data: any}[]} */
let early = [];
/** What was heard of messages while a page of them was asked for, which may be older than that; null: gone. @type {Map<string, any>} */
const heardOf = new Map();

/** A message of an answer, as it is by now: none where it has gone. @param {any} one */
function asItIs(one) {
  const now = heardOf.has(one.id) ? heardOf.get(one.id) : one;
  return now ? [now] : [];
}

/** What came after the last message of a page while that was asked for. @param {any} last */
const cameAfter = (last) => [...heardOf.values()].filter((one) => one && (!last || earlier(last, one) < 0)).sort(earlier);

/**
 * Open one, at a message, or where one stopped to read.
 * @param {string} account
 * @param {string} id
 * @param {string} [at]
 */
async function open(account, id, at = "") {
  const now = conversation.value;
  if (now?.account === account && now.id === id && (!at || now.messages.some((one) => one.id === at))) {
    if (at !== now.at) conversation.value = { ...now, at };
    return;
  }
  conversation.value = {
    account, id, thread: null, messages: [], waiting: [], before: "", atEnd: true, at, firstUnseen: "", opened: ++openings,
    busy: true, problem: "", code: "",
  };
  await load(at);
}

/** None is open, and nothing of one is kept. */
function close() {
  conversation.value = null;
  early = [];
  heardOf.clear();
}

/** Messages before those that are here. */
export async function loadEarlier() {
  const now = conversation.value;
  if (!now || now.busy || !now.before) return;
  conversation.value = { ...now, busy: true };
  const page = await asked({ before: now.before });
  if (!page) return;
  const { found, isOpen } = page;
  let left = found.messages;
  do {
    const some = left.slice(-AT_ONCE);
    left = left.slice(0, -AT_ONCE);
    const one = conversation.value;
    const messages = [...some.flatMap(asItIs), ...one.messages];
    const cut = messages.length > KEPT;
    const before = left.length ? cursor(some[0]) : (found.before ?? "");
    conversation.value = { ...one, messages: messages.slice(0, KEPT), before, atEnd: one.atEnd && !cut, busy: left.length > 0 };
  } while (left.length && (await nextFrame(), isOpen()));
}

/** Messages after those that are here: the page around the last one. */
export async function loadLater() {
  const now = conversation.value;
  if (!now || now.busy || now.atEnd) return;
  conversation.value = { ...now, busy: true };
  const last = now.messages.at(-1).id;
  const page = await asked({ around: last, limit: 2 * PAGE });
  if (!page) return;
  const { found, isOpen } = page;
  let left = found.messages.slice(found.messages.findIndex((message) => message.id === last) + 1);
  const isLast = left.length < PAGE;
  do {
    const some = left.slice(0, AT_ONCE);
    left = left.slice(AT_ONCE);
    const one = conversation.value;
    const messages = [...one.messages, ...some.flatMap(asItIs)];
    if (isLast && !left.length) messages.push(...cameAfter(messages.at(-1)));
    const cut = Math.max(0, messages.length - KEPT);
    const before = cut ? cursor(messages[cut]) : one.before;
    conversation.value = { ...one, messages: messages.slice(cut), before, atEnd: isLast && !left.length, busy: left.length > 0 };
  } while (left.length && (await nextFrame(), isOpen()));
}

/** From the latest message on, whatever is here. */
export async function toTheEnd() {
  const now = conversation.value;
  if (!now || now.atEnd) return;
  conversation.value = { ...now, messages: [], at: "", opened: ++openings, busy: true };
  await load("");
}

/**
 * The page that one begins to read in: what is looked at first, and what stands around it a few at a time.
 * @param {string} at
 */
async function load(at) {
  const { opened } = conversation.value;
  opening = opened;
  early = [];
  const page = await asked(at ? { around: at } : {});
  if (!page) return void (opening === opened && (opening = 0));
  const { found, isOpen } = page;
  const all = found.messages;
  const firstUnseen = all.find((message) => message.seen === false && !message.outgoing)?.id ?? "";
  const place = all.findIndex((message) => message.id === (at || firstUnseen));
  let from = Math.max(0, place < 0 ? all.length - AT_ONCE : place - AT_ONCE / 2);
  let upto = Math.min(all.length, from + AT_ONCE);
  const isLatest = !at || all.at(-1)?.posted === found.thread.last_posted;
  conversation.value = {
    ...conversation.value,
    thread: { ...found.thread, account: conversation.value.account },
    messages: all.slice(from, upto).flatMap(asItIs),
    waiting: found.waiting ?? [],
    before: from ? cursor(all[from]) : (found.before ?? ""),
    atEnd: isLatest && upto === all.length,
    firstUnseen,
    busy: from > 0 || upto < all.length,
  };
  opening = 0;
  for (const event of early.splice(0)) heard(event);
  while ((from > 0 || upto < all.length) && (await nextFrame(), isOpen())) {
    const one = conversation.value;
    const later = all.slice(upto, upto + AT_ONCE);
    upto += later.length;
    const earlierOnes = later.length ? [] : all.slice(Math.max(0, from - AT_ONCE), from);
    from -= earlierOnes.length;
    conversation.value = {
      ...one,
      messages: [...earlierOnes.flatMap(asItIs), ...one.messages, ...later.flatMap(asItIs)],
      before: from ? cursor(all[from]) : (found.before ?? ""),
      atEnd: upto === all.length && isLatest && (one.atEnd || one.thread.last_posted === found.thread.last_posted),
      busy: from > 0 || upto < all.length,
    };
  }
}

/**
 * Ask for a page of what is open; null where it could not be had, or something else is open by then.
 * @param {object} which
 * @returns {Promise<{found: any, isOpen: () => boolean} | null>} isOpen: whether the same opening is still the one
 */
async function asked(which) {
  const { account, id, opened } = conversation.value;
  const isOpen = () => conversation.value?.opened === opened;
  heardOf.clear();
  try {
    const found = await call("threads.read", { account, thread: id, limit: PAGE, ...which });
    if (!isOpen()) return null;
    await Promise.race([renderedAll(account, found.messages), new Promise((done) => setTimeout(done, RENDERING_PATIENCE_MS))]);
    return isOpen() ? { found, isOpen } : null;
  } catch (problem) {
    if (isOpen()) conversation.value = { ...conversation.value, busy: false, problem: problem.message, code: problem.code };
    return null;
  }
}

/** Once what was put into the page has been drawn; soon, where nothing is drawn since nobody looks. */
const nextFrame = () =>
  new Promise((done) => {
    const timer = setTimeout(done, UNSEEN_FRAME_MS);
    requestAnimationFrame(() => {
      clearTimeout(timer);
      setTimeout(done);
    });
  });

/** Follow the address, and what happens. */
export function keepConversation() {
  effect(() => {
    const { pane, account, thread, query } = route.value;
    const isOpen = pane === "thread" && !locked.value;
    untracked(() => (isOpen ? open(account, thread, query.at) : close()));
  });
  listen(({ account, type, data }) => {
    const now = conversation.value;
    if (!now || now.account !== account) return;
    if (opening !== now.opened || type === "gap") heard({ type, data });
    else early.push({ type, data });
  });
}

/** @param {{type: string, data: any}} event of the account whose conversation is open */
function heard({ type, data }) {
  const follow = { message, removed, thread, outbox, gap }[type];
  if (follow && conversation.value?.thread) follow(conversation.value, data);
  else if (type === "gap") gap(conversation.value);
}

function message(now, { message: one, thread: of }) {
  if (of.id !== now.id) return;
  const place = now.messages.findIndex((other) => other.id === one.id);
  let { messages, atEnd } = now;
  if (now.busy) heardOf.set(one.id, one);
  if (place >= 0) messages = messages.with(place, one);
  else if (atEnd && (!now.before || !messages.length || earlier(messages[0], one) < 0)) messages = [...messages, one].sort(earlier);
  else if (!atEnd && messages.length && earlier(one, messages.at(-1)) < 0 && earlier(messages[0], one) < 0) messages = [...messages, one].sort(earlier);
  conversation.value = { ...now, messages, thread: { ...of, account: now.account } };
}

function removed(now, data) {
  if (data.thread !== now.id) return;
  if (now.busy) heardOf.set(data.message, null);
  if (data.thread_gone) conversation.value = { ...now, messages: [], problem: "", code: "not_found" };
  else conversation.value = { ...now, messages: now.messages.filter((one) => one.id !== data.message) };
}

function thread(now, { thread: of }) {
  if (of.id === now.id) conversation.value = { ...now, thread: { ...of, account: now.account } };
}

function outbox(now, { request, waiting }) {
  const rest = now.waiting.filter((one) => one.request !== request);
  if (waiting?.thread === now.id) {
    const place = now.waiting.findIndex((one) => one.request === request);
    conversation.value = { ...now, waiting: place < 0 ? [...rest, waiting] : now.waiting.with(place, waiting) };
  } else if (rest.length !== now.waiting.length) {
    conversation.value = { ...now, waiting: rest };
  }
}

function gap(now) {
  conversation.value = { ...now, messages: [], opened: ++openings, busy: true };
  load(now.at);
}
