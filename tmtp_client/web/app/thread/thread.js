// SPDX-License-Identifier: AGPL-3.0-or-later
/** A conversation: who reads it and how it is locked, its messages, what waits in it, and where one answers. */

import { call } from "../base/api.js";
import { html, Icon, signal, useEffect, useRef } from "../base/html.js";
import { day, joined, told, visible } from "../base/text.js";
import { t } from "../base/words.js";
import { sentence } from "../controls/controls.js";
import { Fetched } from "../controls/fetched.js";
import { soon } from "../controls/focus.js";
import { Popup } from "../controls/popup.js";
import { archive, markRead, markUnread, mute, SnoozeMenu, TagMenu } from "../list/acts.js";
import { movable, othersOf, placeOf } from "../list/list.js";
import { ChangedKeys, Lock } from "../people/keys_of.js";
import { conversation, loadEarlier, toTheEnd } from "../state/conversation.js";
import { peopleOf } from "../state/people.js";
import { link } from "../state/routes.js";
import { accountOf, narrow, route, select } from "../state/state.js";
import { Waiting } from "../writing/waiting.js";
import { currentMessage, forwarding, replyTo } from "./at_hand.js";
import { followLink } from "./links.js";
import { Message } from "./message.js";
import { useStanding } from "./standing.js";

const SEEN_AFTER_MS = 700; // a message that was in sight for so long was read
const SEEN_PART = 0.5; // so much of it, or of the window

/** Whether somebody is asked into the conversation. */
const adding = signal(false);
/** Whether what is known of the conversation stands beside it. */
const about = signal(false);

/** Back to the list it was opened from. */
export function leaveThread() {
  const { page, account, query } = route.value;
  const { at, ...kept } = query;
  select(page === "service" ? { account, query: kept } : { page, query: kept });
}

export function ThreadPane() {
  const now = conversation.value;
  if (!now) return null;
  if (now.problem || now.code) return html`<${Bar} /><div class="empty"><${Icon} name="warn" /><h1 class="empty-title">${t("thread.not_here")}</h1><p>${now.problem ? sentence(now.problem) : t("thread.gone")}</p></div>`;
  if (!now.thread) return html`<${Bar} />`;
  return html`<${Opened} now=${now} key=${`${now.account} ${now.id}`} />`;
}

function Bar() {
  if (!narrow.value) return null;
  return html`<div class="back-bar"><button class="button quiet small" type="button" onClick=${leaveThread}><${Icon} name="back" /> ${t("main.back")}</button></div>`;
}

function Opened({ now }) {
  const { account, thread } = now;
  useEffect(() => {
    currentMessage.value = "";
    replyTo.value = null;
    forwarding.value = null;
    adding.value = false;
    about.value = false;
  }, []);
  const leaveAbout = () => {
    about.value = false;
    document.getElementById("act-about")?.focus();
  };
  const people = peopleOf(account).value;
  const changed = (thread.readers ?? []).map((one) => people.get(one.uid)).filter((one) => one && (one.keys_changed ?? []).length > 0 && one.stands !== "self");
  const canWrite = now.messages.some((one) => one.kind === "message") || now.waiting.length > 0;
  return html`
    <${Head} now=${now} people=${people} />
    <${Messages} now=${now} people=${people} />
    <footer class="thread-foot" data-part="compose">
      ${changed.map((person) => html`<${ChangedKeys} account=${account} person=${person} key=${person.uid} />`)}
      ${!changed.length && canWrite && html`<${Fetched} from="writing/compose" part="Compose" account=${account} thread=${thread.id} reply=${replyTo.value} key=${thread.id} />`}
      ${!canWrite && html`<${WriteTo} now=${now} people=${people} />`}
    </footer>
    ${forwarding.value && html`<${Fetched} from="writing/forward" part="Forward" account=${account} thread=${thread.id} messages=${[forwarding.value.id]} onClose=${() => (forwarding.value = null)} />`}
    ${about.value && html`<${Fetched} from="thread/about" part="About" now=${now} people=${people} onClose=${leaveAbout} />`}
    ${adding.value && html`<${Fetched} from="writing/forward" part="AddReaders" account=${account} thread=${thread.id} onClose=${() => (adding.value = false)} />`}`;
}

