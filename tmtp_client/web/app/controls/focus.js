// SPDX-License-Identifier: AGPL-3.0-or-later
/** The focus goes to what one came for, however long that takes to be there. */

const PATIENCE_MS = 20_000;

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
