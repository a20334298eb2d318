// SPDX-License-Identifier: AGPL-3.0-or-later
/**
 * The engine's interface (docs/client-api.md) over one WebSocket: requests, and events from where one left off.
 *
 * A request waits while there is no connection. One that was on its way when the connection broke is asked again if it
 * only reads, or leaves the same when it is done twice, as a draft that is saved; of others nobody knows whether they were
 * done, and that is said.
 */

import { signal } from "./html.js";

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 5000;
const AGAIN = new Set([
  "home.state", "accounts.list", "accounts.skin", "people.list", "people.show", "people.find", "groups.list", "groups.show",
  "threads.list", "threads.read", "messages.latest", "messages.show", "messages.render", "outbox.list", "drafts.list", "tags.list", "search",
  "forms.answers", "forms.csv", "forms.waiting", "render", "settings.list", "devices.list", "devices.of", "keys.wishes", "keys.safety",
  "drafts.save", "drafts.drop", "messages.seen",
]);

/** What the engine refused, in its words. `code` and `field` as in the API's Problem. */
export class Problem extends Error {
  /** @param {{code: string, text: string, field?: string}} of */
  constructor({ code, text, field = "" }) {
    super(text);
    this.name = "Problem";
    this.code = code;
    this.field = field;
  }
}

/** Whether the engine answers. True until it is known otherwise: a page that has just come asks first. */
export const online = signal(true);

/** @type {WebSocket | null} */
let socket = null;
let ready = false;
let lastId = 0;
let wait_ms = FIRST_WAIT_MS;
let watching = false;
/** @type {Map<number, {operation: string, fields: object, sent: boolean, resolve: Function, reject: Function}>} */
const asked = new Map();
/** @type {Set<(event: {account: string, type: string, data: any}) => void>} */
const listeners = new Set();
/** @type {Record<string, number>} the number of the last event of each account */
const since = {};

/**
 * One request. Waits while the engine is away; what it refuses is a Problem.
 * @param {string} operation
 * @param {object} [fields]
 * @returns {Promise<any>}
 */
export function call(operation, fields = {}) {
  return new Promise((resolve, reject) => {
    const id = ++lastId;
    asked.set(id, { operation, fields, sent: false, resolve, reject });
    if (ready) send(id);
    else connect();
  });
}

/**
 * Hear events, from now on; after a break from where it was. Several may listen.
 * @param {(event: {account: string, type: string, data: any}) => void} heard
 * @returns {() => void} to hear no more
 */
export function listen(heard) {
  listeners.add(heard);
  if (!watching) {
    watching = true;
    if (ready) watch();
    else connect();
  }
  return () => listeners.delete(heard);
}

function connect() {
  if (socket) return;
  const one = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/1`);
  socket = one;
  one.onopen = () => {
    ready = true;
    wait_ms = FIRST_WAIT_MS;
    online.value = true;
    if (watching) watch();
    for (const id of asked.keys()) send(id);
  };
  one.onmessage = ({ data }) => take(JSON.parse(data));
  one.onclose = () => {
    socket = null;
    ready = false;
    online.value = false;
    forget();
    setTimeout(connect, wait_ms);
    wait_ms = Math.min(wait_ms * 2, LONGEST_WAIT_MS);
  };
}

/** @param {number} id */
function send(id) {
  const request = asked.get(id);
  if (!request || request.sent || !socket) return;
  request.sent = true;
  socket.send(JSON.stringify({ id, method: request.operation, params: request.fields }));
}

/** The connection broke: what can be is asked again, what acts is answered as unknown. */
function forget() {
  for (const [id, request] of asked) {
    if (request.sent && !AGAIN.has(request.operation)) {
      asked.delete(id);
      request.reject(new Problem({ code: "not_now", text: "the connection to the engine broke; look whether it was done" }));
    } else {
      request.sent = false;
    }
  }
}

/** Events of the home come too: an account that is new is watched from its first one. */
function watch() {
  const id = ++lastId;
  asked.set(id, {
    operation: "home.watch",
    fields: { since: { ...since } },
    sent: false,
    resolve: ({ numbers }) => {
      for (const [account, number] of Object.entries(numbers)) since[account] ??= number;
    },
    reject: () => {},
  });
  send(id);
}

/** @param {any} frame an answer, or an event */
function take(frame) {
  if (frame.type !== undefined) {
    if (frame.number) since[frame.account] = frame.number;
    for (const heard of listeners) heard({ account: frame.account, type: frame.type, data: frame.data ?? null });
    return;
  }
  const request = asked.get(frame.id);
  if (!request) return;
  asked.delete(frame.id);
  if (frame.problem) request.reject(new Problem(frame.problem));
  else request.resolve(frame.result ?? null);
}
