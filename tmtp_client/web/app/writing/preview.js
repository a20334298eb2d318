// SPDX-License-Identifier: AGPL-3.0-or-later
/** How a text will be shown, by the engine that will show it; and how it is marked up. */

import { call } from "../base/api.js";
import { html, useEffect, useState } from "../base/html.js";
import { rendered } from "../base/rendered.js";
import { t } from "../base/words.js";

/** Links in it lead nowhere: it is a preview. @param {{text: string}} of */
export function Preview({ text }) {
  const [markup, setMarkup] = useState("");
  useEffect(() => {
    let over = false;
    call("render", { text }).then(({ html: safe }) => over || setMarkup(safe), () => {});
    return () => {
      over = true;
    };
  }, [text]);
  return html`<div class="preview prose" role="region" aria-label=${t("writing.preview")} tabindex="0" dir="auto" onClick=${(event) => event.preventDefault()}
    dangerouslySetInnerHTML=${{ __html: rendered(markup) }}></div>`;
}

const EXAMPLES = ["**", "*", "`", "- ", "1. ", "> ", "# ", "~~", "[]", "- [ ]", "|"];
const WRITTEN = {
  "**": "**word**", "*": "*word*", "`": "`word`", "- ": "- item", "1. ": "1. item", "> ": "> quoted", "# ": "# heading", "~~": "~~word~~",
  "[]": "[word](https://example.org)", "- [ ]": "- [ ] task", "|": "| a | b |",
};

/** What one may type for what. */
export function MarkdownHint() {
  return html`<details class="more markdown"><summary>${t("writing.markdown")}</summary>
    <dl class="facts">${EXAMPLES.map((one, place) => html`<dt key=${one}><code>${WRITTEN[one]}</code></dt><dd>${t(`writing.markdown_${place}`)}</dd>`)}</dl>
  </details>`;
}
