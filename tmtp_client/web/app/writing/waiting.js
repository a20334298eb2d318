// SPDX-License-Identifier: AGPL-3.0-or-later
/** What has not left yet: messages that wait for the service, or for a person's word, and drafts. */

import { call, listen } from "../base/api.js";
import { html, Icon, useEffect, useState } from "../base/html.js";
import { fullMoment, joined, moment, told, visible } from "../base/text.js";
import { t } from "../base/words.js";
import { sentence } from "../controls/controls.js";
import { sayProblem } from "../controls/saying.js";
import { writeNew } from "../state/drafts.js";
import { link } from "../state/routes.js";

const ICONS = { undo: "clock", scheduled: "clock", waiting: "queue", sending: "send", held: "key", refused: "warn" };

/** What waits, kept true. @param {string} account */
function useOutbox(account) {
  const [waiting, setWaiting] = useState(null);
  useEffect(() => follow(account, "outbox.list", "outbox", setWaiting), [account]);
  return waiting;
}

/**
 * Ask now, and whenever it may have changed. What was asked for last is newer than what is answered late.
 * @param {string} account @param {string} operation @param {string} type of the events that tell of it @param {(found: any[]) => void} onFound
 * @returns {() => void} to ask no more
 */
function follow(account, operation, type, onFound) {
  let turn = 0;
  const ask = () => {
    const own = ++turn;
    call(operation, { account }).then((found) => own === turn && onFound(found), () => {});
  };
  ask();
  const stop = listen((event) => {
    if (event.account === account && (event.type === type || event.type === "gap")) ask();
  });
  return () => {
    turn = -1;
    stop();
  };
}

export function WaitingList({ account }) {
  const waiting = useOutbox(account);
  if (!waiting) return null;
  if (!waiting.length) return html`<div class="empty"><${Icon} name="good" /><h2>${t("list.empty_outbox")}</h2><p>${t("list.empty_outbox_help")}</p></div>`;
  return html`<div class="scroller"><ul class="waiting-list" aria-label=${t("list.outbox")}>
    ${waiting.map((one) => html`<li key=${one.request}><${Waiting} account=${account} waiting=${one} whole=${false} /></li>`)}
  </ul></div>`;
}

/**
 * Something that waits: what it is, how it stands, and what can be done about it.
 * @param {{account: string, waiting: any, whole: boolean}} of whole: with all of its text, as in its conversation
 */
export function Waiting({ account, waiting, whole }) {
  const act = (what) => call("outbox.act", { account, request: waiting.request, act: what }).catch(sayProblem);
  const undo = () => import("./undo.js").then(({ takeBack }) => takeBack(account, waiting)).catch(sayProblem);
  const { state, error } = waiting;
  const left = useSecondsLeft(state === "undo" ? waiting.due_ms : 0);
  const words = state === "undo" ? t("thread.wait_undo", { count: left }) : t(`thread.wait_${state}`, { when: moment(waiting.due_ms) });
  const name = t("thread.waiting_name", { to: joined(waiting.to.map(visible)), state: t(`thread.wait_${state}`, { count: left, when: fullMoment(waiting.due_ms) }) });
  const bad = state === "held" || state === "refused";
  return html`<article class=${`waiting${bad ? " bad" : ""}`} aria-label=${name} tabindex="-1" data-message=${waiting.request}>
    <header class="waiting-head"><${Icon} name=${ICONS[state]} /><strong>${words}</strong>
      ${!whole && html`<span class="muted">${t("thread.to", { names: joined(waiting.to.map(visible)) })}</span>`}
      ${state === "sending" && waiting.size > 0 && html`<progress max=${waiting.size} value=${waiting.sent ?? 0} aria-label=${t("thread.sending_progress")} />`}
    </header>
    ${waiting.subject && !whole && html`<p class="waiting-subject"><bdi>${told(waiting.subject)}</bdi></p>`}
    <p class=${whole ? "as-written" : "clip"} dir="auto">${told(waiting.text ?? "")}</p>
    ${(waiting.files ?? []).length > 0 && html`<p class="muted"><${Icon} name="clip" /> ${joined(waiting.files.map(visible))}</p>`}
    ${error && html`<p class=${bad ? "wrong" : "hint"}>${sentence(error)}</p>`}
    <div class="form-acts">
      ${(state === "undo" || state === "scheduled" || state === "waiting") && html`<button class="button small" type="button" onClick=${undo}>${t("thread.take_back")}</button>`}
      ${(state === "undo" || state === "scheduled") && html`<button class="button small quiet" type="button" onClick=${() => act("now")}>${t("thread.send_now")}</button>`}
      ${bad && html`<button class="button small" type="button" onClick=${() => act("retry")}>${t("thread.retry")}</button>
        <button class="button small danger" type="button" onClick=${() => act("drop")}>${t("thread.drop")}</button>`}
    </div>
  </article>`;
}

/** @param {number} due_ms 0: none */
function useSecondsLeft(due_ms) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    if (!due_ms) return undefined;
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, [due_ms]);
  return Math.max(0, Math.ceil((due_ms - now) / 1000));
}

export function DraftList({ account }) {
  const [drafts, setDrafts] = useState(null);
  useEffect(() => follow(account, "drafts.list", "draft", setDrafts), [account]);
  if (!drafts) return null;
  if (!drafts.length) return html`<div class="empty"><${Icon} name="pen" /><h2>${t("list.empty_drafts")}</h2><p>${t("list.empty_drafts_help")}</p></div>`;
  const to = (one) => (one.thread ? link({ account, pane: "thread", thread: one.thread }) : link({ account, pane: "new" }));
  const goOn = (one) => one.thread || writeNew(account, one.key);
  return html`<div class="scroller"><ul class="waiting-list" aria-label=${t("list.drafts")}>
    ${drafts.map((one) => html`<li key=${one.key}><a class="draft" href=${to(one)} onClick=${() => goOn(one)}>
      <span class="row-who"><bdi>${one.to?.length ? joined(one.to.map(visible)) : t("list.draft_of")}</bdi></span>
      <time class="row-when" datetime=${new Date(one.changed_ms ?? 0).toISOString()}>${moment(one.changed_ms ?? 0)}</time>
      <span class="row-subject"><bdi>${told(one.subject ?? "") || t("list.no_subject")}</bdi></span>
      <span class="row-text"><bdi>${told(one.text ?? "") || (one.filled ? t("forms.draft_filled") : one.form ? t("forms.draft_form") : "")}</bdi></span>
    </a></li>`)}
  </ul></div>`;
}
