// SPDX-License-Identifier: AGPL-3.0-or-later
/** The keys of the pages, and whether single letters are among them (WCAG 2.1.4). */

import { call } from "../base/api.js";
import { html } from "../base/html.js";
import { t } from "../base/words.js";
import { Switch, Trouble, useRequest } from "../controls/controls.js";
import { KeyList } from "../shell/keys.js";
import { learn, lettersAreKeys } from "../state/settings_of.js";
import { accounts } from "../state/state.js";

/** Letters are switched for the person: on all accounts. */
export function Keyboard() {
  const letters = lettersAreKeys.value;
  const { busy, problem, run } = useRequest();
  const set = async (account, value) => {
    await call("settings.set", { account, name: "single_letter_keys", value });
    learn(account, "single_letter_keys", value); // the event may come later: a switch that springs back confuses
  };
  const change = (on) => run(() => Promise.all(accounts.value.map(({ name }) => set(name, on))));
  return html`<div class="stacked wide-gap">
    <div class="card narrow"><div class="card-body">
      <${Switch} label=${t("settings.letters")} hint=${t("settings.letters_hint")} checked=${letters} disabled=${busy || !accounts.value.length} onChange=${change} />
      <${Trouble} problem=${problem} /></div></div>
    <section class="card narrow" aria-labelledby="keys"><div class="card-head"><h2 id="keys">${t("settings.keys")}</h2></div><div class="card-body"><${KeyList} /></div></section>
  </div>`;
}
