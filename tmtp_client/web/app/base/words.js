// SPDX-License-Identifier: AGPL-3.0-or-later
/**
 * The page's words, in the person's language: one catalogue a language, `words/LANGUAGE.json`.
 *
 * A word is a text with {names}, or one text for each plural form (Intl.PluralRules), chosen by `count`. What a language
 * has not got is said in English. What the engine says is English, and has a catalogue of its own: engine_words.js.
 */

import { signal } from "./html.js";

export const LANGUAGES = ["en", "de"];
const RIGHT_TO_LEFT = new Set(["ar", "dv", "fa", "he", "ks", "ku", "ps", "sd", "ug", "ur", "yi"]);
const CHOSEN = "tmtp.language"; // of the browser's own keeping: nothing of a person's, and no other page reads it

/** The language that is spoken now. */
export const language = signal("en");
/** @type {import("./html.js").signal<Record<string, any>>} */
const catalogue = signal({});
let fallback = {};
/** @type {import("./html.js").signal<import("./engine_words.js").EngineWords | null>} null: as the engine says it */
const ofEngine = signal(null);
let plurals = new Intl.PluralRules("en");
let numbers = new Intl.NumberFormat("en");

/** Learn the words, of the language that was chosen, or of the browser's first one that is here. */
export async function learnWords() {
  const wanted = [localStorage.getItem(CHOSEN) ?? "", ...navigator.languages].map((one) => one.split("-")[0]);
  const name = wanted.find((one) => LANGUAGES.includes(one)) ?? "en";
  const own = name === "en" ? [] : [fetched(name), engineWords(name)];
  const [english, words, sentences] = await Promise.all([fetched("en"), ...own]);
  fallback = english;
  speak(name, words ?? english, sentences ?? null);
}

/**
 * Choose a language; "" is the browser's.
 * @param {string} chosen
 */
export async function chooseLanguage(chosen) {
  if (chosen) localStorage.setItem(CHOSEN, chosen);
  else localStorage.removeItem(CHOSEN);
  await learnWords();
}

/** What was chosen; "" is the browser's. */
export const chosenLanguage = () => localStorage.getItem(CHOSEN) ?? "";

/**
 * A word of the catalogue.
 * @param {string} key room.word
 * @param {Record<string, string | number>} [values] for its {names}; `count` chooses the plural form, too
 */
export function t(key, values = {}) {
  const found = at(catalogue.value, key) ?? at(fallback, key) ?? key;
  const text = typeof found === "string" ? found : (found[plurals.select(Number(values.count))] ?? found.other ?? key);
  return text.replace(/\{(\w+)\}/g, (whole, name) => shown(values[name]) ?? whole);
}

/**
 * What the engine said, in the person's language: why something was not done, what happened to a device.
 * @param {string} text as it came; never what a person wrote
 */
export const fromEngine = (text) => ofEngine.value?.said(text) ?? text;

/** Which way the language runs. */
export const dir = () => (RIGHT_TO_LEFT.has(language.value) ? "rtl" : "ltr");

/** @param {string} name @param {Record<string, any>} words @param {import("./engine_words.js").EngineWords | null} sentences */
function speak(name, words, sentences) {
  plurals = new Intl.PluralRules(name);
  numbers = new Intl.NumberFormat(name);
  language.value = name;
  catalogue.value = words;
  ofEngine.value = sentences;
  document.documentElement.lang = name;
  document.documentElement.dir = dir();
}

/** @param {string} name */
async function fetched(name) {
  const answer = await fetch(`/words/${name}.json`);
  return answer.ok ? answer.json() : {};
}

/** @param {string} name */
async function engineWords(name) {
  const [{ EngineWords }, sentences] = await Promise.all([import("./engine_words.js"), fetched(`${name}.engine`)]);
  return new EngineWords(sentences, name);
}

/** @param {any} words @param {string} key */
const at = (words, key) => key.split(".").reduce((room, name) => room?.[name], words);

/** @param {string | number | undefined} value */
const shown = (value) => (typeof value === "number" ? numbers.format(value) : value);
