// SPDX-License-Identifier: AGPL-3.0-or-later
/** The page begins here. */

import { html, render } from "./html.js";
import { begin, home } from "./state.js";
import { learnWords, t } from "./words.js";

function App() {
  return html`<main id="main">${home.value ? t("main.title") : ""}</main>`;
}

await learnWords();
begin();
render(html`<${App} />`, document.getElementById("app"));
