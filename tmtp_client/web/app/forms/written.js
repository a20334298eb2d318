// SPDX-License-Identifier: AGPL-3.0-or-later
/** A form that is being made: a draft of it, what is missing in it, and how it is sent. */

import { t } from "../base/words.js";

export const QUESTIONS_MAX = 200; // these four as the engine has them
export const CHOICES_MAX = 200;
export const TITLE_MAX = 200;
export const HELP_MAX = 1000;
export const TYPES = ["text", "long", "one", "many", "yes", "integer", "number", "date"];

/** @typedef {import("./tables.js").Question} Question */
/** @typedef {{ffn: string, title: string, fields: Question[]}} Form */

/** @returns {Form} */
export const newForm = () => ({ ffn: "", title: "", fields: [newQuestion([])] });

/** @param {Question[]} others @returns {Question} */
export function newQuestion(others) {
  const numbers = others.map((one) => Number(one.name.slice(1))).filter(Number.isFinite);
  return { name: `q${Math.max(0, ...numbers) + 1}`, type: "text", title: "" };
}

/** Another type: what it does not know is left out. @param {Question} question @param {string} type */
export function retyped({ name, title, required, help, choices, minimum, maximum, longest }, type) {
  const made = { name, type, title, required, help };
  if (type === "one" || type === "many") return { ...made, choices: choices ?? [] };
  if (type === "number" || type === "integer") return { ...made, minimum, maximum };
  return type === "text" || type === "long" ? { ...made, longest } : made;
}

/** What was written, one a line, as choices. @param {readonly string[]} choices */
const clean = (choices) => [...new Set(choices.map((one) => one.trim()).filter(Boolean))];

/**
 * What is missing, by question: {title, choices, bounds}. Empty: nothing.
 * @param {Form} form @returns {Record<string, Record<string, string>>}
 */
export function missingIn(form) {
  const found = {};
  for (const { name, title, type, choices = [], minimum = null, maximum = null } of form.fields) {
    const wrong = {};
    if (!title.trim()) wrong.title = t("forms.wrong_words");
    if (type === "one" || type === "many") {
      const good = clean(choices);
      if (good.length < 2) wrong.choices = t("forms.wrong_few");
      else if (good.length > CHOICES_MAX) wrong.choices = t("forms.wrong_many", { count: CHOICES_MAX });
      else if (good.some((one) => [...one].length > TITLE_MAX)) wrong.choices = t("forms.wrong_choice", { count: TITLE_MAX });
    }
    if (minimum !== null && maximum !== null && minimum > maximum) wrong.bounds = t("forms.wrong_bounds");
    if (Object.keys(wrong).length) found[name] = wrong;
  }
  return found;
}

/**
 * As it is sent.
 * @param {Form} form @returns {Form}
 * @throws {{field: string, message: string}} where something is missing
 */
export function finished(form) {
  const count = Object.keys(missingIn(form)).length;
  if (count || !form.fields.length) throw Object.assign(new Error(count ? t("forms.not_finished", { count }) : t("forms.no_questions")), { field: "form" });
  const fields = form.fields.map((one) => ({
    ...one, title: one.title.trim(), help: one.help?.trim() ?? "", ...(one.choices ? { choices: clean(one.choices) } : {}),
  }));
  return { ...form, title: form.title.trim(), fields };
}
