// SPDX-License-Identifier: AGPL-3.0-or-later
/** Where a link of a message leads, said before it is followed: the second, deliberate act (B6, D1). */

import { html, Icon, signal, useLayoutEffect, useRef } from "../base/html.js";
import { visible } from "../base/text.js";
import { t } from "../base/words.js";
import { say } from "../controls/saying.js";
import { select } from "../state/state.js";

const SAFE = /^(?:https?|mailto|tmtp):/i;

/** @type {import("../base/html.js").signal<string>} the address that is asked about */
const asked = signal("");

/**
 * A click or a key on a link of a message: ask. True where it was one.
 * @param {Event} event
 */
export function followLink(event) {
  const link = event.target instanceof Element ? event.target.closest("a[data-leads]") : null;
  if (!link || (event instanceof KeyboardEvent && event.key !== "Enter")) return false;
  event.preventDefault();
  event.stopPropagation();
  asked.value = link.dataset.leads;
  return true;
}

/** The host, or whom a mail goes to; in ASCII, as machines read it. @param {string} href */
function placeOf(href) {
  const url = new URL(href);
  return url.protocol === "mailto:" ? url.pathname : url.host;
}

/** The question. */
export function LinkAsked() {
  const dialog = useRef(null);
  const href = asked.value;
  useLayoutEffect(() => {
    if (href) dialog.current.showModal();
  }, [href]);
  if (!href || !SAFE.test(href) || !URL.canParse(href)) return null;
  const place = placeOf(href);
  const end = () => dialog.current.close();
  const copy = () => navigator.clipboard.writeText(href).then(() => say(t("thread.link_copied")), () => {}).then(end);
  const within = href.toLowerCase().startsWith("tmtp:");
  return html`<dialog ref=${dialog} aria-labelledby="link-title" aria-describedby="link-place" onClose=${() => (asked.value = "")}>
    <div class="confirm">
      <h2 id="link-title">${t(within ? "thread.link_invites" : "thread.link_leads")}</h2>
      <p id="link-place" class="link-place"><bdi>${visible(place)}</bdi></p>
      <p class="break link-whole" tabindex="0" role="group" aria-label=${t("thread.link_whole")}><code>${visible(href)}</code></p>
      ${place.includes("xn--") && html`<p class="wrong">${t("thread.link_letters")}</p>`}
      ${href.startsWith("http:") && html`<p>${t("thread.link_plain")}</p>`}
      <div class="form-acts">
        <button class="button" type="button" autofocus onClick=${end}>${t("main.cancel")}</button>
        <button class="button" type="button" onClick=${copy}><${Icon} name="copy" /> ${t("thread.link_copy")}</button>
        ${within
          ? html`<button class="button first" type="button" onClick=${() => (end(), select({ page: "join", query: { link: href } }))}>
              ${t("thread.link_join")}
            </button>`
          : html`<a class="button first" href=${href} target="_blank" rel="noopener noreferrer nofollow" onClick=${end}>
              ${t("thread.link_open")}
            </a>`}
      </div>
    </div>
  </dialog>`;
}
