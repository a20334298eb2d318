// SPDX-License-Identifier: AGPL-3.0-or-later
/** What opens this device's history, when it locks by itself, and locking it now (B8). */

import { call } from "../base/api.js";
import { html, Icon, useState } from "../base/html.js";
import { language, t } from "../base/words.js";
import { Confirm, Notice, Switch, Trouble, useRequest, whenText, wrongOf } from "../controls/controls.js";
import { PassphraseFields, passphraseWrong } from "../onboarding/passphrase.js";
import { home } from "../state/state.js";

const IDLE_MINUTES = [0, 1, 5, 15, 30, 60, 240];

/** Of the device, whichever account. */
export function Lock() {
  const { busy, problem, run } = useRequest();
  const [asking, setAsking] = useState(false);
  const now = home.value;
  if (!now) return null;
  const has = (kind) => now.slots.some((one) => one.kind === kind);
  const change = (operation, fields = {}) => run(async () => (home.value = await call(operation, fields)));
  const minutes = Math.round(now.idle_lock_s / 60);
  return html`<div class="stacked wide-gap">
    ${!now.protected && html`<${Notice} kind="warn"><strong>${t("settings.unprotected")}</strong> ${t("settings.unprotected_text")}<//>`}
    <section class="card narrow" aria-labelledby="lock-now"><div class="card-body">
      <h2 id="lock-now">${t("settings.lock_now")}</h2>
      <p class="muted">${t(has("passphrase") || has("recovery") ? "settings.lock_now_text" : "settings.lock_none")}</p>
      <div class="form-acts"><button class="button" type="button" disabled=${busy || !(has("passphrase") || has("recovery"))} onClick=${() => change("home.lock")}><${Icon} name="shield" /> ${t("settings.lock_act")}</button></div>
      <div class="field narrow-field"><label for="idle">${t("settings.idle")}</label>
        <select id="idle" value=${String(minutes)} onChange=${(event) => change("home.idle_lock", { idle_s: 60 * Number(event.currentTarget.value) })}>
          ${[...new Set([...IDLE_MINUTES, minutes])].sort((a, b) => a - b).map((one) => html`<option key=${one} value=${String(one)}>${one ? t("settings.minutes", { count: one }) : t("settings.never")}</option>`)}</select></div>
      <${Trouble} problem=${problem} />
    </div></section>
    <${Passphrase} isSet=${has("passphrase")} onTakeAway=${() => setAsking(true)} />
    <section class="card narrow" aria-labelledby="opens"><div class="card-head"><h2 id="opens">${t("settings.opens")}</h2></div>
      <ul class="log-lines">${now.slots.map((one) => html`<li key=${one.id}><span>${t(`settings.slot_${one.kind}`, { name: one.note })}</span>
        <time class="muted" datetime=${new Date(one.made_ms).toISOString()}>${whenText(one.made_ms, language.value)}</time></li>`)}</ul>
      <div class="card-foot"><${Switch} label=${t("settings.keyring")} hint=${t("settings.keyring_hint")} checked=${has("keyring")} disabled=${busy}
        onChange=${(on) => change(on ? "home.keyring" : "home.forget_keyring")} /></div></section>
    ${asking && html`<${TakeAway} onClose=${() => setAsking(false)} />`}
  </div>`;
}

function Passphrase({ isSet, onTakeAway }) {
  const [words, setWords] = useState({ one: "", two: "" });
  const [tried, setTried] = useState(false);
  const [said, setSaid] = useState(false);
  const { busy, problem, run } = useRequest();
  const wrong = tried ? passphraseWrong(words) : "";
  const set = (event) => {
    event.preventDefault();
    setTried(true);
    setSaid(false);
    if (passphraseWrong(words)) return;
    run(async () => {
      home.value = await call("home.passphrase", { new: words.one });
      setWords({ one: "", two: "" });
      setTried(false);
      setSaid(true);
    });
  };
  return html`<section class="card narrow" aria-labelledby="passphrase"><div class="card-head"><h2 id="passphrase">${t(isSet ? "settings.change_passphrase" : "settings.set_passphrase")}</h2></div>
    <form class="card-body" onSubmit=${set} noValidate>
      <${PassphraseFields} value=${words} onChange=${setWords} wrong=${wrong || wrongOf(problem, "new")} />
      <${Trouble} problem=${problem} except=${["new"]} />
      ${said && html`<${Notice} kind="good" role="status">${t("settings.passphrase_set")}<//>`}
      <div class="form-acts"><button class="button first" type="submit" disabled=${busy}>${t(busy ? "first.setting" : isSet ? "settings.change_passphrase" : "settings.set_passphrase")}</button>
        ${isSet && html`<button class="button quiet danger" type="button" onClick=${onTakeAway}>${t("settings.no_passphrase")}</button>`}</div>
    </form></section>`;
}

function TakeAway({ onClose }) {
  const { busy, problem, run } = useRequest();
  const go = () =>
    run(async () => {
      home.value = await call("home.passphrase", { new: "" });
      onClose();
    });
  return html`<${Confirm} title=${t("settings.no_passphrase_title")} text=${t("settings.no_passphrase_text")} act=${t("settings.no_passphrase")} busy=${busy}
    problem=${problem} onAct=${go} onClose=${onClose} />`;
}
