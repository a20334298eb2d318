// SPDX-License-Identifier: AGPL-3.0-or-later
/** A history that is locked: by a passphrase, or by the 24 words of a recovery sheet (B8). */

import { call } from "../base/api.js";
import { html, Icon, useLayoutEffect, useRef, useState } from "../base/html.js";
import { t } from "../base/words.js";
import { Field, sentence, Switch, useRequest } from "../controls/controls.js";
import { home } from "../state/state.js";

/** What opens it. */
export function Unlock() {
  const [secret, setSecret] = useState("");
  const [shown, setShown] = useState(false);
  const { busy, problem, run } = useRequest();
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const slots = home.value?.slots ?? [];
  const hasSheet = slots.some((slot) => slot.kind === "recovery");
  useLayoutEffect(() => input.current?.focus(), [problem]);

  const unlock = (event) => {
    event.preventDefault();
    run(async () => {
      const opened = await call("home.unlock", { secret });
      setSecret("");
      home.value = opened;
    });
  };
  return html`<main class="alone">
    <div class="brand"><${Icon} name="mark" /> TMTP</div>
    <section class="card" aria-labelledby="unlock"><div class="card-body">
      <div><h1 id="unlock">${t("first.unlock")}</h1><p class="muted">${t("first.unlock_text")}</p></div>
      <form class="form" onSubmit=${unlock}>
        <${Field} label=${t("first.passphrase")} hint=${hasSheet ? t("first.unlock_by_sheet") : ""} wrong=${problem ? sentence(problem.message) : ""}>
          ${(attributes) => html`<input ...${attributes} ref=${input} type=${shown ? "text" : "password"} autocomplete="current-password"
            autocapitalize="off" spellcheck=${false} required value=${secret} onInput=${(event) => setSecret(event.currentTarget.value)} />`}
        <//>
        <${Switch} label=${t("first.show_secret")} checked=${shown} onChange=${setShown} />
        <button class="button first wide" type="submit" disabled=${busy}>${busy ? t("first.unlocking") : t("first.unlock_act")}</button>
      </form>
    </div></section>
  </main>`;
}
