// SPDX-License-Identifier: AGPL-3.0-or-later
/** The services: where something waits, which one does not answer, and the ways to everything else. */

import { call } from "../base/api.js";
import { html, Icon } from "../base/html.js";
import { initials, visible } from "../base/text.js";
import { t } from "../base/words.js";
import { sayProblem } from "../controls/saying.js";
import { link } from "../state/routes.js";
import { accounts, home, route, serviceName, standing } from "../state/state.js";
import { skins, tokensOf } from "./skin.js";

export function Rail() {
  const now = route.value;
  const here = (page) => (now.page === page ? "page" : undefined);
  const of = now.account || accounts.value[0].name;
  return html`<nav class="services" aria-label=${t("main.services")} data-pane="rail">
    <div class="rail-top">
      <span class="brand"><${Icon} name="mark" /><span class="rail-word">${t("main.title")}</span></span>
    </div>
    <ul class="service-list">
      ${accounts.value.map((account) => html`<li key=${account.name}><${Service} account=${account} /></li>`)}
    </ul>
    <div class="nav rail-more">
      ${accounts.value.length > 1 && html`<a href="#/all" aria-current=${here("all")} title=${t("main.all")}>
        <${Icon} name="inbox" /><span class="rail-word">${t("main.all")}</span>
      </a>`}
      <a href=${link({ page: "search", query: { in: now.page === "service" ? now.account : "" } })} aria-current=${here("search")} title=${t("main.search")}>
        <${Icon} name="search" /><span class="rail-word">${t("main.search")}</span>
      </a>
      <a href=${link({ account: of, pane: "contacts" })} aria-current=${now.pane === "contacts" ? "page" : undefined} title=${t("main.contacts")}>
        <${Icon} name="people" /><span class="rail-word">${t("main.contacts")}</span>
      </a>
      <a href="#/settings" aria-current=${here("settings")} title=${t("main.settings")}>
        <${Icon} name="settings" /><span class="rail-word">${t("main.settings")}</span>
      </a>
    </div>
    <div class="nav rail-end">
      <a href="#/join" title=${t("main.join")}><${Icon} name="plus" /><span class="rail-word">${t("main.join")}</span></a>
      ${home.value.slots.some((slot) => slot.kind === "passphrase") && html`<button class="button quiet" type="button" title=${t("main.lock")}
        onClick=${() => call("home.lock").catch(sayProblem)}><${Icon} name="lock" /><span class="rail-word">${t("main.lock")}</span></button>`}
    </div>
  </nav>`;
}

function Service({ account }) {
  const now = route.value;
  const isHere = now.page === "service" && now.account === account.name;
  const name = serviceName(account);
  const accent = tokensOf(skins.value[account.name]);
  const tile = accent["--accent-fill"] ? { background: accent["--accent-fill"], color: accent["--on-fill"] } : undefined;
  const spoken = [
    name,
    t("main.as", { alias: account.alias }),
    account.unseen ? t("main.unread", { count: account.unseen }) : "",
    account.mentions ? t("main.mentions", { count: account.mentions }) : "",
    account.pings ? t("main.pings", { count: account.pings }) : "",
    account.waiting ? t("main.waiting", { count: account.waiting }) : "",
    standing(account),
  ].filter(Boolean);
  return html`<a class="service" href=${link({ account: account.name })} aria-current=${isHere ? "page" : undefined} aria-label=${spoken.join(", ")} title=${spoken.join("\n")}>
    <span class=${`tile${account.state === "online" ? "" : " away"}`} style=${tile} aria-hidden="true">${initials(account.service || account.name)}</span>
    <span class="service-words" aria-hidden="true">
      <span class="service-name">${name}</span>
      <span class="service-alias">${account.state === "online" ? visible(account.alias) : standing(account)}</span>
    </span>
    <span class="counts" aria-hidden="true">
      ${account.mentions ? html`<span class="count named">@${capped(account.mentions)}</span>` : null}
      ${account.unseen ? html`<span class="count">${capped(account.unseen)}</span>` : null}
    </span>
  </a>`;
}

/** @param {number} count */
const capped = (count) => (count > 999 ? "999+" : String(count));
