// SPDX-License-Identifier: AGPL-3.0-or-later
/** The list of conversations of a service, or of all: which ones, what each says in a glance, and what to do where none is. */

import { call } from "../base/api.js";
import { html, Icon, signal, useCallback, useEffect, useMemo, useState } from "../base/html.js";
import { fullMoment, initials, joined, moment, told, visible } from "../base/text.js";
import { t } from "../base/words.js";
import { sentence } from "../controls/controls.js";
import { Fetched } from "../controls/fetched.js";
import { Popup } from "../controls/popup.js";
import { sayProblem } from "../controls/saying.js";
import { VirtualList } from "../controls/virtual.js";
import { peopleOf } from "../state/people.js";
import { link } from "../state/routes.js";
import { unseenFirst } from "../state/settings_of.js";
import { accountOf, accounts, narrow, route, select, serviceName, standing } from "../state/state.js";
import { listOf, more, threadKey } from "../state/threads.js";
import { WaitingList, DraftList } from "../writing/waiting.js";
import { waitsUntil } from "./acts.js";

const ROW_REM = 4.75;
const MENU_IN_PX = 48; // a row's menu that was asked for by a key stands below its words
const VIEWS = ["inbox", "unseen", "snoozed", "archived", "all"];
const ICONS = { inbox: "inbox", unseen: "dot", snoozed: "clock", archived: "archive", all: "queue", tag: "tag", outbox: "send", drafts: "audit" };

/** What keys do to the list that is shown. @type {{current: import("../controls/virtual.js").Movable | null}} */
export const movable = { current: null };

/** Whose menu is open, and where; null: none. @type {import("../base/html.js").signal<{key: string, x: number, y: number} | null>} */
export const rowMenu = signal(null);

/** Which list the address says. @param {import("../state/routes.js").Route} now */
export function placeOf(now) {
  const of = now.query.of ?? "";
  const known = [...VIEWS, "outbox", "drafts"].includes(of) || (of === "tag" && now.query.tag);
  return { account: now.page === "service" ? now.account : "", of: known ? of : "inbox", tag: of === "tag" ? (now.query.tag ?? "") : "" };
}

/**
 * Where a conversation of a list is read.
 * @param {any} thread
 * @param {Partial<import("../state/routes.js").Route>} [list] which list; the present one
 * @returns {Partial<import("../state/routes.js").Route>}
 */
export function threadRoute(thread, list = route.value) {
  const { page, query } = list;
  const kept = { of: query.of, tag: query.tag };
  return page === "all"
    ? { page: "all", account: thread.account, pane: "thread", thread: thread.id, query: kept }
    : { account: thread.account, pane: "thread", thread: thread.id, query: kept };
}

export function ListPane() {
  const now = route.value;
  const place = placeOf(now);
  const account = accountOf(place.account);
  if (now.page === "first" || (now.page === "service" && !account)) return html`<section class="pane" data-pane="list"></section>`;
  const title = account ? serviceName(account) : t("main.all");
  return html`<section class="pane list-pane" aria-labelledby="list-title" data-pane="list" ...${asMain()}>
    <header class="pane-head">
      ${narrow.value && html`<button class="button quiet small" type="button" aria-label=${t("main.back_services")} onClick=${() => select({ page: "first" })}>
        <${Icon} name="back" />
      </button>`}
      <div class="pane-title"><h1 id="list-title">${title}</h1>
        <p>${account ? html`<bdi>${visible(account.alias)}</bdi>${account.state !== "online" && html` · <span class="away-word">${standing(account)}</span>`}` : t("list.of_all", { count: accounts.value.length })}</p>
      </div>
      <a class="button quiet small" href=${link({ page: "search", query: { in: place.account } })} title=${t("main.search")} aria-label=${t("main.search")}><${Icon} name="search" /></a>
      <a id="act-new" class="button first small" href=${link({ account: place.account || accounts.value[0].name, pane: "new" })}><${Icon} name="pen" /> ${t("list.new")}</a>
    </header>
    ${account && account.trouble && account.state !== "online" && html`<div class="notice warn pane-notice"><${Icon} name="warn" /><div>${account.state === "offline" && html`<strong>${t("list.offline")}</strong> ${t("list.offline_help")} `}${sentence(account.trouble)}</div></div>`}
    <${Views} place=${place} />
    ${place.of === "outbox"
      ? html`<${WaitingList} account=${place.account} key=${place.account} />`
      : place.of === "drafts"
        ? html`<${DraftList} account=${place.account} key=${place.account} />`
        : html`<${Threads} place=${place} key=${JSON.stringify(place)} />`}
    ${rowMenu.value && html`<${Fetched} from="list/row_menu" part="RowMenu" place=${place} />`}
  </section>`;
}

