// SPDX-License-Identifier: AGPL-3.0-or-later
/** What has just been sent and can still be taken back: one bar, wherever one goes meanwhile. */

import { call, listen } from "../base/api.js";
import { html, Icon, signal, useEffect, useRef, useState } from "../base/html.js";
import { fullMoment, joined, visible } from "../base/text.js";
import { t } from "../base/words.js";
import { sentence } from "../controls/controls.js";
import { say, sayProblem } from "../controls/saying.js";
import { emptyDraft } from "../state/drafts.js";
import { newsOf } from "../state/outbox.js";
import { link } from "../state/routes.js";
import { route, whenLocked } from "../state/state.js";

/** @type {import("../base/html.js").signal<any>} account, request, due_ms, state, what it was as a draft, and which message it became */
export const leaving = signal(null);

/** What was sent from here and waits still, as drafts, by request. @type {Map<string, any>} */
const written = new Map();
whenLocked(() => {
  written.clear();
  leaving.value = null;
});

/**
 * It waits to leave. `takesFocus`: where it was written goes, so that the focus needs another place.
 * @param {{account: string, waiting: any, draft: any, takesFocus?: boolean, onUndo?: (draft: any) => void}} of
 */
export function leaves({ account, waiting, draft, takesFocus = false, onUndo }) {
  written.set(waiting.request, draft);
  leaving.value = {
    account, request: waiting.request, due_ms: waiting.due_ms ?? 0, state: waiting.state, kind: waiting.kind, to: waiting.to, draft, takesFocus, onUndo,
    message: "", error: waiting.error ?? "",
  };
  const news = newsOf(account, waiting.request);
  if (news) follow(news);
}

listen(({ account, type, data }) => {
  const now = leaving.value;
  if (type === "outbox" && data.message) written.delete(data.request);
  if (type === "outbox" && now?.account === account && now.request === data.request && now.state !== "undone") follow(data);
});

/** How it stands by now. @param {any} data of an outbox event */
function follow(data) {
  const now = leaving.value;
  if (data.waiting) leaving.value = { ...now, state: data.waiting.state, due_ms: data.waiting.due_ms ?? 0, error: data.waiting.error ?? "" };
  else leaving.value = data.message ? { ...now, state: "sent", message: data.message } : null;
}

/**
 * Take back what waits: what was written is a draft again, before whatever was written there meanwhile.
 * @param {string} account @param {any} waiting of the outbox
 * @param {{message: string, place: number} | null} [asks] of an answer to a form: where it stands, if that is known
 */
export async function takeBack(account, waiting, asks = null) {
  const now = leaving.value?.request === waiting.request ? leaving.value : null;
  if (now) leaving.value = { ...now, state: "undone" };
  const known = written.get(waiting.request);
  let answer = null; // to a form, which another page sent, or this one before it was loaded again
  try {
    if (!known && waiting.filled) answer = await call("forms.waiting", { account, request: waiting.request });
    await call("outbox.act", { account, request: waiting.request, act: "undo" });
  } catch (error) {
    if (now) leaving.value = null;
    return sayProblem(error);
  }
  written.delete(waiting.request);
  const draft = known ?? (answer ? answerOf(waiting, { ...answer, ...asks }) : waiting.kind === "message" && !waiting.filled ? draftOf(waiting) : null);
  if (draft) await isDraftAgain(account, draft).catch(sayProblem);
  if (draft && !known && waiting.files?.length) say(t("writing.files_again"));
  if (now) leaving.value = null;
  now?.onUndo?.(draft);
}

/** Before whatever was written there meanwhile. @param {string} account @param {any} draft */
async function isDraftAgain(account, draft) {
  const { staged, ...kept } = draft;
  const later = (await call("drafts.list", { account })).find((one) => one.key === draft.key);
  const text = [kept.text, later?.text].filter(Boolean).join("\n\n");
  await call("drafts.save", { account, draft: { ...kept, text, files: [...kept.files, ...(later?.files ?? [])], form: kept.form ?? later?.form ?? null, filled: { ...kept.filled, ...later?.filled } } });
}

/** What waited, as a draft: its files are in the outbox, and went with it. */
const draftOf = ({ thread = "", to, subject = "", text = "" }) => ({
  key: thread || `new-${crypto.randomUUID()}`, thread, to: thread ? [] : to, subject, text, files: [], staged: [],
});

/** An answer to a form, as a draft of where it is asked. */
const answerOf = ({ thread = "" }, { message, place, values }) => ({ ...emptyDraft(`fill-${message}-${place}`, thread), filled: values });

/** Seconds until then, from second to second. @param {number} due_ms */
function useSecondsLeft(due_ms) {
  const left = () => Math.max(0, Math.ceil((due_ms - Date.now()) / 1000));
  const [seconds, setSeconds] = useState(left());
  useEffect(() => {
    setSeconds(left());
    const timer = setInterval(() => setSeconds(left()), 250);
    return () => clearInterval(timer);
  }, [due_ms]);
  return seconds;
}

/** The bar; nothing where nothing has just been sent, or where its conversation is open, which shows it. */
export function UndoBar() {
  const now = leaving.value;
  if (!now || route.value.thread === (now.draft?.thread || now.message || null)) return null;
  return html`<${Bar} now=${now} key=${now.request} />`;
}

const GONE_AFTER_MS = 6000;

function Bar({ now }) {
  const seconds = useSecondsLeft(now.due_ms);
  const undo = useRef(/** @type {HTMLButtonElement | null} */ (null));
  useEffect(() => {
    if (now.takesFocus) undo.current?.focus();
  }, []);
  useEffect(() => {
    if (now.state !== "sent") return undefined;
    const timer = setTimeout(() => {
      if (leaving.value?.request === now.request) leaving.value = null;
    }, GONE_AFTER_MS);
    return () => clearTimeout(timer);
  }, [now.state]);
  const canUndo = now.state === "undo" || now.state === "scheduled" || now.state === "waiting";
  const bad = now.state === "refused" || now.state === "held";
  return html`<section class="undo-bar ${bad ? "bad" : ""}" aria-label=${t("writing.undo_bar")}>
    <${Icon} name=${bad ? "warn" : now.state === "sent" ? "good" : "clock"} />
    <span><span role="status" class=${now.state === "undo" ? "spoken" : ""}>${said(now)}</span>
      ${now.state === "undo" && html`<span aria-hidden="true">${t("writing.leaves_in", { name: namesOf(now), count: seconds })}</span>`}</span>
    ${canUndo && html`<button ref=${undo} class="button small" type="button" onClick=${() => takeBack(now.account, now)}>${t("writing.undo")}</button>`}
    ${now.state === "sent" && now.message && html`<a class="button small" href=${link({ account: now.account, pane: "thread", thread: now.draft?.thread || now.message })}>${t("writing.show")}</a>`}
    <button class="button quiet small" type="button" aria-label=${t("writing.dismiss")} onClick=${() => (leaving.value = null)}><${Icon} name="close" /></button>
  </section>`;
}

/** @param {any} now */
const namesOf = (now) => joined((now.to ?? []).map(visible));

/** @param {any} now */
function said(now) {
  const name = namesOf(now);
  if (now.state === "scheduled") {
    return t("writing.said_scheduled", { when: fullMoment(now.due_ms) });
  }
  if (now.state === "refused" || now.state === "held") return `${t(`writing.said_${now.state}`, { name })} ${sentence(now.error)}`;
  if (now.state === "sent" && now.error) return sentence(now.error);
  return t(`writing.said_${now.state}`, { name });
}

