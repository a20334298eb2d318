// SPDX-License-Identifier: AGPL-3.0-or-later
/**
 * A file of a message, looked at where it stands (docs/decisions/0028-attachments-shown.md).
 *
 * The engine shows what its octets bear out, and under a policy by which it is of no origin, runs nothing and loads
 * nothing. It is asked first: who opens a file that cannot be shown reads why.
 */

import { html, Icon, useEffect, useRef, useState } from "../base/html.js";
import { size } from "../base/text.js";
import { t } from "../base/words.js";

const TEXT_SHOWN_BYTES = 1 << 20; // as tmtp_client/limits.py has it
const LITTLE_BYTES = 500; // of a text: a few lines, for which half a window would be much
const MOVING = new Set(["image/gif", "image/webp"]);

/** @param {{view: string, address: string, name: string, file: any}} of view: image, audio, video, text, pdf */
export function Shown({ view, address, name, file }) {
  const [state, setState] = useState(""); // "": asked; shown; or why it is not
  const [sides, setSides] = useState("");
  const figure = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    let over = false;
    const heard = ({ why }) => !over && setState(why || "shown");
    fetch(`${address}?inline=ask`).then((answer) => answer.json()).then(heard, () => heard({ why: "broken" }));
    return () => (over = true);
  }, [address]);
  useEffect(() => {
    figure.current?.scrollIntoView({ block: "nearest" }); // it grows below the button that it was asked for with
  }, [state, sides]);
  if (!state) return html`<p class="hint" role="status">${t("attached.asked")}</p>`;
  if (state !== "shown") return html`<p class="file-trouble" role="alert"><${Icon} name="warn" /> ${t(`attached.${state}`)}</p>`;
  const fail = () => setState("broken");
  const [, kind] = file.media.split("/");
  const said = [t(`attached.is_${view}`, { kind: kind.toUpperCase() }), sides].filter(Boolean);
  return html`<figure class="shown" aria-label=${name} ref=${figure}>
    <${Viewer} view=${view} address=${`${address}?inline=1`} name=${name} file=${file} onFail=${fail} onSides=${setSides} />
    <figcaption>${said.join(" · ")}${view === "text" && file.size > TEXT_SHOWN_BYTES ? html`<br />${t("attached.beginning", { size: size(TEXT_SHOWN_BYTES) })}` : null}</figcaption>
  </figure>`;
}

function Viewer({ view, address, name, file, onFail, onSides }) {
  if (view === "image") return html`<${Picture} address=${address} name=${name} media=${file.media} onFail=${onFail} onSides=${onSides} />`;
  if (view === "audio") return html`<audio class="file-view" controls preload="metadata" src=${address} aria-label=${name} onError=${onFail}></audio>`;
  if (view === "video") return html`<video class="file-view" controls preload="metadata" src=${address} aria-label=${name} onError=${onFail}></video>`;
  if (view === "text") return html`<iframe class=${`file-view framed${file.size < LITTLE_BYTES ? " little" : ""}`} sandbox="" src=${address} title=${name} referrerpolicy="no-referrer"></iframe>`;
  // By a viewer of the browser's own, which no sandbox reaches: in a frame one click on a link in it would lead this page away.
  return html`<p>${t("attached.pdf_help")}</p>
    <p><a class="button small" href=${address} target="_blank" rel="noopener noreferrer">${t("attached.pdf_open")}<span class="spoken"> ${name}</span></a></p>`;
}

/** A picture. For who wants little motion one that may move stands still, until it is told to. */
function Picture({ address, name, media, onFail, onSides }) {
  const still = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const [mayMove, setMayMove] = useState(!MOVING.has(media) || !matchMedia("(prefers-reduced-motion: reduce)").matches);
  const [couldMove] = useState(!mayMove);
  const loaded = ({ currentTarget: picture }) => {
    const { naturalWidth: width, naturalHeight: height } = picture;
    onSides(t("attached.sides", { width, height }));
    if (!still.current) return;
    Object.assign(still.current, { width, height });
    still.current.getContext("2d")?.drawImage(picture, 0, 0);
  };
  const alt = t("attached.picture", { name });
  return html`<img class="file-view" src=${address} alt=${alt} hidden=${!mayMove} onLoad=${loaded} onError=${onFail} />
    ${!mayMove && html`<canvas class="file-view" ref=${still} role="img" aria-label=${alt}></canvas>`}
    ${couldMove && html`<p><button class="button small" type="button" aria-pressed=${mayMove} onClick=${() => setMayMove(!mayMove)}>${t("attached.move")}</button></p>`}`;
}
