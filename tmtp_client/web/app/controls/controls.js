// SPDX-License-Identifier: AGPL-3.0-or-later
/** The parts that forms are made of: a field with its label, what went wrong, a question first, something to copy. */

import { html, Icon, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../base/html.js";
import { fromEngine, t } from "../base/words.js";

let lastId = 0;

/** An id of this page's own, for a label and what it labels. */
export const useId = (name = "c") => useMemo(() => `${name}-${++lastId}`, []);

/**
 * One request at a time: whether it is under way, what was wrong with the last one, and how to begin one.
 * @returns {{busy: boolean, problem: any, run: (work: () => Promise<any>) => Promise<any>, clear: () => void}}
 */
export function useRequest() {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(/** @type {any} */ (null));
  const run = async (work) => {
    setBusy(true);
    setProblem(null);
    try {
      return await work();
    } catch (error) {
      setProblem(error);
      return undefined;
    } finally {
      setBusy(false);
    }
  };
  return { busy, problem, run, clear: () => setProblem(null) };
}

/**
 * A label, a control, and what is to be known or was wrong about it. `children` makes the control of its attributes.
 * @param {{label: string, hint?: any, wrong?: string, optional?: boolean, children: (attributes: object) => any}} of
 */
export function Field({ label, hint = "", wrong = "", optional = false, children }) {
  const id = useId("field");
  const described = [hint && `${id}-hint`, wrong && `${id}-wrong`].filter(Boolean).join(" ");
  const attributes = { id, "aria-describedby": described || undefined, "aria-invalid": wrong ? "true" : undefined };
  return html`<div class="field">
    <label for=${id}>${label}${optional && html` <span class="muted">${t("writing.optional")}</span>`}</label>
    ${children(attributes)}
    ${hint && html`<p class="hint" id="${id}-hint">${hint}</p>`}
    ${wrong && html`<p class="wrong" id="${id}-wrong" role="alert">${wrong}</p>`}
  </div>`;
}

/**
 * What was not done, in the engine's words; nothing where nothing was wrong. A field that says it itself is left to it.
 * @param {{problem: any, except?: string[]}} of
 */
export function Trouble({ problem, except = [] }) {
  if (!problem || except.includes(problem.field)) return null;
  return html`<div class="notice bad" role="alert"><${Icon} name="warn" /><div>${sentence(problem.message)}</div></div>`;
}

/** @param {any} problem @param {string} field */
export const wrongOf = (problem, field) => (problem?.field === field ? sentence(problem.message) : "");

/** The engine's words as a sentence, in the person's language. @param {string} text */
export function sentence(text) {
  const whole = fromEngine(text.trim());
  return whole && whole[0].toLocaleUpperCase() + whole.slice(1) + (/[.!?…)]$/.test(whole) ? "" : ".");
}

/** @param {{kind?: string, icon?: string, children: any, role?: string}} of */
export function Notice({ kind = "", icon = kind === "good" ? "good" : kind ? "warn" : "about", children, role }) {
  return html`<div class="notice ${kind}" role=${role}><${Icon} name=${icon} /><div>${children}</div></div>`;
}

/** A text to be taken elsewhere. @param {{text: string, label: string}} of */
export function Copy({ text, label }) {
  const [said, setSaid] = useState("");
  const copy = () =>
    navigator.clipboard.writeText(text).then(
      () => setSaid(t("writing.copied")),
      () => setSaid(t("writing.copy_not_allowed")),
    );
  return html`<div class="copy">
    <code tabindex="0">${text}</code>
    <button class="button small screen-only" type="button" onClick=${copy}>
      <${Icon} name="copy" /><span aria-live="polite">${said || t("writing.copy")}</span><span class="spoken"> ${label}</span>
    </button>
  </div>`;
}

/**
 * A QR code that the engine drew: its squares are taken, and none of its markup.
 * @param {{svg: string, label: string}} of
 */
export function QrCode({ svg, label }) {
  const box = svg.match(/viewBox="([0-9 ]+)"/)?.[1] ?? "0 0 1 1";
  const squares = svg.match(/stroke="[^"]*" d="([MmHhVvZz0-9. -]+)"/)?.[1] ?? "";
  return html`<svg class="qr" viewBox=${box} role="img" aria-label=${label}><path d=${squares} /></svg>`;
}

/**
 * A window over the page: Escape and Cancel close it, focus goes in and comes back.
 * @param {{label: string, onClose: () => void, wide?: boolean, children: any}} of
 */
export function Dialog({ label, onClose, wide = false, children }) {
  const ref = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useLayoutEffect(() => {
    const dialog = ref.current;
    const before = /** @type {HTMLElement | null} */ (document.activeElement);
    dialog.showModal();
    return () => {
      dialog.close();
      before?.focus?.();
    };
  }, []);
  const cancel = (event) => {
    event.preventDefault();
    onClose();
  };
  return html`<dialog ref=${ref} class=${wide ? "wide" : ""} aria-label=${label} onCancel=${cancel} onKeyDown=${(event) => event.stopPropagation()}>${children}</dialog>`;
}

/**
 * Asks first. The button says the act.
 * @param {{title: string, text: any, act: string, danger?: boolean, busy?: boolean, problem?: any, onAct: () => void, onClose: () => void, children?: any}} of
 */
export function Confirm({ title, text, act, danger = true, busy = false, problem = null, onAct, onClose, children = null }) {
  const go = (event) => {
    event.preventDefault();
    onAct();
  };
  return html`<${Dialog} label=${title} onClose=${onClose}>
    <form class="confirm" onSubmit=${go}>
      <h2>${title}</h2>
      <p>${text}</p>
      ${children}
      <${Trouble} problem=${problem} />
      <div class="form-acts">
        <button class="button" type="button" onClick=${onClose}>${t("writing.cancel")}</button>
        <button class="button first ${danger ? "danger" : ""}" type="submit" disabled=${busy}>${act}</button>
      </div>
    </form>
  <//>`;
}

/** A switch with its words. @param {{label: string, hint?: string, checked: boolean, onChange: (on: boolean) => void, disabled?: boolean}} of */
export function Switch({ label, hint = "", checked, onChange, disabled = false }) {
  const id = useId("switch");
  const [wish, setWish] = useState(/** @type {boolean | null} */ (null)); // shown until it is known what became of it
  useEffect(() => {
    if (!disabled) setWish(null);
  }, [checked, disabled]);
  return html`<div class="switch">
    <label class="choice"><input type="checkbox" checked=${wish ?? checked} disabled=${disabled} aria-describedby=${hint ? id : undefined}
      onChange=${(event) => {
        setWish(event.currentTarget.checked);
        onChange(event.currentTarget.checked);
      }} /> ${label}</label>
    ${hint && html`<p class="hint" id=${id}>${hint}</p>`}
  </div>`;
}

/** One of a few. @param {{legend: string, name: string, value: string, choices: [string, string, string?][], onChange: (value: string) => void}} of */
export function Choices({ legend, name, value, choices, onChange }) {
  return html`<fieldset class="field"><legend>${legend}</legend>
    ${choices.map(([one, label, hint]) => html`<label class="choice ${hint ? "with-hint" : ""}" key=${one}>
      <input type="radio" name=${name} value=${one} checked=${value === one} onChange=${() => onChange(one)} />
      <span>${label}${hint && html`<small class="muted">${hint}</small>`}</span></label>`)}
  </fieldset>`;
}

/** A day and a time. @param {number} ms @param {string} language */
export const whenText = (ms, language) => new Date(ms).toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });
