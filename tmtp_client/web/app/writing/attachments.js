// SPDX-License-Identifier: AGPL-3.0-or-later
/** The files of a message that is being written: those that are here, and those on their way. */

import { html, Icon, useRef } from "../base/html.js";
import { size, visible } from "../base/text.js";
import { t } from "../base/words.js";
import { sentence } from "../controls/controls.js";

/** @param {{writing: any}} of what `useWriting` gives */
export function Attachments({ writing }) {
  const { draft, uploads, leaveOut } = writing;
  if (!draft.files.length && !uploads.underway.length) return null;
  const named = (file) => draft.staged.find((one) => one.file === file) ?? { file, name: t("writing.a_file"), size: null };
  return html`<ul class="attachments" aria-label=${t("writing.files")}>
    ${draft.files.map(named).map((one) => html`<li key=${one.file}>
      <${Icon} name="file" /><span class="file-name"><bdi>${visible(one.name)}</bdi>${one.size !== null && html` <small class="muted">${size(one.size)}</small>`}</span>
      <button class="button quiet small" type="button" aria-label=${t("writing.leave_out", { name: one.name })} onClick=${() => leaveOut(one.file)}><${Icon} name="close" /></button></li>`)}
    ${uploads.underway.map((one) => html`<li key=${`up${one.id}`}>
      <${Icon} name=${one.problem ? "warn" : "file"} /><span class="file-name"><bdi>${visible(one.name)}</bdi>
        ${one.problem
          ? html`<small class="wrong" role="alert">${t("writing.file_failed")} ${sentence(one.problem)}</small>`
          : html`<progress max=${one.size || 1} value=${one.have} aria-label=${t("writing.file_coming", { name: one.name })}></progress>`}</span>
      <button class="button quiet small" type="button" aria-label=${t("writing.leave_out", { name: one.name })} onClick=${() => uploads.cancel(one.id)}><${Icon} name="close" /></button></li>`)}
  </ul>`;
}

/** @param {{onFiles: (files: File[]) => void}} of */
export function AttachButton({ onFiles }) {
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const chosen = (event) => {
    onFiles([...event.currentTarget.files]);
    event.currentTarget.value = "";
  };
  return html`<button class="button" type="button" onClick=${() => input.current?.click()}><${Icon} name="clip" /> ${t("writing.attach")}</button>
    <input ref=${input} type="file" multiple hidden onChange=${chosen} />`;
}
