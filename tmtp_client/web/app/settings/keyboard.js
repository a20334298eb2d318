// SPDX-License-Identifier: AGPL-3.0-or-later
/** The keys of the pages, and whether single letters are among them (WCAG 2.1.4). */

import { Switch, Trouble, useRequest } from "../controls.js";
import { html, useEffect, useState } from "../html.js";
import { call } from "../api.js";
import { accounts } from "../state.js";
import { t } from "../words.js";

/** [the word that says what it does, the keys; several ways apart by a blank] @type {[string, string[]][]} */
export const KEYS = [
  ["service", ["Ctrl+1", "Ctrl+9"]], ["next_service", ["Ctrl+Tab"]], ["jump", ["Ctrl+K"]], ["search", ["/"]], ["move", ["J", "K"]], ["new", ["N"]], ["reply", ["R"]],
  ["forward", ["F"]], ["archive", ["E"]], ["tag", ["T"]], ["send", ["Ctrl+Enter"]], ["panes", ["F6"]], ["back", ["Esc"]], ["menu", ["Shift+F10"]], ["help", ["?"]],
];
const SINGLE = /^[A-Z?/]$/;

/** Letters are switched for the person: on all accounts. */
export function Keyboard() {
  const [letters, setLetters] = useState(true);
  const { busy, problem, run } = useRequest();
  useEffect(() => {
    const [first] = accounts.value;
    if (first) call("settings.list", { account: first.name }).then((found) => setLetters(found.values.single_letter_keys), () => {});
  }, []);
  const change = (on) =>
    run(async () => {
      await Promise.all(accounts.value.map((one) => call("settings.set", { account: one.name, name: "single_letter_keys", value: on })));
      setLetters(on);
    });
  return html`<div class="stacked wide-gap">
    <section class="card narrow" aria-label=${t("settings.letters")}><div class="card-body">
      <${Switch} label=${t("settings.letters")} hint=${t("settings.letters_hint")} checked=${letters} disabled=${busy || !accounts.value.length} onChange=${change} />
      <${Trouble} problem=${problem} /></div></section>
    <section class="card narrow" aria-labelledby="keys"><div class="card-head"><h2 id="keys">${t("settings.keys")}</h2></div>
      <dl class="keys">${KEYS.map(([name, keys]) => html`<div key=${name} class=${!letters && keys.every((one) => SINGLE.test(one)) ? "off" : ""}><dt>${t(`settings.key_${name}`)}</dt>
        <dd>${keys.map((one, place) => html`${place > 0 && html` <span class="muted">–</span> `}<kbd>${one}</kbd>`)}</dd></div>`)}</dl></section>
  </div>`;
}
