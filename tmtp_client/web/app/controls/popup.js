// SPDX-License-Identifier: AGPL-3.0-or-later
/** A button that opens a small panel: closed by Escape, by a click elsewhere, or when what is in it was done. */

import { html, useEffect, useLayoutEffect, useRef, useState } from "../base/html.js";

/**
 * @param {object} of
 * @param {any} of.label what stands on the button
 * @param {string} of.name what it is called, where its label does not say so
 * @param {string} [of.className] of the button
 * @param {string} [of.id] of the button, for keys
 * @param {(close: () => void) => any} of.children what is in it
 */
export function Popup({ label, name, className = "button small quiet", id, children }) {
  const [isOpen, setOpen] = useState(false);
  const place = useRef(null);
  const button = useRef(null);
  const close = () => {
    setOpen(false);
    button.current?.focus();
  };
  // At once: what is typed next would act as keys of the page.
  useLayoutEffect(() => {
    if (isOpen) place.current.querySelector("[data-panel] :is(a, button, input, select)")?.focus();
  }, [isOpen]);
  useEffect(() => {
    if (!isOpen) return undefined;
    const outside = (event) => place.current && !place.current.contains(event.target) && setOpen(false);
    addEventListener("pointerdown", outside, true);
    addEventListener("focusin", outside, true);
    return () => {
      removeEventListener("pointerdown", outside, true);
      removeEventListener("focusin", outside, true);
    };
  }, [isOpen]);
  const keyed = (event) => {
    if (event.key === "Escape" && isOpen) {
      event.stopPropagation();
      event.preventDefault();
      close();
    } else if (isOpen && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      moveWithin(place.current, event);
    }
  };
  return html`<div class="popup" ref=${place} onKeyDown=${keyed}>
    <button ref=${button} id=${id} class=${className} type="button" aria-expanded=${isOpen} title=${name} aria-label=${name}
      onClick=${() => setOpen(!isOpen)}>${label}</button>
    ${isOpen && html`<div class="popup-panel" data-panel role="group" aria-label=${name}>${children(close)}</div>`}
  </div>`;
}

/** Up and down among what can be chosen. */
function moveWithin(place, event) {
  if (event.target.matches("input, select")) return;
  const all = [...place.querySelectorAll("[data-panel] :is(a, button, input)")];
  const at = all.indexOf(document.activeElement);
  if (at < 0) return;
  event.preventDefault();
  event.stopPropagation();
  all[(at + (event.key === "ArrowDown" ? 1 : all.length - 1)) % all.length].focus();
}
