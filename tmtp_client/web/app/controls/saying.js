// SPDX-License-Identifier: AGPL-3.0-or-later
/** What is said in passing: what became of an act, with a way to take it back. Heard by screen readers, too. */

import { html, Icon, signal, useEffect } from "../base/html.js";
import { fromEngine, t } from "../base/words.js";

const SHOWN_MS = 8000;

/** @type {import("../base/html.js").signal<{text: string, undo?: () => void, bad?: boolean} | null>} */
const said = signal(null);

/**
 * Say something.
 * @param {string} text
 * @param {{undo?: () => void, bad?: boolean}} [more] undo: takes it back; bad: it went wrong
 */
export function say(text, { undo, bad = false } = {}) {
  said.value = { text, undo, bad };
}

/** Say why something did not work. @param {Error} problem */
export const sayProblem = (problem) => say(fromEngine(problem.message), { bad: true });

/** Take back what was said last, if it can be. */
export function undoLast() {
  const undo = said.value?.undo;
  said.value = null;
  undo?.();
}

/** Where it is said. One region that is always there: what is put in later may not be heard. */
export function Said() {
  const now = said.value;
  useEffect(() => () => void (said.value = null), []); // it goes with the page: at the lock, too (B8)
  useEffect(() => {
    if (!now || now.bad) return undefined; // what went wrong stays until it was seen
    const timer = setTimeout(() => (said.value = null), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [now]);
  return html`<div class="said-place">
    <div role="status" aria-live="polite" class=${now ? `said${now.bad ? " bad" : ""}` : ""}>
      ${now && html`<${Icon} name=${now.bad ? "warn" : "good"} /><span>${now.text}</span>`}
      ${now?.undo && html`<button class="button small" type="button" onClick=${undoLast}>${t("main.undo")}</button>`}
      ${now && html`<button class="button small quiet" type="button" onClick=${() => (said.value = null)}>
        <${Icon} name="close" /><span class="spoken">${t("main.dismiss")}</span>
      </button>`}
    </div>
  </div>`;
}
