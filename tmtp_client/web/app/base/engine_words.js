// SPDX-License-Identifier: AGPL-3.0-or-later
/**
 * The engine's sentences in another language (docs/decisions/0029). The engine speaks English; `words/LANGUAGE.engine.json`
 * has each of its sentences, as its source has it with {names} for what is put in, and the same in that language.
 *
 * A text is matched from its literal parts, left to right and in linear time, whatever it says. What is put in stays as it
 * is, save where a name says that it is a piece of a sentence. What no sentence fits is not known: it stays English.
 */

/** What is put in under these names are words of the engine's own; under all others somebody's name, a path, a number. */
const PIECES = new Set([
  "device", "hint", "majority", "mend", "others", "problem", "records", "right", "stands", "stood", "target", "what", "which", "who", "whose",
]);
const NUMBERS = new Set(["all", "count", "have", "most", "needed", "size"]); // nothing else is put in under these
const KEYS = new Set(["key"]); // nor anything with a blank in it under these
const LONGEST = 2000; // of what is looked at: the engine's sentences are shorter, and so is what is put into them
const DEEPEST = 6; // pieces within pieces
const COLONS = 6; // of a text, at which it is taken apart: whoever writes more of them wants to be waited for
const SENTENCES = 12; // one after the other
const POSSESSIVE = 2; // literal characters of a sentence that is hardly one: only where somebody's is looked for
const STEP = /^(?:[A-Z][A-Za-z]+|quota|entry|\d+|[a-z_]+(?:\.[a-z_]+)?): /; // of the wire, or an operation: not for people

/** @typedef {{parts: string[], names: string[], text: string, weight: number}} Sentence */

export class EngineWords {
  /** @param {Record<string, string>} catalogue @param {string} language */
  constructor(catalogue, language) {
    this.language = language;
    /** @type {Map<string, string>} */
    this.whole = new Map();
    /** @type {Sentence[]} what says most about what it fits comes first */
    this.open = [];
    for (const [english, text] of Object.entries(catalogue)) {
      const parts = english.split(/\{\w+\}/);
      if (parts.length === 1) this.whole.set(english, text);
      else this.open.push({ parts, names: [...english.matchAll(/\{(\w+)\}/g)].map((one) => one[1]), text, weight: parts.join("").length });
    }
    this.open.sort((one, other) => rank(other) - rank(one));
  }

  /** The text in this language; as it is where it is not known. @param {string} text */
  said(text) {
    this.seen = new Map(); // a piece is looked at once, in however many ways a text is taken apart
    return (text.length <= LONGEST && this.known(text, 0)) || text;
  }

  /** @param {string} text @param {number} depth @returns {string | null} */
  known(text, depth) {
    if (!text || depth > DEEPEST) return null;
    if (!this.seen.has(text)) {
      this.seen.set(text, null);
      const known = this.whole.get(text) ?? this.several(text, depth) ?? this.sentence(text, depth) ?? this.begun(text, depth);
      this.seen.set(text, known ?? this.afterStep(text, depth) ?? this.joined(text, depth));
    }
    return this.seen.get(text);
  }

  /** One sentence, whole. */
  sentence(text, depth, least = POSSESSIVE + 1) {
    const found = this.whole.get(text);
    if (found !== undefined) return found;
    for (const one of this.open) {
      const values = one.weight < least ? null : fit(one, text);
      if (values) return this.filled(one, values, depth);
    }
    return null;
  }

  /** One that begins with a capital here, and not in the source. */
  begun(text, depth) {
    if (!text) return null;
    const small = text[0].toLowerCase() + text.slice(1);
    const found = small === text ? null : this.sentence(small, depth);
    return found && found[0].toLocaleUpperCase(this.language) + found.slice(1);
  }

  afterStep(text, depth) {
    const step = STEP.exec(text);
    return step && this.known(text.slice(step[0].length), depth + 1);
  }

  /** Several sentences, if all of them are known. */
  several(text, depth) {
    const sentences = text.split(/(?<=[.!?]) (?=[A-Z])/);
    if (sentences.length === 1 || sentences.length > SENTENCES) return null;
    const known = sentences.map((one) => this.sentence(one, depth) ?? this.begun(one, depth));
    return known.every(Boolean) ? known.join(" ") : null;
  }

  /** A reason and what to do about it, with a colon in between. */
  joined(text, depth) {
    for (let at = text.indexOf(": "), left = COLONS; at > 0 && left; at = text.indexOf(": ", at + 2), left--) {
      const after = this.known(text.slice(at + 2), depth + 1);
      const before = after && this.known(text.slice(0, at), depth + 1);
      if (before) return `${before}: ${after}`;
    }
    return null;
  }

  /** @param {Sentence} one @param {string[]} values @param {number} depth */
  filled({ names, text }, values, depth) {
    const put = Object.fromEntries(names.map((name, place) => [name, this.value(name, values[place], depth)]));
    const said = text.replace(/\{(\w+)\}/g, (whole, name) => put[name] ?? whole);
    return PIECES.has(/^\{(\w+)\}/.exec(text)?.[1] ?? "") && said ? said[0].toLocaleUpperCase(this.language) + said.slice(1) : said;
  }

  value(name, value, depth) {
    if (NUMBERS.has(name)) return Number(value).toLocaleString(this.language);
    if (!PIECES.has(name)) return value;
    const known = name === "whose" ? this.sentence(value, depth, POSSESSIVE) : this.known(value, depth + 1);
    if (known) return known;
    const several = value.split(/, | and /);
    const found = several.map((one) => this.sentence(one, depth + 1) ?? this.begun(one, depth + 1));
    if (several.length === 1 || !found.some(Boolean)) return value;
    return new Intl.ListFormat(this.language).format(several.map((one, place) => found[place] ?? one));
  }
}

/** What begins with its own words before what begins with something put in; then by how much is its own. @param {Sentence} one */
const rank = ({ parts, weight }) => (parts[0] ? 10_000 : 0) + weight;

/**
 * What is put into a sentence where a text is that sentence; else null.
 * @param {Sentence} sentence
 * @param {string} text
 */
function fit({ parts, names }, text) {
  const last = parts[parts.length - 1];
  if (!text.startsWith(parts[0]) || !text.endsWith(last)) return null;
  const values = [];
  let at = parts[0].length;
  for (const part of parts.slice(1, -1)) {
    const found = text.indexOf(part, at);
    if (found < 0) return null;
    values.push(text.slice(at, found));
    at = found + part.length;
  }
  if (text.length - last.length < at) return null;
  values.push(text.slice(at, text.length - last.length));
  return values.every((value, place) => may(names[place], value)) ? values : null;
}

/** @param {string} name @param {string} value */
const may = (name, value) => (NUMBERS.has(name) ? /^\d+$/.test(value) : !KEYS.has(name) || /^\S+$/.test(value));
