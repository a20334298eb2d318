// SPDX-License-Identifier: AGPL-3.0-or-later
/** Parts of the page that are fetched when somebody goes there: what one reads with comes first. */

import { html, useEffect, useState } from "../base/html.js";
import { t } from "../base/words.js";

/** @type {Map<string, any>} what was fetched, by module */
const here = new Map();

/**
 * A component of another module.
 * @param {{from: string, part: string, [prop: string]: any}} of from: the module, from `app/` on, without its ending
 */
export function Fetched({ from, part, ...props }) {
  const [module, setModule] = useState(here.get(from) ?? null);
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    if (here.has(from)) return setModule(here.get(from));
    let over = false;
    import(`../${from}.js`).then(
      (found) => {
        here.set(from, found);
        if (!over) setModule(found);
      },
      () => !over && setFailed(true),
    );
    return () => (over = true);
  }, [from]);
  if (failed) return html`<p class="notice bad pane-notice">${t("main.part_failed")}</p>`;
  const Part = module?.[part];
  return Part ? html`<${Part} ...${props} />` : null;
}