/** Under a first contact that was accepted: the way on. */
function WriteTo({ now, people }) {
  const person = now.messages.map((one) => people.get(one.author)).find((one) => one?.stands === "contact");
  if (!person) return null;
  return html`<a class="button first" href=${link({ account: now.account, pane: "new", query: { to: person.alias } })}><${Icon} name="pen" /> ${t("thread.write_to", { name: visible(person.alias) })}</a>`;
}

function Head({ now, people }) {
  const { thread, account } = now;
  const names = othersOf(thread);
  const isContact = now.messages.length > 0 && now.messages.every((one) => one.kind === "ping");
  const subject = told(thread.subject).trim() || t(isContact ? "thread.contact_title" : "list.no_subject");
  return html`<header class="pane-head thread-head">
    ${narrow.value && html`<button class="button quiet small" type="button" aria-label=${t("main.back")} onClick=${leaveThread}><${Icon} name="back" /></button>`}
    <div class="pane-title"><h1 id="thread-title" tabindex="-1"><bdi>${subject}</bdi></h1>
      <p><bdi>${names.length ? joined(names) : t("list.nobody")}</bdi>
        ${(thread.tags ?? []).map((name) => html` <span class="badge"><bdi>${told(name)}</bdi></span>`)}
        ${thread.muted ? html` <span class="badge"><${Icon} name="mute" /> ${t("thread.is_muted")}</span>` : null}</p>
    </div>
    <${Lock} thread=${thread} messages=${now.messages} people=${people} />
    <div class="acts" role="toolbar" aria-label=${t("thread.acts")}>
      <button class="button small quiet" type="button" title=${t(thread.archived ? "thread.unarchive" : "thread.archive")} aria-label=${t(thread.archived ? "thread.unarchive" : "thread.archive")}
        onClick=${() => archiveOpen(thread)}><${Icon} name=${thread.archived ? "inbox" : "archive"} /></button>
      <${SnoozeMenu} thread=${thread} />
      <${TagMenu} thread=${thread} />
      <button id="act-about" class="button small quiet" type="button" title=${t("about.title")} aria-label=${t("about.title")} aria-expanded=${about.value}
        onClick=${() => (about.value = !about.value)}><${Icon} name="about" /></button>
      <${Popup} id="act-more" name=${t("thread.more")} label=${html`<${Icon} name="more" />`}>
        ${(close) => html`
          <button class="choice-line" type="button" onClick=${() => (close(), mute(thread))}><${Icon} name="mute" /> ${t(thread.muted ? "thread.unmute" : "thread.mute")}</button>
          <button class="choice-line" type="button" onClick=${() => (close(), unreadOpen(thread))}><${Icon} name="dot" /> ${t("thread.mark_unread")}</button>
          ${thread.unseen > 0 && html`<button class="choice-line" type="button" onClick=${() => (close(), markRead(thread))}><${Icon} name="good" /> ${t("thread.mark_read")}</button>`}
          ${now.messages.some((one) => one.kind === "message") && html`<button class="choice-line" type="button" onClick=${() => (close(), (adding.value = true))}><${Icon} name="people" /> ${t("thread.add_people")}</button>`}
          <a class="choice-line" href=${link({ page: "search", query: { q: thread.subject ? `in:"${thread.subject.replaceAll('"', " ")}" ` : "", in: account } })} onClick=${close}><${Icon} name="search" /> ${t("thread.search_in")}</a>
        `}
      <//>
    </div>
  </header>`;
}

/** Put away, and on to the list. @param {any} thread */
export async function archiveOpen(thread) {
  const next = neighbour(thread);
  const before = document.activeElement;
  await archive(thread);
  if (conversation.value?.id !== thread.id) return;
  leaveThread();
  if (next && !narrow.value) soon(() => movable.current?.focus(next), before);
}

/** @param {any} thread */
export async function unreadOpen(thread) {
  const open = conversation.value?.id === thread.id;
  if (open) leaveThread(); // else it is read at once again
  await markUnread(thread);
}

/** The row that the focus goes to when this one leaves the list. */
function neighbour(thread) {
  const row = document.querySelector(`[data-row="${CSS.escape(`${thread.account} ${thread.id}`)}"]`);
  const beside = row?.closest("li")?.nextElementSibling ?? row?.closest("li")?.previousElementSibling;
  return beside?.querySelector("[data-row]")?.dataset.row ?? "";
}

