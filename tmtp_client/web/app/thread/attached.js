// SPDX-License-Identifier: AGPL-3.0-or-later
/** Files of a message: how much of each is here, looked at in the page on request, or kept. Its forms are a room of their own. */

import { listen } from "../base/api.js";
import { html, Icon, useEffect, useState } from "../base/html.js";
import { size, visible } from "../base/text.js";
import { t } from "../base/words.js";
import { Fetched } from "../controls/fetched.js";

const IMAGES = new Set(["image/gif", "image/jpeg", "image/png", "image/webp"]);
const AUDIO = new Set(["audio/flac", "audio/mp4", "audio/mpeg", "audio/ogg", "audio/wav"]);
const VIDEO = new Set(["video/mp4", "video/webm"]);
const TEXT = new Set(["text/csv", "text/plain"]);

/** How a file is looked at; "": only kept. @param {any} file */
function viewOf({ media = "", kind }) {
  if (kind !== "file") return "";
  if (IMAGES.has(media)) return "image";
  if (AUDIO.has(media)) return "audio";
  if (VIDEO.has(media)) return "video";
  if (TEXT.has(media)) return "text";
  return media === "application/pdf" ? "pdf" : "";
}

export function Attached({ account, message }) {
  const isForm = (file) => file.kind !== "file" && file.have >= file.size && !message.plain;
  const files = message.attachments.filter((file) => !isForm(file));
  return html`
    ${files.length > 0 && html`<ul class="files" aria-label=${t("thread.files")}>
      ${files.map((file) => html`<li key=${file.place}><${File} account=${account} message=${message} file=${file} /></li>`)}
    </ul>`}
    ${message.attachments.filter(isForm).map((file, place) => html`<${Fetched} key=${file.place} from="forms/in_message" part="FormInMessage" account=${account} message=${message} file=${file} place=${place} />`)}`;
}

function File({ account, message, file }) {
  const [isOpen, setOpen] = useState(false);
  const have = useProgress(account, `${message.id}/${file.place}`, file.have);
  const name = visible(file.name) || t("thread.unnamed_file");
  const address = `/files/${encodeURIComponent(account)}/${encodeURIComponent(message.id)}/${file.place}`;
  const view = viewOf(file);
  const whole = have >= file.size;
  const here = whole && !message.plain;
  return html`<div class="file">
    <div class="file-line">
      <${Icon} name=${file.kind === "file" ? "file" : "audit"} />
      <span class="file-name"><bdi>${name}</bdi> <span class="muted">${file.kind === "file" ? size(file.size) : t(`thread.file_${file.kind}`)}</span></span>
      ${here && view && html`<button class="button small" type="button" aria-expanded=${isOpen} onClick=${() => setOpen(!isOpen)}>
        ${t(isOpen ? "thread.file_close" : "thread.file_open")}<span class="spoken"> ${name}</span></button>`}
      ${here && html`<a class="button small" href=${address} download=${file.name}>${t("thread.file_keep")}<span class="spoken"> ${name}</span></a>`}
    </div>
    ${!whole && html`<p class="hint"><progress max=${file.size} value=${have} aria-label=${t("thread.file_coming", { name })} /> ${t("thread.file_have", { have: size(have), size: size(file.size) })}</p>`}
    ${whole && message.plain && html`<p class="hint">${t("thread.file_not_yet")}</p>`}
    ${isOpen && here && html`<${Fetched} from="thread/shown" part="Shown" view=${view} address=${address} name=${name} file=${file} />`}
  </div>`;
}

/** Octets that are here, as they come. @param {string} account @param {string} what @param {number} have */
function useProgress(account, what, have) {
  const [now, setNow] = useState(have);
  useEffect(() => {
    setNow(have);
    return listen(({ account: of, type, data }) => {
      if (type === "progress" && of === account && data.what === what) setNow(data.have);
    });
  }, [account, what, have]);
  return Math.max(now, have);
}
