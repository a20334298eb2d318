// SPDX-License-Identifier: AGPL-3.0-or-later
/** What came back to a form of one's own: a chart and a table, and the same for a spreadsheet. */

import { call } from "../base/api.js";
import { html, Icon, useMemo, useState } from "../base/html.js";
import { fullMoment, joined, moment, visible } from "../base/text.js";
import { language, t } from "../base/words.js";
import { say, sayProblem } from "../controls/saying.js";
import { conversation } from "../state/conversation.js";
import { accountOf } from "../state/state.js";
import { figuresOf } from "./figures.js";
import { answerText, asked, titleOf } from "./tables.js";

const ROWS_SHOWN = 50; // and as many more on request
const CELL_CHARACTERS = 240; // all of it is in the answer's own message
const NAMES_SHOWN = 8;
const FORGET_AFTER_MS = 60_000; // a file that was handed to the browser

/** @param {{account: string, message: any, file: any, table: import("./tables.js").Table}} of */
export function Results({ account, message, file, table }) {
  const [view, setView] = useState("chart");
  const counted = table.answers.filter((one) => !one.replaced);
  const missing = notYet(account, message, counted);
  return html`<div class="results">
    <p role="status" class="results-count"><strong>${counted.length ? t("forms.answers", { count: counted.length }) : t("forms.nobody")}</strong>
      ${missing.length > 0 && html` <span class="muted">${t("forms.not_yet", { names: shortList(missing) })}</span>`}</p>
    ${table.answers.length > 0 && html`
      <div class="results-acts">
        <div class="segments" role="group" aria-label=${t("forms.view")}>
          <button type="button" aria-pressed=${view === "chart"} onClick=${() => setView("chart")}>${t("forms.chart")}</button>
          <button type="button" aria-pressed=${view === "table"} onClick=${() => setView("table")}>${t("forms.table")}</button>
        </div>
        <${ForSpreadsheet} account=${account} message=${message} file=${file} title=${table.form.title} />
      </div>
      ${table.more && html`<p class="hint"><${Icon} name="about" /> ${t("forms.more_answers")}</p>`}
      ${view === "chart" ? html`<${Chart} questions=${table.form.fields} answers=${counted} />` : html`<${Rows} table=${table} />`}`}
  </div>`;
}

/** Who reads the conversation and has not answered. */
function notYet(account, message, counted) {
  const { thread } = conversation.value ?? {};
  if (!thread || thread.id !== message.thread || thread.gid) return [];
  const there = new Set([accountOf(account)?.uid, ...counted.map((one) => one.author)]);
  return (thread.readers ?? []).filter((one) => !there.has(one.uid)).map((one) => visible(one.alias)).sort(new Intl.Collator(language.value).compare);
}

const shortList = (names) => (names.length <= NAMES_SHOWN ? joined(names) : t("list.and_more", { names: joined(names.slice(0, NAMES_SHOWN)), count: names.length - NAMES_SHOWN }));

// -- the chart: a table, whose figures are drawn beside ------------------------------------------------------------------
function Chart({ questions, answers }) {
  return html`<div class="charts">${questions.map((one, place) => html`<${Figure} key=${one.name} question=${one} place=${place} answers=${answers} />`)}</div>`;
}

function Figure({ question, place, answers }) {
  const { bars, answered, note, words } = figuresOf(question, answers.map((one) => ({ who: visible(one.alias), value: one.values[place] })));
  const most = Math.max(1, ...bars.map((one) => one.count));
  const share = (count) => (answered ? count / answered : 0).toLocaleString(language.value, { style: "percent", maximumFractionDigits: 0 });
  return html`<figure class="figure">
    <figcaption><bdi>${asked(question)}</bdi> <span class="muted">${t("forms.answered_by", { count: answered })}</span></figcaption>
    ${bars.length > 0 && answered > 0 && html`<table class="bars">
      <caption class="spoken">${asked(question)}</caption>
      <thead><tr><th scope="col"><span class="spoken">${t("forms.answer")}</span></th><th scope="col"><span class="spoken">${t("forms.how_often")}</span></th></tr></thead>
      <tbody>${bars.map(({ label, count }, row) => html`<tr key=${row}>
        <th scope="row"><bdi>${label}</bdi></th>
        <td><div class="tally-place"><svg class="tally" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true"><rect class="ground" width="100" height="8" /><rect class="length" width=${(100 * count) / most} height="8" /></svg>
          <span class="figure-count">${count.toLocaleString(language.value)} <span class="muted">${share(count)}</span></span></div></td></tr>`)}</tbody>
    </table>`}
    ${words.length > 0 && html`<ul class="said-words">${words.map(({ who, text }) => html`<li><bdi class="muted">${who}</bdi> <span dir="auto">${shortened(text)}</span></li>`)}</ul>
      ${answered > words.length && html`<p class="hint">${t("forms.more_words", { count: answered - words.length })}</p>`}`}
    ${note && html`<p class="hint">${note}</p>`}
  </figure>`;
}

