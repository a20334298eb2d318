// SPDX-License-Identifier: AGPL-3.0-or-later
/** The focus goes to what one came for, however long that takes to be there; and it stays near where it was. */

const PATIENCE_MS = 20_000;
const SETTLED_MS = 150; // after the last change: whoever has a better place for the focus has put it there by then

/**
 * Once what one goes to is there; not if somebody has moved the focus meanwhile.
 * @param {() => any} attempt whether it is done
 * @param {Element | null} [before] what had the focus when that began
 */
export function soon(attempt, before = document.activeElement) {
  const started = Date.now();
  const again = () => {
    const moved = document.activeElement !== before && document.activeElement !== document.body;
    if (moved || attempt() || Date.now() - started > PATIENCE_MS) return;
    requestAnimationFrame(again);
  };
  requestAnimationFrame(() => requestAnimationFrame(again)); // what was there before is gone by then
}

/** What has the focus, in a part of the page that keeps it; what stands around that there, the nearest first; whether it was switched off. */
let had = /** @type {HTMLElement | null} */ (null);
let around = /** @type {HTMLElement[]} */ ([]);
let isOff = false;
let timer = 0;

/**
 * Keep the focus within a `data-keeps-focus`: a button gets it back that was switched off while one waited for its answer; and
 * where an act takes away what had it, as a first contact that was answered, it goes to what stands around that (WCAG 2.4.3).
 */
export function keepFocus() {
  addEventListener("focusin", ({ target }) => {
    forget();
    if (!(target instanceof HTMLElement) || !target.closest("[data-keeps-focus]")) return;
    had = target;
    for (let one = target.parentElement; one; one = one.parentElement?.closest("[data-keeps-focus] *, [data-keeps-focus]") ?? null) {
      if (one.matches("[data-keeps-focus], [data-message], section")) around.push(one);
    }
  });
  addEventListener("pointerdown", ({ target }) => void (had?.contains(/** @type {Node} */ (target)) || forget()), true);
  const observer = new MutationObserver(() => {
    clearTimeout(timer);
    if (had) timer = window.setTimeout(look, SETTLED_MS);
  });
  observer.observe(document, { childList: true, subtree: true, attributes: true, attributeFilter: ["disabled"] });
}

/** What is not in the page any more is not kept by this: at the lock, a conversation would be (B8). */
function forget() {
  had = null;
  around = [];
  isOff = false;
}

function look() {
  if (!had) return;
  if (had.isConnected) {
    if (had.matches(":disabled")) isOff = true;
    else if (isOff && document.activeElement === document.body) had.focus();
    return;
  }
  const near = around.find((one) => one.isConnected);
  forget();
  if (document.activeElement !== document.body || !near) return;
  if (!near.hasAttribute("tabindex")) near.tabIndex = -1;
  near.focus({ preventScroll: true });
}
