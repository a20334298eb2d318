// SPDX-License-Identifier: AGPL-3.0-or-later
/** Choosing a passphrase: twice, with how it stands while one writes, and one to take if none comes to mind. */

import { html, useState } from "../base/html.js";
import { t } from "../base/words.js";
import { Field, Switch } from "../controls/controls.js";

export const PASSPHRASE_MIN_CHARACTERS = 8; // tmtp_client.limits
const GOOD_CHARACTERS = 16;

/** What is wrong with it; "": nothing. @param {{one: string, two: string}} words */
export function passphraseWrong({ one, two }) {
  if (one.length < PASSPHRASE_MIN_CHARACTERS) return t("first.passphrase_short", { count: PASSPHRASE_MIN_CHARACTERS });
  return one === two ? "" : t("first.passphrase_differs");
}

/** How long it will hold: length is what counts, and that it is not one thing repeated. */
function strength(text) {
  if (text.length < PASSPHRASE_MIN_CHARACTERS) return 0;
  const various = new Set(text.toLowerCase()).size;
  if (text.length >= GOOD_CHARACTERS && various >= 8) return 3;
  return text.length >= 12 && various >= 6 ? 2 : 1;
}

/** @param {{value: {one: string, two: string}, onChange: (value: {one: string, two: string}) => void, wrong?: string}} of */
export function PassphraseFields({ value, onChange, wrong = "" }) {
  const [shown, setShown] = useState(false);
  const strong = strength(value.one);
  const input = (key, attributes) => html`<input ...${attributes} type=${shown ? "text" : "password"} autocomplete="new-password" autocapitalize="off" spellcheck=${false}
    required value=${value[key]} onInput=${(event) => onChange({ ...value, [key]: event.currentTarget.value })} />`;
  return html`<div class="stacked passphrase">
    <${Field} label=${t("first.passphrase")} hint=${t("first.passphrase_advice")}>${(attributes) => input("one", attributes)}<//>
    <div class="strength" role="status">${value.one && html`<meter min="0" max="3" low="2" high="3" optimum="3" value=${strong} aria-hidden="true"></meter>
      <span class="muted">${t(`first.strength_${strong}`)}</span>`}</div>
    <${Field} label=${t("first.passphrase_again")} wrong=${wrong}>${(attributes) => input("two", attributes)}<//>
    <${Switch} label=${t("first.show_secret")} checked=${shown} onChange=${setShown} />
  </div>`;
}
