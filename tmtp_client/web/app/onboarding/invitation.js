// SPDX-License-Identifier: AGPL-3.0-or-later
/** What an invitation's link says, to show it before it is used; and what a new account and device are called here. */

const DEFAULT_PORT = "4433";

/**
 * `tmtp://host:port#pin=…&invite=…`, or host:port. The engine judges; this is for the eyes.
 * @param {string} text
 * @returns {{host: string, port: string, invite: boolean} | null} null: nothing that looks like one
 */
export function invited(text) {
  const found = text.trim().match(/^(?:tmtp:\/\/)?(\[[0-9a-f:.]+\]|[^\s:/#?@[\]]+)(?::(\d{1,5}))?\/?(?:#(.*))?$/i);
  if (!found) return null;
  const [, host, port = DEFAULT_PORT, fragment = ""] = found;
  return { host: host.toLowerCase(), port, invite: new URLSearchParams(fragment).has("invite") };
}

/**
 * A name for a new account that no other has: of its service's host, as the vault takes it.
 * @param {string} host @param {string[]} taken
 */
export function accountName(host, taken) {
  const plain = host.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "").slice(0, 48) || "service";
  for (let number = 1; ; number += 1) {
    const name = number === 1 ? plain : `${plain}-${number}`;
    if (!taken.includes(name)) return name;
  }
}

const SYSTEMS = [["Android", /Android/], ["iPhone", /iPhone|iPad/], ["Windows", /Windows/], ["Mac", /Mac OS/], ["Linux", /Linux|X11/]];

/** What a device of this kind is called, until its person says otherwise. */
export const label = () => SYSTEMS.find(([, mark]) => mark.test(navigator.userAgent))?.[0] ?? "Computer";
