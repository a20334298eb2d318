// SPDX-License-Identifier: AGPL-3.0-or-later
/** Light or dark; and the service's look, of which the person may revise each part and sees it at once (B2). */

import { call } from "../base/api.js";
import { html, useEffect, useRef, useState } from "../base/html.js";
import { t } from "../base/words.js";
import { Choices, Trouble, useRequest } from "../controls/controls.js";
import { contrast, tokensOf } from "../shell/skin.js";
import { chooseTheme, chosenTheme } from "../shell/theme.js";

const COLOURS = ["background", "surface", "text", "muted", "accent", "on_accent"];
const SHAPES = {
  font: ["system", "sans", "humanist", "rounded", "serif", "slab", "mono"],
  headings: ["system", "sans", "humanist", "rounded", "serif", "slab", "mono"],
  spacing: ["compact", "normal", "wide"],
  corners: ["square", "soft", "round"],
};
const DEFAULTS = { font: "system", headings: "system", spacing: "normal", corners: "soft" };
const HOUSE = { /* as the design system has them: tokens.css */
  light: { background: "#f8f8f7", surface: "#ffffff", text: "#1b1c1e", muted: "#5b5d62", accent: "#3451c7", on_accent: "#ffffff" },
  dark: { background: "#101114", surface: "#17181c", text: "#ececee", muted: "#a3a6ad", accent: "#9db0ff", on_accent: "#101114" },
};
const ENOUGH = 4.5;
const WRITTEN = /^#[0-9a-f]{6}$/;
const SAVE_AFTER_MS = 400;

/** @param {{account: any}} of */
export function Appearance({ account }) {
  const [theme, setTheme] = useState(chosenTheme());
  const choose = (one) => {
    setTheme(one);
    chooseTheme(one);
  };
  const choices = ["", "light", "dark"].map((one) => [one, t(`settings.theme_${one || "system"}`)]);
  return html`<div class="stacked wide-gap">
    <section class="card narrow" aria-label=${t("settings.theme")}><div class="card-body"><${Choices} legend=${t("settings.theme")} name="theme" value=${theme} choices=${choices} onChange=${choose} /></div></section>
    <${SkinPanel} account=${account} />
  </div>`;
}

function SkinPanel({ account }) {
  const [skin, setSkin] = useState(/** @type {any} */ (null));
  const [scheme, setScheme] = useState(isDark() ? "dark" : "light");
  const { problem, run } = useRequest();
  const timer = useRef(0);
  const unsaved = useRef(/** @type {any} */ (null));
  const save = () => {
    clearTimeout(timer.current);
    const revised = unsaved.current;
    if (revised === null) return;
    unsaved.current = null;
    run(() => call("accounts.revise_skin", { account: account.name, revised }));
  };
  useEffect(() => {
    call("accounts.skin", { account: account.name }).then((found) => setSkin({ look: found.look ?? {}, revised: found.revised ?? {} }), () => {});
    return save;
  }, [account.name]);
  if (!skin) return null;
  const revise = (revised) => {
    setSkin({ ...skin, revised });
    unsaved.current = revised;
    clearTimeout(timer.current);
    timer.current = window.setTimeout(save, SAVE_AFTER_MS);
  };
  const { look, revised } = skin;
  const colour = (name) => revised[scheme]?.[name] ?? look[scheme]?.[name] ?? HOUSE[scheme][name];
  const setColour = (name, value) => revise({ ...revised, [scheme]: { ...revised[scheme], [name]: value } });
  const setShape = (name, value) => revise({ ...revised, [name]: value });
  const changed = Object.keys(revised).length > 0;
  return html`<section class="card" aria-labelledby="skin"><div class="card-head"><h2 id="skin">${t("settings.skin", { name: account.service })}</h2><p>${t("settings.skin_text")}</p></div>
    <div class="card-body skin-panel"><div class="stacked">
      <div class="segments" role="group" aria-label=${t("settings.skin_scheme")}>${["light", "dark"].map((one) => html`<button key=${one} type="button" aria-pressed=${scheme === one ? "true" : "false"} onClick=${() => setScheme(one)}>${t(`settings.theme_${one}`)}</button>`)}</div>
      <div class="skin-colours">${COLOURS.map((name) => html`<${Colour} key=${name} name=${name} value=${colour(name)} weak=${isWeak(name, colour)} onInput=${(value) => setColour(name, value)} />`)}</div>
      <div class="skin-shapes">${Object.entries(SHAPES).map(([name, all]) => html`<div class="field" key=${name}><label for="skin-${name}">${t(`settings.skin_${name}`)}</label>
        <select id="skin-${name}" value=${revised[name] ?? look[name] ?? DEFAULTS[name]} onChange=${(event) => setShape(name, event.currentTarget.value)}>
          ${all.map((one) => html`<option key=${one} value=${one}>${t(`settings.skin_${name === "headings" ? "font" : name}_${one}`)}</option>`)}</select></div>`)}</div>
      <${Trouble} problem=${problem} />
      <div class="form-acts"><button class="button" type="button" disabled=${!changed} onClick=${() => revise({})}>${t("settings.skin_reset")}</button></div>
    </div><${Sample} skin=${skin} scheme=${scheme} service=${account.service} /></div></section>`;
}

