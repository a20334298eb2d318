// SPDX-License-Identifier: AGPL-3.0-or-later
/**
 * Whether what is being written will be encrypted, and why (B9). The engine judges when it sends; this says beforehand
 * what it will find: by the conversation, by the setting, and by whose keys are known and were looked at.
 */

import { call, listen } from "../base/api.js";
import { html, Icon, useEffect, useState } from "../base/html.js";
import { joined, visible } from "../base/text.js";
import { t } from "../base/words.js";
import { accountOf } from "../state/state.js";

/** @typedef {{state: "on" | "shared" | "open" | "held" | "unknown", why: string, people: any[]}} Encryption */

/**
 * @param {string} account @param {string[]} names to whom; empty: the readers of `thread`
 * @param {any} thread as `threads.read` has it; null: a new one
 * @returns {Encryption}
 */
export function useEncryption(account, names, thread) {
  const [known, setKnown] = useState({ people: /** @type {any[]} */ ([]), groups: /** @type {any[]} */ ([]), encrypt: true, ready: false });
  useEffect(() => {
    let over = false;
    const ask = async () => {
      const [people, groups, settings] = await Promise.all([
        call("people.list", { account }), call("groups.list", { account }), call("settings.list", { account }),
      ]);
      if (!over) setKnown({ people, groups, encrypt: settings.values.encrypt !== false, ready: true });
    };
    ask().catch(() => {});
    const stop = listen(({ account: of, type }) => {
      if (of === account && ["person", "keys", "setting", "group"].includes(type)) ask().catch(() => {});
    });
    return () => {
      over = true;
      stop();
    };
  }, [account]);
  return judge(known, names, thread, accountOf(account));
}

/** @returns {Encryption} */
function judge({ people, groups, encrypt, ready }, names, thread, account) {
  const nothing = (state, why, of = []) => ({ state, why, people: of });
  if (!ready) return nothing("unknown", "");
  if (account && account.revision < 2) return nothing("open", t("writing.open_old_service"));
  const self = account?.uid;
  const wanted = names.length ? names : (thread?.readers ?? []).map((one) => one.uid).filter((uid) => uid !== self);
  if (thread?.gid && !names.length) wanted.push(thread.gid);
  if (!wanted.length && !thread) return encrypt ? nothing("unknown", "") : nothing("open", t("writing.open_by_setting"));
  const found = wanted.flatMap((name) => peopleOf(name, people, groups, self));
  const shared = thread?.encryption === "shared";
  if (!shared && thread?.encryption !== "on" && !encrypt) return nothing("open", t("writing.open_by_setting"));
  const without = found.filter((one) => (one.keys ?? "none") === "none");
  if (without.length) {
    const name = namesOf(without);
    if (thread?.encryption === "on" || shared) return nothing("held", t("writing.held_no_keys", { name, count: without.length }), without);
    return nothing("open", t(without.some((one) => one.via) ? "writing.open_outside" : "writing.open_no_keys", { name, count: without.length }), without);
  }
  const unseen = found.filter((one) => one.keys === "unseen" || one.keys === "trouble");
  if (unseen.length) return nothing("held", t("writing.held_unseen", { name: namesOf(unseen), count: unseen.length }), unseen);
  if (shared) return nothing("shared", t("writing.shared_key"));
  const compared = found.length > 0 && found.every((one) => one.keys === "compared");
  return nothing("on", t(compared ? "writing.on_compared" : "writing.on_not_compared"), found);
}

const namesOf = (people) => joined(people.map((one) => visible(one.alias)));

/** Somebody, or whoever is in a group, as people are known here. */
function peopleOf(name, people, groups, self) {
  const group = groups.find((one) => one.gid === name);
  if (group) {
    const uids = (group.members ?? []).filter((one) => one.stands === "joined" && one.uid !== self).map((one) => one.uid);
    return people.filter((one) => uids.includes(one.uid));
  }
  const one = people.find((person) => person.uid === name || person.alias === name || person.aliases.includes(name));
  return one ? [one] : [];
}

const SHOWN = { on: "shield", shared: "key", open: "warn", held: "warn" };

/** A line that says it. @param {{encryption: Encryption}} of */
export function EncryptionState({ encryption }) {
  const { state, why } = encryption;
  if (state === "unknown") return null;
  return html`<p class="encryption ${state}"><${Icon} name=${SHOWN[state]} /><span><strong>${t(`writing.encryption_${state}`)}</strong> ${why}</span></p>`;
}
