// SPDX-License-Identifier: AGPL-3.0-or-later
/** Whom an account knows, and how their keys stand: asked for once, kept true by events. */

import { call, listen } from "../base/api.js";
import { signal } from "../base/html.js";

/** @type {Map<string, import("../base/html.js").signal<Map<string, any>>>} people by uid, by account */
const known = new Map();

/**
 * The people of an account, by uid.
 * @param {string} account
 */
export function peopleOf(account) {
  let people = known.get(account);
  if (!people) {
    people = signal(new Map());
    known.set(account, people);
    queueMicrotask(() => ask(account));
  }
  return people;
}

/** Ask for one of them anew. @param {string} account @param {string} uid */
export async function refreshPerson(account, uid) {
  const people = known.get(account);
  if (!people) return;
  const found = await call("people.show", { account, uid }).catch(() => null);
  if (found) people.value = new Map(people.value).set(uid, found);
}

/** @param {string} account */
async function ask(account) {
  const found = await call("people.list", { account }).catch(() => null);
  if (found) known.get(account).value = new Map(found.map((one) => [one.uid, one]));
  else known.delete(account);
}

/** Follow what happens. */
export function keepPeople() {
  listen(({ account, type, data }) => {
    if (type === "home" && data.home.locked) known.clear();
    else if (!known.has(account)) return;
    else if (type === "person") refreshPerson(account, data.person.uid);
    else if (type === "keys") refreshPerson(account, data.uid);
    else if (type === "presence") {
      const people = known.get(account);
      const one = people.value.get(data.uid);
      if (one) people.value = new Map(people.value).set(data.uid, { ...one, present: data.present });
    } else if (type === "gap") ask(account);
  });
}
