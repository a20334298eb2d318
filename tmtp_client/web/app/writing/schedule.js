// SPDX-License-Identifier: AGPL-3.0-or-later
/** When a message is to leave: a few hours and days that people mean, or any time. */

import { html, useState } from "../base/html.js";
import { language, t } from "../base/words.js";
import { Dialog, Field } from "../controls/controls.js";

const MORNING_H = 9;

/** @param {Date} now @returns {[string, Date][]} the name of a word, and when that is */
function choices(now) {
  const at = (days, hour) => new Date(now.getFullYear(), now.getMonth(), now.getDate() + days, hour);
  const found = /** @type {[string, Date][]} */ ([["in_an_hour", new Date(now.getTime() + 3_600_000)]]);
  found.push(now.getHours() < 17 ? ["this_evening", at(0, 18)] : ["tomorrow", at(1, MORNING_H)]);
  if (now.getHours() < 17) found.push(["tomorrow", at(1, MORNING_H)]);
  found.push(["next_week", at(((8 - now.getDay()) % 7) || 7, MORNING_H)]);
  return found;
}

/** As an input of local time has it. @param {Date} date */
const local = (date) => new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);

/** @param {{onChoose: (due_ms: number) => void, onClose: () => void}} of */
export function Schedule({ onChoose, onClose }) {
  const [now] = useState(() => new Date());
  const [text, setText] = useState(() => local(choices(now).find(([name]) => name === "tomorrow")[1]));
  const due = new Date(text);
  const wrong = !text || Number.isNaN(due.getTime()) ? t("writing.later_none") : due <= new Date() ? t("writing.later_past") : "";
  const choose = (event) => {
    event.preventDefault();
    if (!wrong) onChoose(due.getTime());
  };
  const shown = (when) => when.toLocaleString(language.value, { weekday: "short", hour: "numeric", minute: "2-digit" });
  return html`<${Dialog} label=${t("writing.later")} onClose=${onClose}>
    <form class="confirm" onSubmit=${choose}>
      <h2>${t("writing.later")}</h2>
      <p>${t("writing.later_text")}</p>
      <div class="later-choices">${choices(now).map(([name, when]) => html`<button class="button" type="button" key=${name} onClick=${() => onChoose(when.getTime())}>
        ${t(`writing.${name}`)} <small class="muted">${shown(when)}</small></button>`)}</div>
      <${Field} label=${t("writing.later_at")} wrong=${wrong}>
        ${(attributes) => html`<input ...${attributes} type="datetime-local" value=${text} onInput=${(event) => setText(event.currentTarget.value)} />`}
      <//>
      <div class="form-acts">
        <button class="button" type="button" onClick=${onClose}>${t("writing.cancel")}</button>
        <button class="button first" type="submit" disabled=${Boolean(wrong)}>${t("writing.later_act")}</button>
      </div>
    </form>
  <//>`;
}
