// SPDX-License-Identifier: AGPL-3.0-or-later
/** A link that somebody has as a picture of its QR code: chosen, dropped or pasted; the engine reads it (B7). */

import { Problem } from "../base/api.js";
import { html, Icon, useRef, useState } from "../base/html.js";
import { t } from "../base/words.js";
import { sentence, useId } from "../controls/controls.js";
import { useDropping } from "../writing/uploads.js";

/**
 * What the picture says. Raises a Problem that says why not.
 * @param {File} picture
 * @param {"invitation" | "link"} of
 * @returns {Promise<string>}
 */
async function read(picture, of) {
  const answer = await fetch(`/codes?of=${of}`, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: picture });
  const said = await answer.json();
  if (!said.result) throw new Problem(said.problem ?? said);
  return said.result.text;
}

/**
 * A button for a picture, a place to drop or paste one, and what became of it. What is typed stands in between.
 * @param {{of: "invitation" | "link", onText: (text: string) => void, children: any}} props
 */
export function FromPicture({ of, onText, children }) {
  const [now, setNow] = useState({ busy: false, wrong: "", found: false });
  const asked = useRef(0);
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const id = useId("picture");
  const take = async (files) => {
    const picture = files[0];
    if (!picture) return;
    const number = ++asked.current; // of several that were given, the last one counts
    const tell = (state) => number === asked.current && setNow({ busy: false, wrong: "", found: false, ...state });
    tell({ busy: true });
    try {
      const text = await read(picture, of);
      if (number === asked.current) onText(text);
      tell({ found: true });
    } catch (problem) {
      tell({ wrong: problem instanceof Problem ? sentence(problem.message) : t("first.picture_away") });
    }
  };
  const { over, attributes } = useDropping(take);
  const chosen = (event) => {
    take([...event.currentTarget.files]);
    event.currentTarget.value = ""; // the same file again is a choice, too
  };
  return html`<div class=${`from-picture${over ? " over" : ""}`} ...${attributes} aria-busy=${now.busy ? "true" : undefined}>
    ${children}
    <div class="from-picture-way"><button class="button small" type="button" aria-describedby=${id} onClick=${() => input.current?.click()}><${Icon} name="file" /> ${t("first.picture")}</button>
      <input ref=${input} type="file" accept="image/png,image/jpeg,image/gif,image/webp" hidden onChange=${chosen} />
      <span class="hint" id=${id}>${t("first.picture_hint")}</span></div>
    <p class=${now.wrong ? "wrong" : "hint"} role="status">${now.busy ? t("first.picture_read") : now.wrong || (now.found ? t("first.picture_found") : "")}</p>
  </div>`;
}
