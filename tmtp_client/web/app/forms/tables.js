// SPDX-License-Identifier: AGPL-3.0-or-later
/** A form with its answers, as the engine has it: asked for once for all that show it, and again when one comes. */

import { call, listen } from "../base/api.js";
import { signal, useEffect } from "../base/html.js";
import { told, visible } from "../base/text.js";
import { t } from "../base/words.js";
import { language } from "../base/words.js";

const PAUSE_MS = 300; // answers that come within it are asked for at once

/** @typedef {{name: string, type: string, title: string, required?: boolean, choices?: string[], minimum?: number | null, maximum?: number | null, longest?: number, help?: string}} Question */
/** @typedef {{message: string, author: string, alias: string, posted: string, values: any[], replaced: boolean}} Answer */
/** @typedef {{form: {ffn: string, title: string, fields: Question[]}, answers: Answer[], more: boolean}} Table */

/** What is shown now, by key. @type {Map<string, {found: any, shown: number, stop: () => void}>} */
const here = new Map();

/**
 * The form that a message has, or answers. `table` is null until it is known, or where `problem` says why it is not.
 * @param {string} account @param {any} message @param {any} file which of its attachments
 * @returns {{table: Table | null, problem: any}}
 */
export function useTable(account, message, file) {
  const where = file.kind === "form" ? `${message.id} ${file.place}` : message.thread; // each answer of a thread: one table
  const key = `${account} ${file.form} ${where}`;
  let one = here.get(key);
  if (!one) here.set(key, (one = { found: signal({ table: null, problem: null }), shown: 0, stop: () => {} }));
  useEffect(() => {
    here.set(key, one);
    if (one.shown++ === 0) one.stop = keep(one.found, account, message, file);
    return () => {
      if (--one.shown > 0) return;
      one.stop();
      here.delete(key);
    };
  }, [key]);
  return one.found.value;
}

/** Ask now, and whenever it may have changed. */
function keep(found, account, message, file) {
  let timer = 0;
  const ask = () => {
    timer = 0;
    call("forms.answers", { account, ffn: file.form, message: message.id, place: file.place }).then(
      (table) => (found.value = { table: { form: table.form, answers: answersOf(table.rows), more: table.more }, problem: null }),
      (problem) => (found.value = { table: null, problem }),
    );
  };
  const soon = () => (timer ||= window.setTimeout(ask, PAUSE_MS));
  ask();
  const stop = listen(({ account: of, type, data }) => {
    if (of !== account) return;
    if (type === "gap" || (type === "removed" && data.thread === message.thread)) soon();
    else if (type === "message" && (data.message.attachments ?? []).some((one) => one.form === file.form)) soon();
  });
  return () => {
    clearTimeout(timer);
    stop();
  };
}

/** Rows as the API has them, oldest first; of each person the last one counts. @param {any[][]} rows @returns {Answer[]} */
function answersOf(rows) {
  const last = new Map(rows.map(([message, author]) => [author, message]));
  return rows.map(([message, author, alias, posted, ...values]) => ({
    message, author, alias, posted, values, replaced: last.get(author) !== message,
  }));
}

/** Whether anything in it fits these questions. @param {Answer} one */
export const fits = (one) => one.values.some((value) => value !== null && value !== undefined);

/** What a form is called. @param {string} title */
export const titleOf = (title) => told(title ?? "").trim() || t("forms.untitled");

/** What is asked. @param {Question} question */
export const asked = (question) => told(question.title ?? "").trim() || visible(question.name);

/**
 * What choices are called: as they are written, unless two would look alike.
 * @param {readonly string[]} choices @returns {string[]}
 */
export function labelsOf(choices) {
  const shown = choices.map((one) => told(one).trim());
  const times = new Map();
  for (const one of shown) times.set(one, (times.get(one) ?? 0) + 1);
  return shown.map((one, place) => (one && times.get(one) === 1 ? one : visible(choices[place])));
}

/** An answer to one question, as people write it; "" of none. @param {Question} question @param {any} value */
export function answerText(question, value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "boolean") return t(value ? "forms.yes" : "forms.no");
  if (typeof value === "number") return value.toLocaleString(language.value, { maximumFractionDigits: 20 });
  if (Array.isArray(value)) return value.map((one) => told(one)).join(", ");
  return question.type === "date" ? dateText(value) : told(value);
}

/** A day. @param {string} value as 2026-11-24 */
export const dateText = (value) =>
  new Intl.DateTimeFormat(language.value, { dateStyle: "medium", timeZone: "UTC" }).format(new Date(`${value}T00:00:00Z`));
