// SPDX-License-Identifier: AGPL-3.0-or-later
/** Answering a form: a draft at once, sent by one act, and shown with what became of it. It can be answered again. */

import { call, listen } from "../base/api.js";
import { html, Icon, useEffect, useLayoutEffect, useRef, useState } from "../base/html.js";
import { fullMoment, moment } from "../base/text.js";
import { t } from "../base/words.js";
import { sentence, Trouble, useRequest, wrongOf } from "../controls/controls.js";
import { sayProblem } from "../controls/saying.js";
import { conversation } from "../state/conversation.js";
import { emptyDraft, useDraft } from "../state/drafts.js";
import { leaves, takeBack } from "../writing/undo.js";
import { focusWrong, Questions, sent, wrongIn } from "./questions.js";
import { answerText, asked } from "./tables.js";

const FOLDED_CHARACTERS = 600; // a longer answer is opened on request

/**
 * @param {{account: string, message: any, place: number, table: import("./tables.js").Table, own: any}} of own: one's last answer, if any
 */
export function Filling({ account, message, place, table, own }) {
  const [again, setAgain] = useState(false);
  const [gone, setGone] = useState(/** @type {any} */ (null)); // sent from here, until it is known what became of it
  const state = useRef(/** @type {HTMLElement | null} */ (null));
  const waiting = conversation.value?.waiting.find((one) => one.filled === table.form.ffn);
  const shown = waiting || gone ? "waiting" : own && !again ? "own" : "asked";
  useEffect(() => {
    if (waiting || gone) setAgain(false);
    if (!gone) return undefined;
    if (own?.message !== gone.before) return setGone(null);
    return listen(({ account: of, type, data }) => {
      if (of === account && type === "outbox" && data.request === gone.request && !data.waiting && !data.message) setGone(null);
    });
  }, [waiting?.request, gone, own?.message]);
  useLayoutEffect(() => {
    if (document.activeElement === document.body && state.current) state.current.focus(); // what had the focus is not here any more
  }, [shown]);
  if (shown === "waiting") return html`<${OnItsWay} account=${account} waiting=${waiting} asks=${{ message: message.id, place }} place=${state} />`;
  if (shown === "own") return html`<${Answered} own=${own} table=${table} place=${state} onAgain=${() => setAgain(true)} />`;
  return html`<${Blank} account=${account} message=${message} place=${place} form=${table.form} own=${own} takesFocus=${again}
    onSent=${(request) => setGone({ request, before: own?.message })} onCancel=${own ? () => setAgain(false) : null} />`;
}

/** What was typed comes from the draft, else from the last answer. */
function Blank({ account, message, place, form, own, takesFocus, onSent, onCancel }) {
  const key = `fill-${message.id}-${place}`;
  const { draft, saved, change, flush, willHear, end } = useDraft(account, key, message.thread);
  const { busy, problem, run, clear } = useRequest();
  const [wrong, setWrong] = useState(/** @type {Record<string, string>} */ ({}));
  const [tried, setTried] = useState(false);
  const box = useRef(/** @type {HTMLFormElement | null} */ (null));
  const latest = useRef(draft);
  latest.current = draft;
  useEffect(() => {
    if (takesFocus && draft) box.current?.querySelector("input, select, textarea")?.focus();
  }, [Boolean(draft)]);
  if (!draft) return null;

  const begun = Object.keys(draft.filled).length > 0;
  const values = begun || !own ? draft.filled : typedOf(form.fields, own.values);
  const type = (name, value) => {
    const filled = { ...values, [name]: value ?? null };
    change({ filled });
    clear();
    if (tried) queueMicrotask(() => setWrong(wrongIn(form.fields, filled, box.current)));
  };
  const send = (event) => {
    event.preventDefault();
    if (busy) return; // it is on its way: a key sends it, too
    const found = wrongIn(form.fields, values, box.current);
    setTried(true);
    setWrong(found);
    if (Object.keys(found).length) return focusWrong(box.current, found);
    run(async () => {
      await flush();
      const waiting = await call("messages.fill", { account, message: message.id, place, values: sent(form.fields, values) });
      if (latest.current === draft) await drop(); // else somebody typed on: that is kept for another answer
      leaves({ account, waiting, draft: { ...emptyDraft(key, message.thread), filled: values } });
      onSent(waiting.request);
    });
  };
  const drop = async () => {
    willHear(null);
    end(); // first: what is typed is saved a moment later, and would come back
    await call("drafts.drop", { account, key }).catch(() => {});
  };
  const empty = async () => {
    setTried(false);
    setWrong({});
    box.current?.querySelector("input, select, textarea")?.focus(); // the button goes
    await drop();
  };
  const keyed = (event) => {
    if (event.key === "Escape") box.current?.closest("[data-message]")?.focus();
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) box.current?.requestSubmit();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const names = form.fields.map((one) => one.name);
  const said = names.includes(problem?.field) ? { ...wrong, [problem.field]: wrongOf(problem, problem.field) } : wrong;
  return html`<form class="filling" ref=${box} noValidate onSubmit=${send} onKeyDown=${keyed}>
    <${Questions} questions=${form.fields} values=${values} wrong=${said} onChange=${type} />
    <${Trouble} problem=${problem} except=${names} />
    <div class="form-acts">
      <button class="button first" type="submit" disabled=${busy} aria-keyshortcuts="Control+Enter">${t(busy ? "writing.sending" : own ? "forms.send_again" : "forms.send")}</button>
      ${begun && html`<button class="button quiet" type="button" onClick=${empty}>${t("forms.empty")}</button>`}
      ${onCancel && html`<button class="button quiet" type="button" onClick=${onCancel}>${t("writing.cancel")}</button>`}
      <span class="saved muted" role="status">${begun && saved ? t(`writing.draft_${saved}`) : ""}</span>
    </div>
  </form>`;
}

