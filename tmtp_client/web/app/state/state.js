// SPDX-License-Identifier: AGPL-3.0-or-later
/**
 * What the page knows: this device, its accounts, where one is. Kept true by events; rooms of their own (threads.js) keep
 * what only they show.
 */

import { call, listen, online } from "../base/api.js";
import { batch, computed, effect, signal, untracked } from "../base/html.js";
import { visible } from "../base/text.js";
import { t } from "../base/words.js";
import { link, parse } from "./routes.js";

/** What home.state says; null: not asked yet. @type {import("../base/html.js").signal<any>} */
export const home = signal(null);
/** The accounts, as they are now. @type {import("../base/html.js").signal<any[]>} */
export const accounts = signal([]);
/** Where one is. @type {import("../base/html.js").signal<import("./routes.js").Route>} */
export const route = signal(parse(location.hash));

export const locked = computed(() => home.value?.locked ?? false);

/** What a part of the page forgets once the home is locked: nothing that was read or written stays in the page (B8). @param {() => void} forget */
export const whenLocked = (forget) => effect(() => void (locked.value && untracked(forget)));
whenLocked(() => /./.test("-")); // a browser keeps the last text in which something was found (RegExp.input)

const little = matchMedia("(max-width: 699.98px)");
/** Whether there is room for one pane only. */
export const narrow = signal(little.matches);
little.addEventListener("change", () => (narrow.value = little.matches));

/** @param {string} name */
export const accountOf = (name) => accounts.value.find((one) => one.name === name);

/** What a service is called here: its own name, and where two are called the same, the account's. @param {any} account */
export function serviceName(account) {
  const name = visible(account.service || account.name);
  const twice = accounts.value.some((one) => one !== account && one.service === account.service && one.name !== account.name);
  return twice ? `${name} (${account.name})` : name;
}

/** How an account stands, in words; "": online. @param {any} account */
export const standing = (account) => (account.state === "online" ? "" : t(`main.state_${account.state}`));

/**
 * Go somewhere.
 * @param {Partial<import("./routes.js").Route>} to
 * @param {{instead?: boolean}} [how] instead: Back does not come here again
 */
export function select(to, { instead = false } = {}) {
  const address = link(to);
  if (instead) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  follow();
}

let followed = location.hash;
/** Be where the address says. It may be told twice of one change: by `hashchange` and by `popstate`. */
function follow() {
  if (location.hash === followed) return;
  followed = location.hash;
  route.value = parse(followed);
}
addEventListener("hashchange", follow);
addEventListener("popstate", follow);

/** Accounts that changed while the home was asked for, whose state the answer may not know yet. @type {Map<string, any>} */
let changed = new Map();
let timesTold = 0; // how often an event said what the home is

/** An account as it may be shown: what its service calls itself are a stranger's words, and stand in the page's own (D2). */
const shown = (account) => ({ ...account, service: visible(account.service ?? "") });

/** Ask anew what this device is, and its accounts. */
export async function refreshHome() {
  const before = timesTold;
  changed = new Map();
  const found = await call("home.state");
  if (timesTold !== before) return; // what was told meanwhile is newer: it may be locked by now
  batch(() => {
    home.value = found;
    accounts.value = found.accounts.map((one) => changed.get(one.name) ?? shown(one));
  });
}

/** Begin to hear and to ask. */
export function begin() {
  listen(hear);
  effect(() => {
    if (online.value) refreshHome().catch(() => {});
  });
}

/** @param {{account: string, type: string, data: any}} event */
function hear({ type, data }) {
  if (type === "home") {
    timesTold += 1;
    batch(() => {
      home.value = data.home;
      accounts.value = data.home.accounts.map(shown);
    });
  } else if (type === "account") {
    const account = shown(data.account);
    changed.set(account.name, account);
    const known = accounts.value.some((one) => one.name === account.name);
    accounts.value = known
      ? accounts.value.map((one) => (one.name === account.name ? account : one))
      : [...accounts.value, account];
  } else if (type === "gap") {
    refreshHome().catch(() => {});
  }
}
