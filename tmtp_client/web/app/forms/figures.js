// SPDX-License-Identifier: AGPL-3.0-or-later
/** What was answered, counted: bars for each question, from the last answer of each person. */

import { language, t } from "../base/words.js";
import { answerText, dateText, labelsOf } from "./tables.js";

const BARS_MAX = 20;
const VALUES_MAX = 10; // more different numbers are put into ranges
const RANGES = 8;
const WORDS_SHOWN = 5; // of the latest texts

/** @typedef {{label: string, count: number}} Bar */
/** @typedef {{bars: Bar[], answered: number, note: string, words: {who: string, text: string}[]}} Figures */

/**
 * @param {import("./tables.js").Question} question
 * @param {{who: string, value: any}[]} said one of each person, oldest first
 * @returns {Figures}
 */
export function figuresOf(question, said) {
  const given = said.filter(({ value }) => value !== null && value !== undefined);
  const values = given.map(({ value }) => value);
  const made = { bars: [], answered: values.length, note: "", words: [] };
  const { type, choices = [] } = question;
  if (type === "yes") return { ...made, bars: [true, false].map((one) => ({ label: answerText(question, one), count: values.filter((value) => value === one).length })) };
  if (type === "one" || type === "many") return { ...made, ...chosen(choices, values) };
  if (type === "number" || type === "integer") return { ...made, ...numbers(values) };
  if (type === "date") return { ...made, bars: days(values) };
  return { ...made, words: given.slice(-WORDS_SHOWN).reverse().map(({ who, value }) => ({ who, text: answerText(question, value) })) };
}

/** How often each choice was chosen; of many choices the most chosen ones. */
function chosen(choices, values) {
  const times = new Map(choices.map((one) => [one, 0]));
  for (const one of values.flat()) times.set(one, (times.get(one) ?? 0) + 1);
  const labels = labelsOf(choices);
  const bars = choices.map((one, place) => ({ label: labels[place], count: times.get(one) }));
  if (bars.length <= BARS_MAX) return { bars };
  const most = bars.toSorted((a, b) => b.count - a.count).slice(0, BARS_MAX);
  return { bars: most, note: t("forms.most_chosen", { count: BARS_MAX, all: bars.length }) };
}

function numbers(values) {
  if (!values.length) return { bars: [] };
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length / 2;
  const median = sorted.length % 2 ? sorted[Math.floor(half)] : (sorted[half - 1] + sorted[half]) / 2;
  const mean = sorted.reduce((sum, one) => sum + one / sorted.length, 0);
  const [least, most] = [sorted[0], sorted.at(-1)];
  const note = t("forms.numbers", { least: exact(least), most: exact(most), mean: about(mean), median: about(median) });
  const different = [...new Set(sorted)];
  if (different.length <= VALUES_MAX) return { note, bars: different.map((one) => ({ label: exact(one), count: sorted.filter((value) => value === one).length })) };
  const width = (most - least) / RANGES;
  const bars = Array.from({ length: RANGES }, (_, place) => ({ label: t("forms.range", { from: about(least + place * width), to: about(least + (place + 1) * width) }), count: 0 }));
  for (const one of sorted) bars[Math.min(RANGES - 1, Math.floor((one - least) / width))].count++;
  return { note, bars };
}

/** @param {number} number */
const exact = (number) => number.toLocaleString(language.value, { maximumFractionDigits: 20 });
/** @param {number} number */
const about = (number) => (Number.isInteger(number) ? exact(number) : number.toLocaleString(language.value, { maximumSignificantDigits: 4 }));

/** By days; where these are too many by months, then by years. */
function days(values) {
  const counted = (length) => {
    const times = new Map();
    for (const one of values.toSorted()) times.set(one.slice(0, length), (times.get(one.slice(0, length)) ?? 0) + 1);
    return [...times];
  };
  const length = [10, 7, 4].find((one) => counted(one).length <= BARS_MAX) ?? 4;
  return counted(length).slice(0, BARS_MAX).map(([day, count]) => ({ label: length === 10 ? dateText(day) : day, count }));
}