/** Where the list is all that there is, it is the page's main part. */
export const asMain = () => (narrow.value ? { role: "main", id: "main", tabindex: -1 } : {});

/** Which of the conversations. */
function Views({ place }) {
  const waiting = accounts.value.filter((one) => !place.account || one.name === place.account).reduce((sum, one) => sum + (one.waiting ?? 0), 0);
  const to = (of, tag = "") => {
    const query = { of: of === "inbox" ? "" : of, tag };
    return link(place.account ? { account: place.account, query } : { page: "all", query });
  };
  const name = place.of === "tag" ? place.tag : t(`list.${place.of}`);
  return html`<div class="views">
    <${Popup} id="act-views" className="button quiet small" name=${t("list.views", { name })}
      label=${html`<${Icon} name=${ICONS[place.of]} /><span>${name}</span><${Icon} name="chevron" />`}>
      ${(close) => html`<ul class="view-list">
        ${VIEWS.map((of) => html`<li><a href=${to(of)} aria-current=${place.of === of ? "true" : undefined} onClick=${close}><${Icon} name=${ICONS[of]} /> ${t(`list.${of}`)}</a></li>`)}
        ${place.account && html`<li><a href=${to("drafts")} aria-current=${place.of === "drafts" ? "true" : undefined} onClick=${close}><${Icon} name="audit" /> ${t("list.drafts")}</a></li>
          <li><a href=${to("outbox")} aria-current=${place.of === "outbox" ? "true" : undefined} onClick=${close}><${Icon} name="send" /> ${t("list.outbox")}${waiting ? html` <span class="count">${waiting}</span>` : null}</a></li>`}
        <${TagLinks} account=${place.account} to=${to} now=${place.tag} close=${close} />
      </ul>
      ${place.account && html`<label class="choice popup-choice view-order"><input type="checkbox" checked=${unseenFirst(place.account)}
        onChange=${(event) => order(place.account, event.currentTarget.checked)} /> ${t("list.unseen_first")}</label>`}`}
    <//>
    ${waiting && place.account && place.of !== "outbox" ? html`<a class="badge warn" href=${to("outbox")}>${t("main.waiting", { count: waiting })}</a>` : null}
  </div>`;
}

/** @param {string} account @param {boolean} isUnseenFirst */
const order = (account, isUnseenFirst) =>
  call("settings.set", { account, name: "order", value: isUnseenFirst ? "unseen" : "newest" }).catch(sayProblem);

function TagLinks({ account, to, now, close }) {
  const [tags, setTags] = useState([]);
  useEffect(() => {
    if (account) call("tags.list", { account }).then(setTags, () => {});
  }, [account]);
  return tags.map(({ name, threads }) => html`<li key=${name}><a href=${to("tag", name)} aria-current=${now === name ? "true" : undefined} onClick=${close}>
    <${Icon} name="tag" /> <bdi>${told(name)}</bdi> <span class="muted">${threads}</span>
  </a></li>`);
}

function Threads({ place }) {
  const list = listOf(place).value;
  const now = route.value;
  const current = now.pane === "thread" ? `${now.account} ${now.thread}` : "";
  const { of, tag } = now.query;
  const from = useMemo(() => ({ page: now.page, query: { of, tag } }), [now.page, of, tag]);
  const today = new Date().toDateString(); // rows say when something was as seen from today
  const row = useCallback(
    (thread, props, isOpen) => html`<${Row} thread=${thread} props=${props} isOpen=${isOpen} from=${from} mixed=${!place.account} />`,
    [from, place.account, today],
  );
  if (list.problem) return html`<div class="notice bad pane-notice" role="alert"><${Icon} name="warn" /><div>${sentence(list.problem)} <button class="button small" type="button" onClick=${() => more(place)}>${t("main.again")}</button></div></div>`;
  if (!list.threads.length && list.next === "") return html`<${Empty} place=${place} />`;
  return html`<${VirtualList} items=${list.threads} keyOf=${threadKey} row_rem=${ROW_REM} label=${t("list.conversations")} whole=${list.next === ""}
    current=${current} onNear=${() => more(place)} movable=${movable} row=${row} />`;
}

/** Whose conversation it is, without oneself. @param {any} thread */
export function othersOf(thread) {
  const uid = accountOf(thread.account)?.uid;
  const names = (thread.readers ?? []).filter((one) => one.uid !== uid).map((one) => visible(one.alias || one.uid));
  if (names.length) return names;
  if (thread.last_to?.length) return thread.last_to.map(visible);
  return thread.gid ? [visible(thread.gid)] : thread.last_alias ? [visible(thread.last_alias)] : [];
}

