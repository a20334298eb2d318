// SPDX-License-Identifier: AGPL-3.0-or-later
/** What can be set: of this device, and of each account on all its devices. */

import { html, Icon, signal, useEffect, useRef } from "../base/html.js";
import { t } from "../base/words.js";
import { link } from "../state/routes.js";
import { accounts } from "../state/state.js";
import { Account } from "./account.js";
import { Appearance } from "./appearance.js";
import { Devices } from "./devices.js";
import { Keyboard } from "./keyboard.js";
import { Language } from "./language.js";
import { Lock } from "./lock.js";
import { Notifications } from "./notifications.js";

/** [name, picture, what it shows, whether it is of one account] @type {[string, string, any, boolean][]} */
const SECTIONS = [
  ["account", "person", Account, true],
  ["devices", "device", Devices, true],
  ["notifications", "bell", Notifications, true],
  ["appearance", "palette", Appearance, true],
  ["lock", "lock", Lock, false],
  ["language", "globe", Language, false],
  ["keyboard", "keyboard", Keyboard, false],
];

/** Of which account the settings are shown. */
const chosen = signal("");

/** @param {{section: string}} of */
export function Settings({ section }) {
  const [name, , Shown, ofAccount] = SECTIONS.find(([one]) => one === section) ?? SECTIONS[1];
  const account = accounts.value.find((one) => one.name === chosen.value) ?? accounts.value[0];
  const title = useRef(/** @type {HTMLElement | null} */ (null));
  const first = useRef(true);
  useEffect(() => {
    if (!first.current) title.current?.focus();
    first.current = false;
  }, [name]);
  return html`<div class="settings">
    <nav class="settings-nav screen-only" aria-label=${t("settings.title")}>
      <div class="nav">${SECTIONS.map(([one, icon]) => html`<a key=${one} href=${link({ page: "settings", section: one })} aria-current=${one === name ? "page" : undefined}>
        <${Icon} name=${icon} /> ${t(`settings.${one}`)}</a>`)}</div>
    </nav>
    <div class="settings-page" data-keeps-focus>
      <header class="page-head screen-only"><div><h1 ref=${title} tabindex="-1">${t(`settings.${name}`)}</h1><p>${t(`settings.${name}_text`)}</p></div>
        ${ofAccount && accounts.value.length > 1 && html`<div class="field account-choice"><label for="settings-account">${t("settings.of_account")}</label>
          <select id="settings-account" value=${account.name} onChange=${(event) => (chosen.value = event.currentTarget.value)}>
            ${accounts.value.map((one) => html`<option key=${one.name} value=${one.name}>${one.service} – ${one.alias}</option>`)}</select></div>`}</header>
      ${ofAccount && !account
        ? html`<div class="card"><div class="empty"><${Icon} name="people" /><h2>${t("settings.no_account")}</h2><p>${t("settings.no_account_text")}</p>
            <a class="button first" href=${link({ page: "join" })}>${t("settings.join")}</a></div></div>`
        : html`<${Shown} key=${ofAccount ? account.name : name} account=${account} />`}
    </div>
  </div>`;
}