/** What of the look cannot be read as it was chosen: it is shown nearer to black or white. */
function isWeak(name, colour) {
  if (name === "on_accent") return contrast(colour("on_accent"), colour("accent")) < ENOUGH;
  if (!["text", "muted", "accent"].includes(name)) return false;
  return ["background", "surface"].some((ground) => contrast(colour(name), colour(ground)) < ENOUGH);
}

/** A colour, to be picked or to be written: not everybody can use what a browser opens to pick one. */
function Colour({ name, value, weak, onInput }) {
  const [written, setWritten] = useState(value);
  useEffect(() => setWritten(value), [value]);
  const write = (event) => {
    const text = event.currentTarget.value.trim().toLowerCase();
    setWritten(text);
    if (WRITTEN.test(text)) onInput(text);
  };
  return html`<div class="field"><label for="colour-${name}">${t(`settings.colour_${name}`)}</label>
    <div class="colour"><input id="colour-${name}" type="color" value=${value} aria-describedby=${weak ? `weak-${name}` : undefined} onInput=${(event) => onInput(event.currentTarget.value)} />
      <input class="written" dir="ltr" maxlength="7" spellcheck=${false} autocomplete="off" aria-label=${t("settings.colour_written", { name: t(`settings.colour_${name}`) })}
        aria-invalid=${WRITTEN.test(written) ? undefined : "true"} value=${written} onInput=${write} /></div>
    ${weak && html`<p class="hint" id="weak-${name}">${t("settings.colour_weak")}</p>`}</div>`;
}

/** A piece of a page in that look. Its properties are set on the element: the page's policy allows no style in markup. */
function Sample({ skin, scheme, service }) {
  const ref = useRef(/** @type {HTMLElement | null} */ (null));
  const tokens = tokensOf(skin);
  useEffect(() => {
    const { style } = ref.current;
    style.cssText = "";
    style.colorScheme = scheme;
    for (const [name, value] of Object.entries(tokens)) style.setProperty(name, value);
  }, [JSON.stringify(tokens), scheme]);
  return html`<div class="skin-sample" ref=${ref} role="group" aria-label=${t("settings.skin_sample")}>
    <strong class="sample-title">${service}</strong>
    <div class="card"><div class="card-body"><h3>${t("settings.sample_who")}</h3><p>${t("settings.sample_words")}</p><p class="muted">${t("settings.sample_beside")}</p>
      <div class="form-acts"><span class="button first">${t("writing.send")}</span><span class="badge">3</span></div></div></div></div>`;
}

const isDark = () => getComputedStyle(document.documentElement).colorScheme === "dark" || matchMedia("(prefers-color-scheme: dark)").matches;
