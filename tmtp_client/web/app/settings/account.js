// SPDX-License-Identifier: AGPL-3.0-or-later
/** An account: the name that others see, how it stands, and leaving it. */

import { call } from "../base/api.js";
import { html, useState } from "../base/html.js";
import { joined } from "../base/text.js";
import { t } from "../base/words.js";
import { Confirm, Field, Notice, sentence, Trouble, useRequest, wrongOf } from "../controls/controls.js";
import { select } from "../state/state.js";

/** @param {{account: any}} of */
export function Account({ account }) {
  const [alias, setAlias] = useState(account.alias);
  const [said, setSaid] = useState("");
  const [leaving, setLeaving] = useState(false);
  const naming = useRequest();
  const going = useRequest();
  const take = (event) => {
    event.preventDefault();
    setSaid("");
    naming.run(async () => {
      await call("accounts.alias", { account: account.name, alias: alias.trim() });
      setSaid(t("settings.alias_taken", { alias: alias.trim() }));
    });
  };
  const leave = () =>
    going.run(async () => {
      await call("accounts.leave", { account: account.name });
      setLeaving(false);
      select({ page: "first" });
    });
  const others = account.aliases.filter((one) => one !== account.alias);
  return html`<div class="stacked wide-gap">
    <section class="card narrow" aria-labelledby="alias"><div class="card-head"><h2 id="alias">${t("settings.alias")}</h2></div><div class="card-body">
      <p>${t("settings.alias_text")}</p>
      <form class="stacked" onSubmit=${take}>
        <${Field} label=${t("settings.alias_label")} hint=${others.length ? t("settings.alias_others", { names: joined(others) }) : ""} wrong=${wrongOf(naming.problem, "alias")}>
          ${(attributes) => html`<input ...${attributes} dir="auto" maxlength="64" required value=${alias} onInput=${(event) => setAlias(event.currentTarget.value)} />`}
        <//>
        <${Trouble} problem=${naming.problem} except=${["alias"]} />
        ${said && html`<${Notice} kind="good" role="status">${said}<//>`}
        <div class="form-acts"><button class="button first" type="submit" disabled=${naming.busy || !alias.trim() || alias.trim() === account.alias}>${t("settings.alias_take")}</button></div>
      </form>
    </div></section>
    <section class="card narrow" aria-labelledby="about-account"><div class="card-head"><h2 id="about-account">${t("settings.about_account")}</h2></div><div class="card-body">
      <dl class="facts">
        <dt>${t("first.sheet_service")}</dt><dd><bdi>${account.service}</bdi></dd>
        <dt>${t("settings.address")}</dt><dd><bdi dir="ltr">${account.host.includes(":") ? `[${account.host}]` : account.host}:${account.port}</bdi></dd>
        <dt>${t("settings.state")}</dt><dd><span class="badge dot ${account.state === "online" ? "good" : account.state === "refused" ? "bad" : ""}">${t(`settings.state_${account.state}`)}</span>
          ${account.trouble && html` ${sentence(account.trouble)}`}</dd>
        <dt>${t("first.sheet_account")}</dt><dd><code class="break">${account.uid}</code></dd>
      </dl>
      <div class="form-acts"><button class="button danger" type="button" onClick=${() => setLeaving(true)}>${t("settings.leave")}</button></div>
    </div></section>
    ${leaving && html`<${Confirm} title=${t("settings.leave_title", { name: account.service })} text=${t("settings.leave_text")} act=${t("settings.leave_act")}
      busy=${going.busy} problem=${going.problem} onAct=${leave} onClose=${() => setLeaving(false)} />`}
  </div>`;
}
