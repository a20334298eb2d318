// SPDX-License-Identifier: AGPL-3.0-or-later
/** The questions of a form, each with what it is answered by; and what is wrong with an answer before it is sent. */

import { html, useRef } from "../base/html.js";
import { told } from "../base/text.js";
import { language, t } from "../base/words.js";
import { Field, useId } from "../controls/controls.js";
import { asked, labelsOf } from "./tables.js";

const BUTTONS_MAX = 8; // more choices than these are a list to choose from, or scroll
const DRAWN_MAX = 12; // of more questions those are drawn that come into sight
const NUMBER_MAX = 2 ** 53; // as the engine has it
const TEXT_MAX = 20_000;

/**
 * @param {object} of
 * @param {import("./tables.js").Question[]} of.questions
 * @param {Record<string, any>} of.values as typed
 * @param {Record<string, string>} of.wrong what is said beside each
 * @param {(name: string, value: any) => void} of.onChange
 */
export function Questions({ questions, values, wrong, onChange }) {
  const latest = useRef(onChange);
  latest.current = onChange;
  const made = useRef(new Map());
  const same = (question) => {
    const props = { question, value: values[question.name], wrong: wrong[question.name] ?? "", language: language.value };
    const was = made.current.get(question.name);
    if (was && Object.keys(props).every((name) => was.props[name] === props[name])) return was.element; // as one types, of hundreds one changes
    const element = html`<${Asked} key=${question.name} ...${props} onChange=${(value) => latest.current(question.name, value)} />`;
    made.current.set(question.name, { props, element });
    return element;
  };
  return html`<div class=${questions.length > DRAWN_MAX ? "questions many" : "questions"}>${questions.map(same)}</div>`;
}

function Asked({ question, value, wrong, onChange }) {
  const { type, choices = [] } = question;
  if (type === "yes") return html`<${OneOf} question=${question} wrong=${wrong} onChange=${onChange} value=${value} options=${[[true, t("forms.yes")], [false, t("forms.no")]]} />`;
  const labels = labelsOf(choices);
  if (type === "many") return html`<${SomeOf} question=${question} wrong=${wrong} onChange=${onChange} value=${value} labels=${labels} />`;
  if (type === "one" && choices.length <= BUTTONS_MAX) {
    return html`<${OneOf} question=${question} wrong=${wrong} onChange=${onChange} value=${value} options=${choices.map((one, place) => [one, labels[place]])} />`;
  }
  return html`<${Field} label=${html`<${Words} question=${question} />`} hint=${hintOf(question)} wrong=${wrong}>
    ${(attributes) => html`<${Typed} attributes=${{ ...attributes, "data-question": question.name, "aria-required": question.required ? "true" : undefined }}
      question=${question} value=${value} labels=${labels} onChange=${onChange} />`}
  <//>`;
}

/** What is asked, and whether it must be answered. */
const Words = ({ question }) =>
  html`<bdi class="question-words">${asked(question)}</bdi>${question.required && html` <span class="required">${t("forms.required")}</span>`}`;

function Typed({ attributes, question, value, labels, onChange }) {
  const changed = (event) => onChange(event.currentTarget.value);
  const { type, choices = [], minimum, maximum } = question;
  const text = value ?? "";
  if (type === "long") return html`<textarea ...${attributes} rows="3" dir="auto" value=${text} onInput=${changed}></textarea>`;
  if (type === "date") return html`<input ...${attributes} type="date" value=${text} onInput=${changed} />`;
  if (type === "one") {
    return html`<select ...${attributes} value=${text} onChange=${changed}><option value="">${t("forms.choose")}</option>
      ${choices.map((one, place) => html`<option key=${one} value=${one}>${labels[place]}</option>`)}</select>`;
  }
  if (type === "number" || type === "integer") {
    return html`<input ...${attributes} type="number" step=${type === "integer" ? "1" : "any"} min=${minimum ?? undefined} max=${maximum ?? undefined} value=${text} onInput=${changed} />`;
  }
  return html`<input ...${attributes} type="text" dir="auto" autocomplete="off" value=${text} onInput=${changed} />`;
}

/** One of a few; none, too, where it need not be answered. */
function OneOf({ question, value, options, wrong, onChange }) {
  const name = useId("one");
  const all = question.required ? options : [...options, [undefined, t("forms.no_answer")]];
  return html`<${Group} question=${question} wrong=${wrong} role="radiogroup">
    ${all.map(([one, label], place) => html`<label class="choice" key=${String(one)}><input type="radio" name=${name} value=${place}
      checked=${one === undefined ? !options.some(([other]) => other === value) : value === one} onChange=${() => onChange(one)} /><bdi>${label}</bdi></label>`)}
  <//>`;
}