const shortened = (text) => (text.length > CELL_CHARACTERS ? `${text.slice(0, CELL_CHARACTERS)}…` : text);

// -- the table --------------------------------------------------------------------------------------------------------------
function Rows({ table }) {
  const [order, setOrder] = useState({ by: -1, down: true });
  const [shown, setShown] = useState(ROWS_SHOWN);
  const questions = table.form.fields;
  const rows = useMemo(() => sorted(table.answers, questions, order), [table, order]);
  const sortBy = (by) => setOrder({ by, down: order.by === by ? !order.down : false });
  const head = (by, label, type = "") => html`<th scope="col" class=${type === "number" || type === "integer" ? "number" : ""} aria-sort=${order.by === by ? (order.down ? "descending" : "ascending") : undefined}>
    <button type="button" class="sort" onClick=${() => sortBy(by)}><bdi>${label}</bdi><span aria-hidden="true">${order.by === by ? (order.down ? "▾" : "▴") : ""}</span></button></th>`;
  return html`<div class="scroll results-table" tabindex="0" role="group" aria-label=${t("forms.table_of", { title: titleOf(table.form.title) })}>
    <table class="table dense"><thead><tr>${head(-2, t("forms.who"))}${head(-1, t("forms.when"))}${questions.map((one, place) => head(place, asked(one), one.type))}</tr></thead>
      <tbody>${rows.slice(0, shown).map((one) => html`<tr key=${one.message} class=${one.replaced ? "replaced" : ""}>
        <th scope="row"><bdi>${visible(one.alias)}</bdi>${one.replaced && html` <span class="badge">${t("forms.replaced")}</span>`}</th>
        <td><time datetime=${one.posted} title=${fullMoment(one.posted)}>${moment(one.posted)}</time></td>
        ${questions.map((question, place) => html`<td class=${typeof one.values[place] === "number" ? "number" : ""}><span dir="auto">${shortened(answerText(question, one.values[place]))}</span></td>`)}
      </tr>`)}</tbody></table></div>
    ${rows.length > shown && html`<p><button class="button small" type="button" onClick=${() => setShown(shown + ROWS_SHOWN)}>${t("forms.more_rows", { count: Math.min(ROWS_SHOWN, rows.length - shown) })}</button></p>`}`;
}

/** By who (-2), when (-1), or a question; who has not answered it comes last, whichever way. */
function sorted(answers, questions, { by, down }) {
  const collator = new Intl.Collator(language.value, { numeric: true });
  const of = (one) => (by === -2 ? one.alias : by === -1 ? one.posted : typeof one.values[by] === "number" ? one.values[by] : rawText(questions[by], one.values[by]));
  const compared = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : collator.compare(String(a), String(b)));
  const keyed = answers.map((one) => ({ one, key: of(one) }));
  keyed.sort((a, b) => (a.key === "" ? 1 : 0) - (b.key === "" ? 1 : 0) || (down ? -1 : 1) * compared(a.key, b.key));
  return keyed.map(({ one }) => one);
}

/** Days are sorted as they are kept. */
const rawText = (question, value) => (question.type === "date" ? (value ?? "") : answerText(question, value));

// -- for a spreadsheet ------------------------------------------------------------------------------------------------------
/** The engine writes it: what a spreadsheet would run stands in it as text. */
function ForSpreadsheet({ account, message, file, title }) {
  const csv = () => call("forms.csv", { account, ffn: file.form, message: message.id, place: file.place }).then(({ text }) => text);
  const copy = () => csv().then((text) => navigator.clipboard.writeText(text)).then(() => say(t("forms.copied")), sayProblem);
  const keep = () =>
    csv().then((text) => {
      const marked = new Blob(["\ufeff", text], { type: "text/csv;charset=utf-8" }); // marked, else a spreadsheet guesses at its letters
      const leads = document.createElement("a");
      leads.href = URL.createObjectURL(marked);
      leads.download = `${visible(titleOf(title)).replace(/[\\/:*?"<>|]+/g, " ").trim().slice(0, 60) || "answers"}.csv`;
      leads.click();
      setTimeout(() => URL.revokeObjectURL(leads.href), FORGET_AFTER_MS);
    }, sayProblem);
  return html`<button class="button small" type="button" onClick=${keep}><${Icon} name="file" /> ${t("forms.keep_csv")}</button>
    <button class="button small quiet" type="button" onClick=${copy}><${Icon} name="copy" /> ${t("forms.copy_csv")}</button>`;
}
