// SPDX-License-Identifier: AGPL-3.0-or-later
/** A form that a message brought, or an answer to one, where it stands in its conversation. */

import { html, Icon, useState } from "../base/html.js";
import { t } from "../base/words.js";
import { sentence, useId } from "../controls/controls.js";
import { conversation } from "../state/conversation.js";
import { link } from "../state/routes.js";
import { accountOf } from "../state/state.js";
import { Filling, Values } from "./filling.js";
import { Results } from "./results.js";
import { fits, titleOf, useTable } from "./tables.js";

const OPEN_QUESTIONS_MAX = 12; // a form with more is opened on request, and so is one with more choices than these
const OPEN_CHOICES_MAX = 60;
const OPEN_FORMS_MAX = 3; // of one message

/** @param {{account: string, message: any, file: any, place: number}} of place: how many forms of the message stand before it */
export function FormInMessage({ account, message, file, place }) {
  const { table, problem } = useTable(account, message, file);
  const id = useId("form");
  const answer = file.kind === "filled";
  const title = titleOf(table?.form.title ?? file.name);
  const why = problem && !(answer && problem.code === "not_found") ? problem : null;
  const Content = answer ? Answer : message.outgoing ? Own : Others;
  return html`<div class="form-card" role="group" aria-labelledby=${id} aria-busy=${!table && !problem ? "true" : undefined}>
    <h2 class="form-title" id=${id}><${Icon} name="audit" /> <bdi>${answer ? t("forms.answer_to", { title }) : title}</bdi></h2>
    ${why && html`<p class="wrong"><${Icon} name="warn" /> ${t("forms.not_shown")} ${sentence(why.message)}</p>`}
    ${problem && html`<p><a class="button small" download=${file.name} href=${`/files/${encodeURIComponent(account)}/${encodeURIComponent(message.id)}/${file.place}`}>${t("thread.file_keep")}<span class="spoken"> ${title}</span></a></p>`}
    ${table && html`<${Content} account=${account} message=${message} file=${file} table=${table} place=${place} />`}
  </div>`;
}

/** Somebody asks. */
function Others({ account, message, file, table, place }) {
  const { fields } = table.form;
  const choices = fields.reduce((sum, one) => sum + (one.choices?.length ?? 0), 0);
  const [isOpen, setOpen] = useState(fields.length <= OPEN_QUESTIONS_MAX && choices <= OPEN_CHOICES_MAX && place < OPEN_FORMS_MAX);
  const own = useOwn(account, table);
  const shared = sharesName(message, file);
  return html`
    ${shared && html`<p class="hint"><${Icon} name="about" /> ${t("forms.same_name")}</p>`}
    ${isOpen || own
      ? html`<${Filling} account=${account} message=${message} place=${file.place} table=${table} own=${own} />`
      : html`<p><button class="button small" type="button" onClick=${() => setOpen(true)}>${t("forms.open", { count: fields.length })}</button></p>`}`;
}

/** One's own form: what came back, and a way to answer oneself. */
function Own({ account, message, file, table }) {
  const [isOpen, setOpen] = useState(false);
  const own = useOwn(account, table);
  return html`
    ${sharesName(message, file) && html`<p class="hint"><${Icon} name="about" /> ${t("forms.same_name")}</p>`}
    <${Results} account=${account} message=${message} file=${file} table=${table} />
    <p class="own-open"><button class="button small quiet" type="button" aria-expanded=${isOpen} onClick=${() => setOpen(!isOpen)}>${t(isOpen ? "forms.own_close" : "forms.own_open")}</button></p>
    ${isOpen && html`<${Filling} account=${account} message=${message} place=${file.place} table=${table} own=${own} />`}`;
}

/** An answer, wherever it came from. */
function Answer({ account, message, table }) {
  const answer = table.answers.find((one) => one.message === message.id);
  const asking = conversation.value?.messages.find((one) => (one.attachments ?? []).some((file) => file.kind === "form" && file.form === table.form.ffn));
  if (!answer) return null;
  return html`
    ${answer.replaced && html`<p class="hint">${t("forms.replaced_text")}</p>`}
    <${Values} questions=${table.form.fields} values=${answer.values} />
    ${asking && html`<p><a class="to-form" href=${link({ account, pane: "thread", thread: message.thread, query: { at: asking.id } })}>${t("forms.to_form")}</a></p>`}`;
}

/** The last answer of one's own. */
function useOwn(account, table) {
  const me = accountOf(account)?.uid;
  return table.answers.findLast((one) => one.author === me && fits(one));
}

/** Whether another form of the conversation goes by the same name: a name is its sender's choice. */
const sharesName = (message, file) =>
  (conversation.value?.messages ?? []).some((one) =>
    (one.attachments ?? []).some((other) => other.kind === "form" && other.form === file.form && (one.id !== message.id || other.place !== file.place)),
  );
