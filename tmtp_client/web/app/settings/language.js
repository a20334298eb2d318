// SPDX-License-Identifier: AGPL-3.0-or-later
/** The language of the pages: the browser's, or one that is chosen. */

import { html, useState } from "../base/html.js";
import { chooseLanguage, chosenLanguage, LANGUAGES, t } from "../base/words.js";
import { Choices } from "../controls/controls.js";

/** Of this browser: others of the person may be on a device of other words. */
export function Language() {
  const [chosen, setChosen] = useState(chosenLanguage());
  const choose = async (one) => {
    setChosen(one);
    await chooseLanguage(one);
  };
  const named = (one) => new Intl.DisplayNames([one], { type: "language" }).of(one) ?? one;
  const choices = [["", t("settings.language_browser")], ...LANGUAGES.map((one) => [one, named(one)])];
  return html`<section class="card narrow" aria-label=${t("settings.language")}><div class="card-body">
    <${Choices} legend=${t("settings.language_legend")} name="language" value=${chosen} choices=${choices} onChange=${choose} /></div></section>`;
}
