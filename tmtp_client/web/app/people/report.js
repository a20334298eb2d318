// SPDX-License-Identifier: AGPL-3.0-or-later
/** Telling the administrators of a service of somebody (D2, D3): what is told to whom is said before it is sent. */

import { call } from "../base/api.js";
import { html, useRef, useState } from "../base/html.js";
import { visible } from "../base/text.js";
import { t } from "../base/words.js";
import { Choices, Dialog, Field, Notice, Trouble, useId, useRequest, wrongOf } from "../controls/controls.js";
import { say } from "../controls/saying.js";
import { accountOf } from "../state/state.js";
import { useTyped } from "../state/typed.js";

/** docs/protocol.md, *Reports*: in the units in which a JavaScript string counts. */
const MAX_UNITS = 500;
const REASONS = ["spam", "abuse", "impersonation", "other"];

/**
 * Whom, why, a few words; and whether to block them, too.
 * @param {{account: string, person: any, onClose: () => void}} of
 */
export function ReportDialog({ account, person, onClose }) {
  const { words: { reason, text }, change, done } = useTyped(account, `report ${person.uid}`, { reason: "spam", text: "" });
  const [block, setBlock] = useState(!person.blocked);
  const told = useRef(false); // where the block alone failed, another try does not report again
  const { busy, problem, run } = useRequest();
  const count = useId("report");
  const name = visible(person.alias || person.uid);
  const title = t("contacts.report_title", { name });
  const left = MAX_UNITS - text.length;
  const send = (event) => {
    event.preventDefault();
    if (left < 0) return;
    run(async () => {
      if (!told.current) await call("people.report", { account, uid: person.uid, reason, text });
      told.current = true;
      if (block && !person.blocked) await call("people.answer", { account, uid: person.uid, act: "block" });
      say(t(block && !person.blocked ? "contacts.reported_blocked" : "contacts.reported", { name }));
      done();
      onClose();
    });
  };
  return html`<${Dialog} label=${title} onClose=${onClose}>
    <form class="confirm report" onSubmit=${send}>
      <h2>${title}</h2>
      <${Choices} legend=${t("contacts.report_why")} name="report-reason" value=${reason} onChange=${(one) => change({ reason: one })}
        choices=${REASONS.map((one) => [one, t(`contacts.report_${one}`)])} />
      <${Field} label=${t("contacts.report_words")} wrong=${wrongOf(problem, "text")} optional>
        ${(attributes) => html`<textarea ...${attributes} rows="3" dir="auto" value=${text} aria-invalid=${left < 0 ? "true" : attributes["aria-invalid"]}
            aria-describedby="${attributes["aria-describedby"] ?? ""} ${count}" onInput=${(event) => change({ text: event.currentTarget.value })}></textarea>
          <div class="ping-count ${left < 0 ? "over" : ""}" id=${count}>${left < 0 ? t("contacts.units_over", { count: -left }) : t("contacts.report_left", { count: left })}</div>`}
      <//>
      ${!person.blocked && html`<label class="choice"><input type="checkbox" checked=${block} onChange=${(event) => setBlock(event.currentTarget.checked)} /> <span>${t("contacts.report_block", { name })}</span></label>`}
      <${Notice}>${t("contacts.report_told", { name, service: visible(accountOf(account)?.service ?? "") })}<//>
      <${Trouble} problem=${problem} except=${["text"]} />
      <div class="form-acts"><button class="button" type="button" onClick=${onClose}>${t("writing.cancel")}</button>
        <button class="button first danger" type="submit" disabled=${busy || left < 0}>${t("contacts.report_send")}</button></div>
    </form>
  <//>`;
}
