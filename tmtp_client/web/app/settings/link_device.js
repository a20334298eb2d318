// SPDX-License-Identifier: AGPL-3.0-or-later
/** Adding a device, on one that the account has: a text goes there, a text comes back, both show the same number (B4). */

import { call } from "../base/api.js";
import { html, useEffect, useState } from "../base/html.js";
import { t } from "../base/words.js";
import { Copy, Dialog, Field, Notice, QrCode, Trouble, useRequest, wrongOf } from "../controls/controls.js";
import { FromPicture } from "../onboarding/from_picture.js";

/** @param {{account: any, onClose: () => void, onLinked: (devices: any) => void}} of */
export function LinkDevice({ account, onClose, onLinked }) {
  const [offer, setOffer] = useState(/** @type {any} */ (null));
  const [answer, setAnswer] = useState("");
  const [checked, setChecked] = useState(/** @type {any} */ (null));
  const [done, setDone] = useState(false);
  const { busy, problem, run } = useRequest();
  useEffect(() => {
    run(async () => setOffer(await call("devices.start_link", { account: account.name })));
  }, []);
  const check = (event) => {
    event.preventDefault();
    run(async () => setChecked(await call("devices.check_link", { account: account.name, answer: answer.trim() })));
  };
  const finish = (event) => {
    event.preventDefault();
    run(async () => {
      onLinked(await call("devices.finish_link", { account: account.name, answer: answer.trim(), fingerprint: checked.fingerprint }));
      setDone(true);
    });
  };
  return html`<${Dialog} label=${t("settings.link")} onClose=${onClose} wide><div class="confirm">
    <h2>${t("settings.link")}</h2>
    ${done
      ? html`<${Notice} kind="good" role="status"><strong>${t("settings.link_done")}</strong> ${t("settings.link_provisional")}<//>
          <div class="form-acts"><button class="button first" type="button" onClick=${onClose}>${t("settings.done")}</button></div>`
      : checked
        ? html`<form class="stacked" onSubmit=${finish}><p>${t("settings.link_compare")}</p>
            <p class="fingerprint" translate="no">${checked.fingerprint}</p>
            <${Trouble} problem=${problem} />
            <div class="form-acts"><button class="button" type="button" onClick=${() => setChecked(null)}>${t("settings.link_differs")}</button>
              <button class="button first" type="submit" disabled=${busy}>${t("settings.link_same")}</button></div></form>`
        : html`<p>${t("settings.link_first")}</p>
          ${offer && html`<div class="link-text"><${QrCode} svg=${offer.qr} label=${t("first.link_qr")} /><${Copy} text=${offer.text} label=${t("first.link_text")} /></div>`}
          <form class="stacked" onSubmit=${check}>
            <${FromPicture} of="link" onText=${setAnswer}><${Field} label=${t("settings.link_second")} wrong=${wrongOf(problem, "answer")}>
              ${(attributes) => html`<textarea ...${attributes} rows="3" class="link-input" dir="ltr" spellcheck=${false} value=${answer} onInput=${(event) => setAnswer(event.currentTarget.value)}></textarea>`}<//><//>
            <${Trouble} problem=${problem} except=${["answer"]} />
            <div class="form-acts"><button class="button" type="button" onClick=${onClose}>${t("writing.cancel")}</button>
              <button class="button first" type="submit" disabled=${busy || !answer.trim() || !offer}>${t("first.go_on")}</button></div>
          </form>`}
  </div><//>`;
}
