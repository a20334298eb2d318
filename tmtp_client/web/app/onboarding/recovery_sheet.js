// SPDX-License-Identifier: AGPL-3.0-or-later
/** The recovery sheet: 24 words, shown once, to be printed or written down; the engine forgets them afterwards (B4). */

import { html, Icon, useState } from "../base/html.js";
import { language, t } from "../base/words.js";
import { QrCode } from "../controls/controls.js";

/**
 * @param {{account: any, words: string, qr: string, act: string, busy?: boolean, onTold: () => void}} of `account`: as the API
 *   has it; `act`: what the button says that follows
 */
export function RecoverySheet({ account, words, qr, act, busy = false, onTold }) {
  const [written, setWritten] = useState(false);
  const told = (event) => {
    event.preventDefault();
    onTold();
  };
  return html`<div class="recovery">
    <article class="card sheet" aria-label=${t("first.sheet")}>
      <div class="card-head"><h2>${t("first.sheet")}</h2><button class="button small screen-only" type="button" onClick=${() => print()}><${Icon} name="print" /> ${t("first.print")}</button></div>
      <div class="card-body">
        <ol class="words" translate="no">${words.split(/\s+/).map((word, place) => html`<li key=${place}>${word}</li>`)}</ol>
        <div class="sheet-facts">
          <${QrCode} svg=${qr} label=${t("first.sheet_qr")} />
          <dl class="facts">
            <dt>${t("first.sheet_name")}</dt><dd><bdi>${account.alias}</bdi></dd>
            <dt>${t("first.sheet_service")}</dt><dd><bdi>${account.service}</bdi><br /><code class="break">${account.link}</code></dd>
            <dt>${t("first.sheet_account")}</dt><dd><code class="break">${account.uid}</code></dd>
            <dt>${t("first.sheet_made")}</dt><dd>${new Date().toLocaleDateString(language.value, { dateStyle: "long" })}</dd>
          </dl>
        </div>
        <p class="muted">${t("first.sheet_keep")}</p>
      </div>
    </article>
    <form class="screen-only sheet-told" onSubmit=${told}>
      <label class="choice"><input type="checkbox" checked=${written} onChange=${(event) => setWritten(event.currentTarget.checked)} /> ${t("first.sheet_written")}</label>
      <button class="button first" type="submit" disabled=${!written || busy}>${act}</button>
    </form>
  </div>`;
}