function Messages({ now, people }) {
  const { messages, waiting, firstUnseen } = now;
  const { scroller, onScroll } = useStanding(now);
  useSeen(scroller, now);
  const current = currentMessage.value || messages.at(-1)?.id;
  const me = accountOf(now.account)?.alias ?? "";
  const same = useSame();
  return html`<div class="scroller messages-place" ref=${scroller} onScroll=${onScroll} onClick=${followLink} onKeyDown=${followLink} onAuxClick=${followLink}>
    ${now.before && html`<p class="messages-more"><button class="button small quiet" type="button" onClick=${loadEarlier}>${t("thread.earlier")}</button></p>`}
    <ol class="messages" aria-label=${t("thread.messages")}>
      ${messages.map((one, place) => same(one.id, {
        account: now.account, message: one, subject: now.thread.subject, person: people.get(one.author), me, isCurrent: one.id === current,
        day: newDay(messages[place - 1], one) ? day(one.posted) : "", isNew: one.id === firstUnseen ? t("thread.new") : "",
      }))}
      ${now.atEnd && waiting.map((one) => html`<li key=${one.request}><${Waiting} account=${now.account} waiting=${one} whole=${true} /></li>`)}
    </ol>
    ${!now.atEnd && html`<p class="messages-more"><button class="button small" type="button" onClick=${toTheEnd}>${t("thread.to_latest")}</button></p>`}
  </div>`;
}

/**
 * Messages as they were made the last time, where nothing of theirs has changed: the page looks at none of them again.
 * @returns {(id: string, props: Record<string, any>) => any}
 */
function useSame() {
  const made = useRef(new Map());
  const before = made.current;
  made.current = new Map();
  return (id, props) => {
    const was = before.get(id);
    const kept = was && Object.keys(props).every((name) => was.props[name] === props[name]);
    const one = kept ? was : { props, element: item(id, props) };
    made.current.set(id, one);
    return one.element;
  };
}

/** A message in its place, below its day and below where the new ones begin. */
const item = (id, { day: name, isNew, ...props }) => html`<li key=${id}>
  ${name && html`<p class="day"><span>${name}</span></p>`}
  ${isNew && html`<p class="day new"><span>${isNew}</span></p>`}
  <${Message} ...${props} />
</li>`;

/** @param {any} before @param {any} one */
const newDay = (before, one) => !before || new Date(before.posted).toDateString() !== new Date(one.posted).toDateString();

/** What was in sight for a while, in a window that somebody looks at, was read. */
function useSeen(scroller, now) {
  const inSight = useRef(new Set());
  const told = useRef(new Set());
  useEffect(() => {
    let timer = 0;
    const unseen = new Map(now.messages.filter((one) => one.seen === false && !one.outgoing).map((one) => [one.id, one]));
    if (!unseen.size) return undefined;
    const tell = () => {
      timer = 0;
      if (!document.hasFocus()) return;
      const messages = [...inSight.current].filter((id) => unseen.has(id) && !told.current.has(id));
      if (!messages.length) return;
      messages.forEach((id) => told.current.add(id));
      call("messages.seen", { account: now.account, messages }).catch(() => messages.forEach((id) => told.current.delete(id)));
    };
    const soon = () => (timer ||= window.setTimeout(tell, SEEN_AFTER_MS));
    const observer = new IntersectionObserver(
      (entries) => {
        for (const { target, isIntersecting, intersectionRatio, intersectionRect, rootBounds } of entries) {
          const enough = intersectionRatio >= SEEN_PART || intersectionRect.height >= (rootBounds?.height ?? 1) * SEEN_PART;
          if (isIntersecting && enough) inSight.current.add(target.dataset.message);
          else inSight.current.delete(target.dataset.message);
        }
        soon();
      },
      { root: scroller.current, threshold: [0, 0.1, 0.25, SEEN_PART, 0.75, 1] },
    );
    for (const element of scroller.current?.querySelectorAll("[data-message]") ?? []) {
      const id = element.dataset.message;
      if (!unseen.has(id)) continue;
      told.current.delete(id);
      observer.observe(element);
    }
    addEventListener("focus", soon);
    return () => {
      clearTimeout(timer);
      observer.disconnect();
      removeEventListener("focus", soon);
    };
  }, [now.messages]);
}
