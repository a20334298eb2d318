// SPDX-License-Identifier: AGPL-3.0-or-later
/** Of what a person is told, and how much a notification shows to who looks over a shoulder. The service is named always. */

import { html } from "../base/html.js";
import { t } from "../base/words.js";
import { Choices, Switch, Trouble } from "../controls/controls.js";
import { useSettings } from "./of_account.js";

/** @param {{account: any}} of */
export function Notifications({ account }) {
  const { values, set, busy, problem } = useSettings(account.name);
  if (!values) return null;
  const choices = ["all", "mentions", "none"].map((one) => [one, t(`settings.notify_${one}`)]);
  return html`<section class="card narrow" aria-label=${t("settings.notifications")}><div class="card-body">
    <${Choices} legend=${t("settings.notify_of")} name="notifications" value=${values.notifications} choices=${choices} onChange=${(one) => set("notifications", one)} />
    <${Switch} label=${t("settings.notify_text")} hint=${t("settings.notify_text_hint")} checked=${values.notification_text} disabled=${busy} onChange=${(on) => set("notification_text", on)} />
    <${Example} service=${account.service} text=${values.notification_text} />
    <${Switch} label=${t("settings.presence")} hint=${t("settings.presence_hint")} checked=${values.presence_shown} disabled=${busy} onChange=${(on) => set("presence_shown", on)} />
    <${Switch} label=${t("settings.encrypt")} hint=${t("settings.encrypt_hint")} checked=${values.encrypt} disabled=${busy} onChange=${(on) => set("encrypt", on)} />
    <div class="field narrow-field"><label for="undo-s">${t("settings.undo")}</label>
      <select id="undo-s" value=${String(values.undo_s)} onChange=${(event) => set("undo_s", Number(event.currentTarget.value))}>
        ${[...new Set([0, 5, 10, 20, 30, 60, 120, values.undo_s])].sort((a, b) => a - b).map((one) => html`<option key=${one} value=${String(one)}>${one ? t("settings.seconds", { count: one }) : t("settings.undo_never")}</option>`)}</select></div>
    <${Trouble} problem=${problem} />
  </div></section>`;
}

/** What one would look like. */
function Example({ service, text }) {
  return html`<figure class="notify-example"><figcaption class="hint">${t("settings.notify_example")}</figcaption>
    <div class="notify-card"><small class="muted"><bdi>${service}</bdi></small><strong>${t("settings.notify_who")}</strong><span>${t(text ? "settings.notify_words" : "settings.notify_no_words")}</span></div></figure>`;
}
