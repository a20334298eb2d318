// SPDX-License-Identifier: AGPL-3.0-or-later
/**
 * A service's look, as tokens of the design system (B2): data, never a style sheet.
 *
 * The person's revision goes over the service's, token by token. Whatever either says, text keeps a contrast of 4.5:1
 * on what it stands on: what has less is moved towards black or white until it has.
 */

import { call, listen } from "../base/api.js";
import { signal } from "../base/html.js";

const COLOUR = /^#[0-9a-f]{6}$/;
const CONTRAST = 4.5;
const STEPS = 20;
const RAISED = 0.08; // of the text's colour, in what lies under the pointer, or behind somebody's initials
const OWN = {
  light: { background: "#f8f8f7", surface: "#ffffff", text: "#1b1c1e", muted: "#5b5d62", accent: "#3451c7", on_accent: "#ffffff" },
  dark: { background: "#101114", surface: "#17181c", text: "#ececee", muted: "#a3a6ad", accent: "#9db0ff", on_accent: "#101114" },
};
const STATES = {
  light: { good: "#1b6e45", warn: "#7d5200", bad: "#b3261e" },
  dark: { good: "#63cf98", warn: "#e5b64c", bad: "#ff9088" },
};
const FONTS = {
  sans: '"Noto Sans", "Helvetica Neue", "Liberation Sans", Arial, sans-serif',
  humanist: 'Optima, Candara, "Gill Sans", "Noto Sans", sans-serif',
  rounded: 'ui-rounded, "SF Pro Rounded", "Quicksand", "Nunito", "Varela Round", sans-serif',
  serif: 'ui-serif, Georgia, "Noto Serif", "Liberation Serif", serif',
  slab: 'Rockwell, "Roboto Slab", "DejaVu Serif", "Sitka Small", serif',
  mono: 'ui-monospace, "SF Mono", "DejaVu Sans Mono", monospace',
};
const CORNERS = { square: ["0", "0", "0"], round: ["0.625rem", "1rem", "1.375rem"] };
const SPACING = { compact: 0.8, wide: 1.2 };

/** @type {import("../base/html.js").signal<Record<string, {look: any, revised: any}>>} by account */
export const skins = signal({});

/** Ask for an account's look, unless it is here. @param {string} account */
export async function learnSkin(account, { again = false } = {}) {
  if (account in skins.peek() && !again) return;
  skins.value = { ...skins.peek(), [account]: skins.peek()[account] ?? { look: {}, revised: {} } };
  const found = await call("accounts.skin", { account }).catch(() => null);
  if (found) skins.value = { ...skins.peek(), [account]: { look: found.look ?? {}, revised: found.revised ?? {} } };
}

/** Follow revisions, from here or from another device. */
export function keepSkins() {
  listen(({ account, type, data }) => {
    if (type === "setting" && data.name === "skin") {
      const now = skins.value[account] ?? { look: {}, revised: {} };
      skins.value = { ...skins.value, [account]: { ...now, revised: data.value ?? {} } };
    } else if (type === "account" && data.account.state === "online" && !skins.peek()[account]?.look?.version) {
      learnSkin(account, { again: true });
    }
  });
}

/**
 * The custom properties of a look; {}: as the design system has it.
 * @param {{look: any, revised: any} | undefined} skin
 * @returns {Record<string, string>}
 */
export function tokensOf(skin) {
  const { look = {}, revised = {} } = skin ?? {};
  const has = (part) => part && typeof part === "object" && Object.keys(part).length > 0;
  if (!has(look) && !has(revised)) return {};
  const one = { ...look, ...revised };
  const light = palette("light", look.light, revised.light);
  const dark = palette("dark", look.dark, revised.dark);
  const tokens = {};
  if (has(look.light) || has(look.dark) || has(revised.light) || has(revised.dark)) {
    for (const name of Object.keys(light)) tokens[`--${name}`] = `light-dark(${light[name]}, ${dark[name]})`;
  }
  if (FONTS[one.font]) tokens["--font-text"] = FONTS[one.font];
  if (FONTS[one.headings]) tokens["--font-headings"] = FONTS[one.headings];
  if (CORNERS[one.corners]) CORNERS[one.corners].forEach((value, place) => (tokens[`--radius-${place + 1}`] = value));
  if (SPACING[one.spacing]) {
    [0.25, 0.5, 0.75, 1, 1.5, 2, 3].forEach((rem, place) => (tokens[`--space-${place + 1}`] = `${rem * SPACING[one.spacing]}rem`));
  }
  return tokens;
}

/** The design system's colours of a look, light or dark. */
function palette(scheme, ofService, ofPerson) {
  const own = OWN[scheme];
  const said = { ...(ofService ?? {}), ...(ofPerson ?? {}) };
  const pick = (name) => (COLOUR.test(said[name]) ? said[name] : own[name]);
  const [ground, surface] = [pick("background"), pick("surface")];
  const near = readable(pick("text"), [ground, surface]);
  const text = readable(near, [ground, surface, mixed(near, ground, RAISED), mixed(near, surface, RAISED)]);
  const sunken = mixed(text, ground, 0.05);
  const muted = readable(pick("muted"), [ground, surface, sunken]);
  const accent = readable(pick("accent"), [ground, surface]);
  const soft = softened(accent, surface, [accent, text]);
  const states = Object.fromEntries(Object.entries(STATES[scheme]).map(([name, colour]) => [name, readable(colour, [ground, surface])]));
  const softs = Object.fromEntries(Object.entries(states).map(([name, colour]) => [`${name}-soft`, softened(colour, surface, [colour, text])]));
  const onFill = contrast(pick("on_accent"), accent) >= CONTRAST ? pick("on_accent") : readable("#ffffff", [accent]);
  return {
    ground, surface, text, muted, accent, sunken, ...states, ...softs,
    "accent-soft": soft, "accent-fill": accent, "accent-fill-over": accent, "on-fill": onFill,
    line: mixed(text, surface, 0.13), "line-control": borders(muted, [ground, surface]),
  };
}

/** As much of a colour over a ground as leaves words readable on it. */
function softened(colour, ground, words) {
  for (let part = 0.14; part > 0; part -= 0.01) {
    const soft = mixed(colour, ground, part);
    if (words.every((one) => contrast(one, soft) >= CONTRAST)) return soft;
  }
  return ground;
}

/** The colour, or what is nearest to it on its way to black or white and can be read on all of these. */
function readable(colour, grounds) {
  const fits = (one) => grounds.every((ground) => contrast(one, ground) >= CONTRAST);
  const ends = ["#000000", "#ffffff"].sort((one, other) => least(other, grounds) - least(one, grounds));
  for (let step = 0; step <= STEPS; step += 1) {
    const moved = mixed(ends[0], colour, step / STEPS);
    if (fits(moved)) return moved;
  }
  return ends[0];
}

const borders = (colour, grounds) => (least(colour, grounds) >= 3 ? colour : readable(colour, grounds));
const least = (colour, grounds) => Math.min(...grounds.map((ground) => contrast(colour, ground)));

/** @param {string} colour @returns {number[]} */
const parts = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

/** So much of one over the other. */
function mixed(one, other, part) {
  const [a, b] = [parts(one), parts(other)];
  return `#${a.map((value, at) => Math.round(value * part + b[at] * (1 - part)).toString(16).padStart(2, "0")).join("")}`;
}

/** WCAG 2.2: relative luminance, and the ratio of two. */
function luminance(colour) {
  const [r, g, b] = parts(colour).map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

export function contrast(one, other) {
  const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}
