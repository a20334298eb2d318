// SPDX-License-Identifier: AGPL-3.0-or-later
/** Others' words as they may stand in a page: nothing in them steers it, or looks like what it is not (D2). Times, sizes. */

import { language, t } from "./words.js";

const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte"];
const DAY_MS = 86_400_000;
const STEERING = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu;
// As the engine's rendering has it: joiners and direction marks stay, for scripts and emoji need them.
const UNSEEN = /[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\u{e0000}-\u{e0fff}]/gu;
const TURNING = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069\ue000-\uf8ff]/gu;
const PILED = /(\p{M}{4})\p{M}+/gu;

/** @param {string} character */
const spelled = (character) => (character === "\n" ? character : `\\u${character.codePointAt(0).toString(16).padStart(4, "0")}`);

/**
 * A name, of a person or a file, or a first contact: each control and format character spelled out.
 * @param {string} text
 */
export const visible = (text) => text.replace(STEERING, spelled).replace(PILED, "$1");

/**
 * A subject, or the beginning of a message: what is unseen left out, what would turn the line spelled out.
 * @param {string} text
 */
export const told = (text) => text.replace(UNSEEN, "").replace(TURNING, spelled).replace(PILED, "$1");

/** Formats, by what they format and how: one takes a tenth of a millisecond to be made. @type {Map<string, any>} */
const formats = new Map();

/**
 * @param {"DateTimeFormat" | "NumberFormat" | "ListFormat"} kind of Intl
 * @param {object} [options]
 */
function formatOf(kind, options) {
  const name = `${language.value} ${kind} ${JSON.stringify(options)}`;
  let found = formats.get(name);
  if (!found) formats.set(name, (found = new Intl[kind](language.value, options)));
  return found;
}

/**
 * When something was, short: the time today, the day this week, else the date.
 * @param {string | number} at as the service writes it, or milliseconds since 1970
 */
export function moment(at, now_ms = Date.now()) {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return "";
  const today = new Date(now_ms).setHours(0, 0, 0, 0);
  const format = (options) => formatOf("DateTimeFormat", options).format(date);
  if (date.getTime() >= today && date.getTime() < today + DAY_MS) return format({ hour: "numeric", minute: "2-digit" });
  if (date.getTime() < today && date.getTime() >= today - 6 * DAY_MS) return format({ weekday: "short" });
  const sameYear = date.getFullYear() === new Date(now_ms).getFullYear();
  return format(sameYear ? { day: "numeric", month: "short" } : { day: "numeric", month: "short", year: "numeric" });
}

/** When something was, in full. @param {string | number} at */
export function fullMoment(at) {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return "";
  return formatOf("DateTimeFormat", { dateStyle: "full", timeStyle: "short" }).format(date);
}

/** The day of something, for what separates days. @param {string | number} at */
export function day(at) {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return "";
  return formatOf("DateTimeFormat", { dateStyle: "full" }).format(date);
}

/** A size in octets, for people. @param {number} octets */
export function size(octets) {
  const power = Math.min(Math.floor(Math.log(Math.max(octets, 1)) / Math.log(1024)), UNITS.length - 1);
  const options = { style: "unit", unit: UNITS[power], unitDisplay: "short", maximumFractionDigits: power ? 1 : 0 };
  return formatOf("NumberFormat", options).format(octets / 1024 ** power);
}

/** Names one after the other, as the language joins them. @param {string[]} names */
export const joined = (names) => formatOf("ListFormat").format(names);

/** The first letters of a name, for a tile. @param {string} name */
export function initials(name) {
  const words = visible(name).split(/[\s._@-]+/u).filter((word) => /^[\p{L}\p{N}]/u.test(word));
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : words;
  return letters.map((word) => [...word][0].toUpperCase()).join("") || t("main.unnamed");
}
