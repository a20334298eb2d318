// SPDX-License-Identifier: AGPL-3.0-or-later
/** What is at hand in the open conversation: the message that keys act upon, and what is done with one. */

import { signal } from "../base/html.js";
import { soon } from "../controls/focus.js";
import { whenLocked } from "../state/state.js";

/** The message that keys act upon; "": the last. */
export const currentMessage = signal("");
/** Which message is answered; null: the conversation. @type {import("../base/html.js").signal<any>} */
export const replyTo = signal(null);
/** Which message is handed on; null: none. @type {import("../base/html.js").signal<any>} */
export const forwarding = signal(null);

whenLocked(() => {
  replyTo.value = null;
  forwarding.value = null;
});

/** Answer a message. @param {any} message */
export function reply(message) {
  replyTo.value = message;
  soon(() => {
    const area = /** @type {HTMLElement | null} */ (document.querySelector('[data-part="compose"] textarea'));
    area?.focus();
    return area;
  });
}

/** Hand a message on. @param {any} message */
export function forward(message) {
  forwarding.value = message;
}
