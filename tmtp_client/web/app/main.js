// SPDX-License-Identifier: AGPL-3.0-or-later
/** The page begins here: which panes there are, and what stands in them. */

import { online } from "./base/api.js";
import { effect, html, Icon, render, useEffect, useLayoutEffect, useState } from "./base/html.js";
import { learnWords, t } from "./base/words.js";
import { Fetched } from "./controls/fetched.js";
import { keepFocus } from "./controls/focus.js";
import { Said } from "./controls/saying.js";
import { ListPane } from "./list/list.js";
import { SearchPane } from "./list/search.js";
import { KeyHelp, Jump, keepKeys } from "./shell/keys.js";
import { Rail } from "./shell/rail.js";
import { keepSkins, learnSkin, skins, tokensOf } from "./shell/skin.js";
import { showTheme } from "./shell/theme.js";
import { keepConversation } from "./state/conversation.js";
import { keepPeople } from "./state/people.js";
import { keepSettings } from "./state/settings_of.js";
import { accountOf, accounts, begin, home, narrow, route, select } from "./state/state.js";
import { keepLists } from "./state/threads.js";
import { LinkAsked } from "./thread/links.js";
import { ThreadPane } from "./thread/thread.js";

const PATIENCE_MS = 1500; // an engine that is away for less is not worth a word

function App() {
  if (!home.value) return html`<${Offline} />`;
  if (home.value.locked) return html`<${Offline} /><${Fetched} from="shell/unlock" part="Unlock" />`;
  if (route.value.page === "join" || !accounts.value.length) return html`<${Offline} /><${Fetched} from="onboarding/first_run" part="FirstRun" />`;
  return html`<${Shell} />`;
}

/** Three panes beside one another; where there is little room one of them, by where one is. */
function Shell() {
  const now = route.value;
  const account = now.account ?? "";
  useEffect(() => {
    const { page, account: named } = route.peek(); // as it is by now
    if (!narrow.value && page === "first") select({ account: accounts.value[0].name }, { instead: true });
    else if (page === "service" && !accountOf(named)) select({ page: "first" }, { instead: true });
  }, [now, narrow.value, accounts.value]);
  useEffect(() => accounts.value.forEach(({ name }) => learnSkin(name)), [accounts.value]);
  const tokens = tokensOf(skins.value[account]);
  useLayoutEffect(() => dress(document.documentElement, tokens), [JSON.stringify(tokens)]);
  return html`<${Offline} />
    <div class="client">
      <a class="skip" href="#main" onClick=${skip} key="skip">${t("main.skip")}</a>
      ${panes(now)}
    </div>
    <${Fetched} from="writing/undo" part="UndoBar" />
    <${Said} /><${LinkAsked} /><${KeyHelp} /><${Jump} />`;
}

/** What stands beside one another; each with a key of its own, for they come and go. */
function panes(now) {
  const which = narrow.value ? oneOf(now) : "";
  if (which === "rail") return [html`<main id="main" tabindex="-1" key="rail-main"><h1 class="spoken">${t("main.services")}</h1><${Rail} /></main>`];
  const found = [];
  if (!which) found.push(html`<${Rail} key="rail" />`);
  if (which !== "details" && now.page !== "settings") {
    found.push(now.page === "search" ? html`<${SearchPane} key="search" />` : html`<${ListPane} key="list" />`);
  }
  if (which !== "list") found.push(html`<${Details} key="details" />`);
  return found;
}

/** Which pane there is room for. */
function oneOf(now) {
  if (now.page === "first") return "rail";
  if (now.page === "settings") return "details";
  return now.pane ? "details" : "list";
}

/** What stands beside the list. */
function Details() {
  const { page, account, pane, query, section } = route.value;
  const wide = page === "settings" ? " whole" : "";
  return html`<main class=${`details${wide}`} id="main" tabindex="-1" data-pane="details">${content()}</main>`;

  function content() {
    if (page === "settings") return html`<${BackTo} to=${{ page: "first" }} /><${Fetched} from="settings/settings" part="Settings" section=${section} />`;
    if (pane === "thread") return html`<${ThreadPane} />`;
    const back = html`<${BackTo} to=${{ account }} />`;
    if (pane === "new") return html`${back}<${Fetched} from="writing/compose" part="Compose" account=${account} key=${account} />`;
    if (pane === "ping") return html`${back}<${Fetched} from="people/ping" part="PingForm" account=${account} alias=${query.to ?? ""} key=${`${account} ${query.to ?? ""}`} />`;
    if (pane === "contacts") return html`${back}<${Fetched} from="people/contacts" part="Contacts" account=${account} key=${account} />`;
    return html`<div class="nothing-open"><${Icon} name="mark" /><p>${t("main.nothing_open")}</p><p class="muted">${t("main.keys_hint")}</p></div>`;
  }
}

/** Where there is one pane: the way back. */
function BackTo({ to }) {
  if (!narrow.value) return null;
  return html`<div class="back-bar">
    <button class="button quiet small" type="button" onClick=${() => select(to)}><${Icon} name="back" /> ${t("main.back")}</button>
  </div>`;
}

/** The engine is away: what is here stays, and what one does waits. */
function Offline() {
  const [late, setLate] = useState(false);
  const away = !online.value;
  useEffect(() => {
    if (!away) return setLate(false);
    const timer = setTimeout(() => setLate(true), PATIENCE_MS);
    return () => clearTimeout(timer);
  }, [away]);
  return html`<div class="engine-away" role="status">
    ${away && late && html`<${Icon} name="warn" /><span><strong>${t("main.engine_away")}</strong> ${t("main.engine_away_help")}</span>`}
  </div>`;
}

function skip(event) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

/** Tokens of a look over those of the design system, and none that a former look left. */
function dress(element, tokens) {
  for (const name of [...element.style].filter((one) => one.startsWith("--") && !(one in tokens))) element.style.removeProperty(name);
  for (const [name, value] of Object.entries(tokens)) element.style.setProperty(name, value);
}

/** The tab's title: how much is unread, and what is open. */
function keepTitle() {
  effect(() => {
    const unseen = accounts.value.reduce((sum, one) => sum + (one.unseen ?? 0), 0);
    const account = accountOf(route.value.account ?? "");
    const where = account ? account.service : t("main.title");
    document.title = `${unseen ? `(${unseen}) ` : ""}${where}${account ? ` – ${t("main.title")}` : ""}`;
  });
}

showTheme();
const words = learnWords();
begin();
keepLists();
keepConversation();
keepPeople();
keepSettings();
keepSkins();
keepFocus();
keepKeys();
await words;
keepTitle();
render(html`<${App} />`, document.getElementById("app"));
