// SPDX-License-Identifier: AGPL-3.0-or-later
/** The settings of accounts, as far as the page itself follows them: asked for once, kept true by events. */

import { call, listen } from "../base/api.js";
import { computed, signal } from "../base/html.js";
import { accounts } from "./state.js";

/** @type {import("../base/html.js").signal<Record<string, Record<string, any>>>} */
const settings = signal({});

/** Whether single letters are keys of the page: not where any account says no (WCAG 2.1.4). */
export const lettersAreKeys = computed(
  () => !accounts.value.some((one) => settings.value[one.name]?.single_letter_keys === false),
);

/**
 * Whether an inbox begins with what is unread; the one over all accounts, where each of them wants it.
 * @param {string} account "" is all of them
 */
export function unseenFirst(account) {
  const wanted = account ? [account] : accounts.value.map((one) => one.name);
  return wanted.length > 0 && wanted.every((name) => settings.value[name]?.order === "unseen");
}

/** Follow what is set. */
export function keepSettings() {
  accounts.subscribe((now) => now.forEach(({ name }) => name in settings.peek() || ask(name)));
  listen(({ account, type, data }) => {
    if (type === "setting" && settings.value[account]) learn(account, data.name, data.value);
    else if (type === "gap") ask(account);
  });
}

/** A setting is this now. @param {string} account @param {string} name @param {any} value */
export function learn(account, name, value) {
  settings.value = { ...settings.peek(), [account]: { ...settings.peek()[account], [name]: value } };
}

/** @param {string} account */
async function ask(account) {
  settings.value = { ...settings.peek(), [account]: {} };
  const found = await call("settings.list", { account }).catch(() => null);
  if (found) settings.value = { ...settings.peek(), [account]: { ...found.values, ...settings.peek()[account] } }; // events are newer
}