/** An answer as it would be typed. */
const typedOf = (questions, values) =>
  Object.fromEntries(questions.map((one, place) => [one.name, values[place] ?? undefined]).filter(([, value]) => value !== undefined));

const ICONS = { undo: "clock", scheduled: "clock", waiting: "queue", sending: "send", held: "key", refused: "warn" };

/** It has not left yet. */
function OnItsWay({ account, waiting, asks, place }) {
  const { state, error = "", due_ms = 0 } = waiting ?? { state: "sending" }; // it has just left, or is about to wait
  const bad = state === "held" || state === "refused";
  const back = () => takeBack(account, waiting, asks).catch(sayProblem);
  return html`<div class="notice ${bad ? "bad" : ""}" tabindex="-1" ref=${place} role="group" aria-label=${t("forms.yours")}><${Icon} name=${ICONS[state]} /><div>
    <p role="status">${t(`forms.wait_${state}`, { when: moment(due_ms) })}${error && html` <span class="wrong">${sentence(error)}</span>`}</p>
    ${state !== "sending" && html`<div class="form-acts"><button class="button small" type="button" onClick=${back}>${t("thread.take_back")}</button></div>`}
  </div></div>`;
}

/** What one has answered. */
function Answered({ own, table, place, onAgain }) {
  const kept = conversation.value?.messages.find((one) => one.id === own.message);
  const returned = kept?.state === "returned";
  return html`<div class="answered" tabindex="-1" ref=${place} role="group" aria-label=${t("forms.yours")}>
    <p class=${returned ? "wrong" : "answered-when"}><${Icon} name=${returned ? "warn" : "good"} /> <span>${t("forms.answered", { when: fullMoment(own.posted) })}
      ${returned && html` ${t("thread.state_returned")}.`}</span></p>
    <${Values} questions=${table.form.fields} values=${own.values} />
    <div class="form-acts"><button class="button small" type="button" onClick=${onAgain}>${t("forms.change")}</button></div>
  </div>`;
}

/** What was answered to each question. @param {{questions: import("./tables.js").Question[], values: any[]}} of */
export function Values({ questions, values }) {
  const answered = questions.map((one, place) => [one, answerText(one, values[place])]).filter(([, text]) => text);
  if (!answered.length) return html`<p class="muted">${t("forms.nothing_fits")}</p>`;
  return html`<dl class="values">${answered.map(([one, text]) => html`<div key=${one.name}><dt><bdi>${asked(one)}</bdi></dt><dd dir="auto">
    ${text.length <= FOLDED_CHARACTERS ? text : html`<details><summary>${text.slice(0, 120)}…</summary>${text}</details>`}</dd></div>`)}</dl>`;
}