function SomeOf({ question, value, labels, wrong, onChange }) {
  const chosen = new Set(Array.isArray(value) ? value : []);
  const turn = (one, on) => {
    if (on) chosen.add(one);
    else chosen.delete(one);
    onChange(question.choices.filter((other) => chosen.has(other)));
  };
  return html`<${Group} question=${question} wrong=${wrong}>
    ${question.choices.map((one, place) => html`<label class="choice" key=${one}><input type="checkbox" checked=${chosen.has(one)}
      onChange=${(event) => turn(one, event.currentTarget.checked)} /><bdi>${labels[place]}</bdi></label>`)}
  <//>`;
}

function Group({ question, wrong, role = undefined, children }) {
  const id = useId("group");
  const hint = hintOf(question);
  const described = [hint && `${id}-hint`, wrong && `${id}-wrong`].filter(Boolean).join(" ");
  return html`<fieldset class="field" role=${role} data-question=${question.name} aria-describedby=${described || undefined}
      aria-required=${role && question.required ? "true" : undefined} aria-invalid=${role && wrong ? "true" : undefined}>
    <legend><${Words} question=${question} /></legend>
    ${hint && html`<p class="hint" id=${`${id}-hint`}><bdi>${hint}</bdi></p>`}
    <div class="options">${children}</div>
    ${wrong && html`<p class="wrong" id=${`${id}-wrong`} role="alert">${wrong}</p>`}
  </fieldset>`;
}

/** What is to be known before one answers. @param {import("./tables.js").Question} question */
function hintOf({ help = "", type, minimum = null, maximum = null, longest = 0 }) {
  const said = [told(help).trim()];
  if (minimum !== null && maximum !== null) said.push(t("forms.hint_between", { minimum, maximum }));
  else if (minimum !== null) said.push(t("forms.hint_minimum", { minimum }));
  else if (maximum !== null) said.push(t("forms.hint_maximum", { maximum }));
  if (longest && (type === "text" || type === "long")) said.push(t("forms.hint_longest", { count: longest }));
  return said.filter(Boolean).join(" · ");
}

/** What was typed, as it is sent: numbers are numbers. @param {import("./tables.js").Question[]} questions @param {Record<string, any>} values */
export function sent(questions, values) {
  const made = {};
  for (const { name, type } of questions) {
    const value = values[name];
    if (value === undefined || value === null || value === "" || (Array.isArray(value) && !value.length)) continue;
    made[name] = type === "number" || type === "integer" ? Number(value) : value;
  }
  return made;
}

/**
 * What is wrong with what was typed, by question: the same that the engine would say, beside it and in the person's language.
 * @param {import("./tables.js").Question[]} questions @param {Record<string, any>} values
 * @param {Element | null} place where they stand: a browser does not tell what is no number, only that something is wrong
 * @returns {Record<string, string>}
 */
export function wrongIn(questions, values, place) {
  const half = new Set([...(place?.querySelectorAll("input[data-question]") ?? [])].filter((one) => one.validity.badInput).map((one) => one.dataset.question));
  const found = {};
  for (const one of questions) {
    const said = half.has(one.name) ? t(`forms.wrong_${one.type}`) : wrongWith(one, values[one.name]);
    if (said) found[one.name] = said;
  }
  return found;
}

/** @param {import("./tables.js").Question} question @param {any} value @returns {string} */
function wrongWith({ type, required, minimum = null, maximum = null, longest = 0 }, value) {
  if (value === undefined || value === null || value === "" || (Array.isArray(value) && !value.length)) {
    return required ? t(type === "many" || type === "one" || type === "yes" ? "forms.wrong_none" : "forms.wrong_empty") : "";
  }
  if (type === "text" || type === "long") {
    const over = [...value].length - (longest || TEXT_MAX);
    return over > 0 ? t("forms.wrong_long", { count: over }) : "";
  }
  if (type !== "number" && type !== "integer") return "";
  const number = Number(value);
  if (Number.isNaN(number) || Math.abs(number) > NUMBER_MAX || (type === "integer" && !Number.isInteger(number))) return t(`forms.wrong_${type}`);
  if (minimum !== null && number < minimum) return t("forms.hint_minimum", { minimum });
  return maximum !== null && number > maximum ? t("forms.hint_maximum", { maximum }) : "";
}

/** The focus goes to the first question that is answered wrongly. @param {Element | null} place @param {Record<string, string>} wrong */
export function focusWrong(place, wrong) {
  const first = [...(place?.querySelectorAll("[data-question]") ?? [])].find((one) => one.dataset.question in wrong);
  (first?.localName === "fieldset" ? first.querySelector("input") : first)?.focus();
}