/** The menu of a row, where it was asked for; the browser's own with Shift. @param {MouseEvent} event */
function openMenu(event) {
  const byPointer = event.button === 2;
  if (byPointer && event.shiftKey) return;
  event.preventDefault();
  const row = /** @type {HTMLElement} */ (event.currentTarget);
  const { left, bottom } = row.getBoundingClientRect();
  const [x, y] = byPointer ? [event.clientX, event.clientY] : [left + MENU_IN_PX, bottom];
  rowMenu.value = { key: row.dataset.row ?? "", x, y };
}

/** Of a message without words, what it brings. @param {{kind: string, name: string} | undefined} first */
function broughtBy(first) {
  if (first?.kind === "filled") return t("forms.draft_filled");
  return first?.kind === "form" ? t("forms.draft_form") : told(first?.name ?? "");
}

function Row({ thread, props, isOpen, from, mixed }) {
  const unseen = thread.unseen ?? 0;
  const names = othersOf(thread);
  const who = names.length > 3 ? t("list.and_more", { names: names.slice(0, 2).join(", "), count: names.length - 2 }) : names.join(", ");
  const subject = told(thread.subject).trim();
  const last = told(thread.last_text).trim() || broughtBy(thread.last_attached);
  const until = waitsUntil(thread);
  const marks = [
    unseen && t("list.unread", { count: unseen }),
    thread.mentions && t("list.mentions_you"),
    thread.draft && t("list.has_draft"),
    thread.waiting && t("list.waits"),
    thread.files && t("list.files", { count: thread.files }),
    thread.muted && t("list.is_muted"),
    until && t("list.is_snoozed", { when: until }),
    (thread.tags ?? []).length && t("list.tags", { names: joined(thread.tags.map(told)) }),
  ].filter(Boolean);
  return html`<a class=${`row${unseen ? " unseen" : ""}`} href=${link(threadRoute(thread, from))} aria-current=${isOpen ? "true" : undefined} aria-keyshortcuts="Shift+F10"
    onContextMenu=${openMenu} ...${props}>
    <span class="avatar" aria-hidden="true">${initials(names[0] ?? "")}</span>
    <span class="row-who"><bdi>${who || t("list.nobody")}</bdi>${thread.messages > 1 && html` <span class="row-number" aria-hidden="true">${thread.messages}</span>`}</span>
    <time class="row-when" datetime=${thread.last_posted} title=${fullMoment(thread.last_posted)}>${moment(thread.last_posted)}</time>
    <span class="row-subject"><bdi>${subject || last.split("\n")[0] || t("list.no_subject")}</bdi></span>
    <span class="row-text"><bdi>${subject ? last : ""}</bdi></span>
    <span class="row-marks" aria-hidden="true">
      ${mixed && html`<span class="badge">${serviceName(accountOf(thread.account) ?? { service: thread.account })}</span>`}
      ${(thread.tags ?? []).slice(0, 2).map((name) => html`<span class="badge"><bdi>${told(name)}</bdi></span>`)}
      ${thread.waiting ? html`<${Icon} name="send" />` : null}
      ${thread.draft ? html`<${Icon} name="pen" />` : null}
      ${thread.files ? html`<${Icon} name="clip" />` : null}
      ${thread.muted ? html`<${Icon} name="mute" />` : null}
      ${until ? html`<${Icon} name="clock" />` : null}
      ${thread.mentions ? html`<span class="count named">@</span>` : null}
      ${unseen ? html`<span class="count">${unseen > 999 ? "999+" : unseen}</span>` : null}
    </span>
    ${marks.length ? html`<span class="spoken">, ${marks.join(", ")}</span>` : null}
  </a>`;
}

/** Nothing there: why, and what one could do next. */
function Empty({ place }) {
  const fresh = place.of === "inbox" && place.account && knowsNobody(place.account);
  const kind = fresh ? "fresh" : place.of;
  const icon = fresh ? "people" : ICONS[place.of];
  return html`<div class="empty"><${Icon} name=${icon === "dot" ? "good" : icon} />
    <h2>${t(`list.empty_${kind}`)}</h2><p>${t(`list.empty_${kind}_help`)}</p>
    ${place.of === "inbox" && place.account && (fresh
      ? html`<a class="button first" href=${link({ account: place.account, pane: "ping" })}>${t("list.first_contact")}</a>`
      : html`<a class="button" href=${link({ account: place.account, query: { of: "all" } })}>${t("list.show_all")}</a>`)}
    ${place.of !== "inbox" && html`<a class="button" href=${link(place.account ? { account: place.account } : { page: "all" })}>${t("list.to_inbox")}</a>`}
  </div>`;
}

/** @param {string} account */
const knowsNobody = (account) => ![...peopleOf(account).value.values()].some((one) => one.stands === "contact" || one.stands === "asks");
