// SPDX-License-Identifier: AGPL-3.0-or-later
/** How a conversation is locked, and why; and what one has to look at before anything is sealed to changed keys (B9). */

import { call } from "../base/api.js";
import { html, Icon, useState } from "../base/html.js";
import { joined, visible } from "../base/text.js";
import { fromEngine, t } from "../base/words.js";
import { QrCode } from "../controls/controls.js";
import { Popup } from "../controls/popup.js";
import { say, sayProblem } from "../controls/saying.js";
import { peopleOf, refreshPerson } from "../state/people.js";
import { accountOf } from "../state/state.js";

/**
 * How what was said here is locked, by what was said last.
 * @returns {{locked: boolean, why: string[]}}
 */
export function lockOf(thread, messages, people) {
  const uid = accountOf(thread.account)?.uid;
  const last = messages.findLast((one) => one.kind === "message" && ["received", "sent", "partial", "sealed", "returned"].includes(one.state));
  const others = (thread.readers ?? []).filter((one) => one.uid !== uid);
  const named = (some) => joined(some.map((one) => visible(people.get(one.uid)?.alias ?? one.alias)));
  if (last?.suite > 0 || thread.encryption !== "off") {
    const compared = others.filter((one) => people.get(one.uid)?.keys === "compared");
    const not = others.filter((one) => !compared.includes(one));
    const why = [t(thread.encryption === "shared" || last?.suite === 1 ? "thread.lock_shared" : "thread.lock_devices")];
    if (compared.length) why.push(t("thread.lock_compared", { names: named(compared) }));
    if (not.length) why.push(t("thread.lock_not_compared", { names: named(not) }));
    return { locked: true, why };
  }
  const outside = others.filter((one) => people.get(one.uid)?.via);
  const keyless = others.filter((one) => !outside.includes(one) && (people.get(one.uid)?.keys ?? "none") === "none");
  const why = [t("thread.lock_open")];
  if (outside.length) why.push(t("thread.lock_outside", { names: named(outside) }));
  if (keyless.length) why.push(t("thread.lock_keyless", { names: named(keyless) }));
  if (!outside.length && !keyless.length) why.push(t("thread.lock_chosen"));
  return { locked: false, why };
}

/** The lock of a conversation. A word, and more of it on request. */
export function Lock({ thread, messages, people }) {
  if (!messages.some((one) => one.kind === "message")) return null;
  const { locked, why } = lockOf(thread, messages, people);
  const word = t(locked ? "thread.locked" : "thread.open");
  return html`<div class="lock-place"><${Popup} id="act-lock" className=${`button small quiet lock ${locked ? "locked" : "unlocked"}`} name=${t("thread.lock_why", { word })}
    label=${html`<${Icon} name=${locked ? "lock" : "unlock"} /><span>${word}</span>`}>
    ${() => html`<div class="lock-why" tabindex="-1">${why.map((one) => html`<p>${one}</p>`)}</div>`}
  <//></div>`;
}

/** Somebody's devices are others now: what changed is to be seen before the next message leaves. */
export function ChangedKeys({ account, person }) {
  const [number, setNumber] = useState(null);
  const [busy, setBusy] = useState(false);
  const name = visible(person.alias);
  const headline = `keys-${person.uid}`;
  const confirm = async (compared) => {
    setBusy(true);
    try {
      await call("keys.seen", { account, uid: person.uid, head: compared ? number.head : person.keys_head, compared });
      say(t("thread.keys_confirmed", { name }));
    } catch (problem) {
      sayProblem(problem);
    }
    await refreshPerson(account, person.uid);
    setBusy(false);
  };
  const compare = () => call("keys.safety", { account, uid: person.uid }).then(setNumber, sayProblem);
  return html`<section class="notice warn changed-keys" aria-labelledby=${headline}><${Icon} name="key" /><div>
    <h2 id=${headline}>${t("thread.keys_changed", { name })}</h2>
    <ul class="keys-list">${person.keys_changed.map((one) => html`<li>${visible(fromEngine(one))}</li>`)}</ul>
    <p>${t("thread.keys_explained", { name })}</p>
    ${number && html`<${Number60} number=${number} name=${name} />`}
    <div class="form-acts">
      ${number
        ? html`<button class="button first small" type="button" disabled=${busy} onClick=${() => confirm(true)}>${t("thread.keys_same")}</button>`
        : html`<button class="button first small" type="button" onClick=${compare}>${t("thread.keys_compare")}</button>`}
      <button class="button small" type="button" disabled=${busy} onClick=${() => confirm(false)}>${t("thread.keys_seen")}</button>
    </div>
  </div></section>`;
}

/** The number to compare, and the same as a picture. */
export function Number60({ number, name }) {
  return html`<div class="safety">
    <p class="safety-digits" aria-label=${t("thread.keys_number", { name })} role="group"><code>${number.digits}</code></p>
    <${QrCode} svg=${number.qr} label=${t("thread.keys_code", { name })} />
  </div>`;
}
