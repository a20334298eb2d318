// SPDX-License-Identifier: AGPL-3.0-or-later
/** Somebody whom one does not know yet, or a group that asks one in: what can be answered (D2, A6). */

import { call } from "../base/api.js";
import { html, Icon, useState } from "../base/html.js";
import { visible } from "../base/text.js";
import { t } from "../base/words.js";
import { Fetched } from "../controls/fetched.js";
import { say, sayProblem } from "../controls/saying.js";
import { accountOf } from "../state/state.js";
import { useTyped } from "../state/typed.js";

const PING_UNITS = 140;
const SAID = { accept: "accepted", ignore: "ignored", block: "blocked", unblock: "unblocked" };

/** Accept, ignore, block or report whoever made a first contact; nothing where that was answered. */
export function AnswerContact({ account, message, person }) {
  const { words: { text }, change, done } = useTyped(account, `answer ${message.id}`, { text: "" });
  const [busy, setBusy] = useState(false);
  const [reporting, setReporting] = useState(false);
  const name = visible(message.alias || message.author);
  const outside = person?.stands === "outside";
  if (!person || person.stands === "contact" || person.stands === "self") return null;
  const act = async (what) => {
    setBusy(true);
    try {
      await call("people.answer", { account, uid: message.author, act: what, ...(what === "accept" && !outside ? { text: text.trim() } : {}) });
      done();
      say(t(`thread.contact_${SAID[what]}`, { name }));
    } catch (problem) {
      sayProblem(problem);
    }
    setBusy(false);
  };
  const report = accountOf(account)?.reports && html`<button class="button small quiet" type="button" disabled=${busy} onClick=${() => setReporting(true)}>${t("contacts.report")}</button>`;
  // beside the form, not in it: what is sent in a form inside would be sent by the outer one, too
  const dialog = reporting && html`<${Fetched} from="people/report" part="ReportDialog" account=${account} person=${person} onClose=${() => setReporting(false)} />`;
  if (person.blocked || person.stands === "ignored") {
    return html`<div class="contact-answer"><p class="muted">${t(person.blocked ? "thread.contact_is_blocked" : "thread.contact_is_ignored", { name })}</p>
      <div class="form-acts">${person.blocked
        ? html`<button class="button small" type="button" disabled=${busy} onClick=${() => act("unblock")}>${t("thread.contact_unblock")}</button>`
        : html`<button class="button small" type="button" disabled=${busy} onClick=${() => act("accept")}>${t("thread.contact_accept")}</button>`}${report}</div>${dialog}</div>`;
  }
  const field = `answer-${message.id}`;
  return html`<div><form class="contact-answer" aria-label=${t("thread.contact_answer", { name })} onSubmit=${(event) => (event.preventDefault(), act("accept"))}>
    ${!outside && html`<div class="field"><label for=${field}>${t("thread.contact_words")} <span class="muted">${t("main.optional")}</span></label>
      <input id=${field} value=${text} maxlength=${PING_UNITS} dir="auto" autocomplete="off" aria-describedby=${`${field}-left`} onInput=${(event) => change({ text: event.target.value })} />
      <p class="hint" id=${`${field}-left`}>${t("thread.contact_left", { count: PING_UNITS - text.length })}</p></div>`}
    <div class="form-acts">
      <button class="button first small" disabled=${busy}><${Icon} name="good" /> ${t("thread.contact_accept")}</button>
      <button class="button small" type="button" disabled=${busy} onClick=${() => act("ignore")}>${t("thread.contact_ignore")}</button>
      <button class="button small danger" type="button" disabled=${busy} onClick=${() => act("block")}>${t("thread.contact_block")}</button>
      ${report}
    </div>
  </form>${dialog}</div>`;
}

/** Join a group, under one's own name. */
export function AnswerInvitation({ account, message }) {
  const [busy, setBusy] = useState(false);
  const join = async () => {
    setBusy(true);
    try {
      await call("groups.act", { account, gid: message.gid, act: "join", alias: accountOf(account).alias });
      say(t("thread.group_joined", { name: visible(message.gid) }));
    } catch (problem) {
      sayProblem(problem);
      setBusy(false);
    }
  };
  if (!message.gid) return null;
  return html`<div class="contact-answer"><div class="form-acts">
    <button class="button first small" type="button" disabled=${busy} onClick=${join}><${Icon} name="group" /> ${t("thread.group_join", { name: visible(message.gid) })}</button>
  </div></div>`;
}
