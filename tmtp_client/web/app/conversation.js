// SPDX-License-Identifier: AGPL-3.0-or-later
/** The conversation that is open: its messages as far as they were asked for, what waits in it, kept true by events. */

import { call, listen } from "./api.js";
import { effect, signal, untracked } from "./html.js";
import { renderedAll } from "./rendering.js";
import { route } from "./state.js";

const PAGE = 50;
const KEPT = 300; // messages that are in the page at once; the other end is let go and comes again
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
 * @property {boolean} busy
 * @property {string} problem
 * @property {string} code of the problem
 */

/** @type {import("./html.js").signal<Conversation | null>} */
export const conversation = signal(null);

/** @param {any} one @param {any} other */
const earlier = (one, other) =>
  one.posted === other.posted ? (one.id < other.id ? -1 : 1) : one.posted < other.posted ? -1 : 1;

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
    account, id, thread: null, messages: [], waiting: [], before: "", atEnd: true, at, firstUnseen: "", busy: true, problem: "", code: "",
  };
  await load(at);
}

/** Messages before those that are here. */
export async function loadEarlier() {
  const now = conversation.value;
  if (!now || now.busy || !now.before) return;
  conversation.value = { ...now, busy: true };
  await asked({ before: now.before }, (one, found) => {
    const messages = [...found.messages, ...one.messages];
    const cut = messages.length > KEPT;
    return { ...one, messages: messages.slice(0, KEPT), before: found.before ?? "", atEnd: one.atEnd && !cut, busy: false };
  });
}

/** Messages after those that are here: the page around the last one. */
export async function loadLater() {
  const now = conversation.value;
  if (!now || now.busy || now.atEnd) return;
  conversation.value = { ...now, busy: true };
  const last = now.messages.at(-1).id;
  await asked({ around: last, limit: 2 * PAGE }, (one, found) => {
    const place = found.messages.findIndex((message) => message.id === last);
    const after = found.messages.slice(place + 1);
    const messages = [...one.messages, ...after];
    const cut = Math.max(0, messages.length - KEPT);
    const first = messages[cut];
    return {
      ...one, messages: messages.slice(cut), atEnd: after.length < PAGE, busy: false,
      before: cut ? `${first.posted} ${first.id}` : one.before,
    };
  });
}

/** From the latest message on, whatever is here. */
export async function toTheEnd() {
  const now = conversation.value;
  if (!now || now.atEnd) return;
  conversation.value = { ...now, messages: [], at: "", busy: true };
  await load("");
}

/** What happened while a conversation was asked for: its answer may be from before. @type {{type: string, data: any}[]} */
let early = [];

/** @param {string} at */
async function load(at) {
  early = [];
  await asked(at ? { around: at } : {}, (one, found) => ({
    ...one,
    thread: { ...found.thread, account: one.account },
    messages: found.messages,
    waiting: found.waiting ?? [],
    before: found.before ?? "",
    atEnd: !at || found.messages.at(-1)?.posted === found.thread.last_posted,
    firstUnseen: found.messages.find((message) => message.seen === false && !message.outgoing)?.id ?? "",
    busy: false,
  }));
  if (!conversation.value?.thread) return; // another is asked for by now, and what is early is its
  for (const { type, data } of early.splice(0)) hear(conversation.value, type, data);
}

/** @param {Conversation} now @param {string} type @param {any} data */
function hear(now, type, data) {
  const heard = { message, removed, thread, outbox, gap }[type];
  if (heard) heard(now, data);
}

/**
 * Ask for a page, and put it in unless something else is open by then.
 * @param {object} which
 * @param {(one: Conversation, found: any) => Conversation} put
 */
async function asked(which, put) {
  const { account, id } = conversation.value;
  const isOpen = () => conversation.value?.account === account && conversation.value.id === id;
  try {
    const found = await call("threads.read", { account, thread: id, limit: PAGE, ...which });
    await Promise.race([renderedAll(found.messages), new Promise((done) => setTimeout(done, RENDERING_PATIENCE_MS))]);
    if (isOpen()) conversation.value = put(conversation.value, found);
  } catch (problem) {
    if (isOpen()) conversation.value = { ...conversation.value, busy: false, problem: problem.message, code: problem.code };
  }
}

/** Follow the address, and what happens. */
export function keepConversation() {
  effect(() => {
    const { pane, account, thread, query } = route.value;
    untracked(() => (pane === "thread" ? open(account, thread, query.at) : (conversation.value = null)));
  });
  listen(({ account, type, data }) => {
    const now = conversation.value;
    if (!now || now.account !== account) return;
    if (now.thread || type === "gap") hear(now, type, data);
    else if (now.busy) early.push({ type, data });
  });
}

function message(now, { message: one, thread: of }) {
  if (of.id !== now.id) return;
  const place = now.messages.findIndex((other) => other.id === one.id);
  let { messages, atEnd } = now;
  if (place >= 0) messages = messages.with(place, one);
  else if (atEnd && (!now.before || !messages.length || earlier(messages[0], one) < 0)) messages = [...messages, one].sort(earlier);
  else if (!atEnd && messages.length && earlier(one, messages.at(-1)) < 0 && earlier(messages[0], one) < 0) messages = [...messages, one].sort(earlier);
  conversation.value = { ...now, messages, thread: { ...of, account: now.account } };
}

function removed(now, data) {
  if (data.thread !== now.id) return;
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
  conversation.value = { ...now, messages: [], busy: true };
  load(now.at);
}
