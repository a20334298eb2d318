// SPDX-License-Identifier: AGPL-3.0-or-later
/** What a person does to a conversation: put it away, silence it, have it come back, tag it, mark it; each can be undone. */

import { call } from "../base/api.js";
import { html, Icon, useEffect, useState } from "../base/html.js";
import { fullMoment, moment } from "../base/text.js";
import { t } from "../base/words.js";
import { Popup } from "../controls/popup.js";
import { say, sayProblem } from "../controls/saying.js";
import { conversation } from "../state/conversation.js";

const MORNING = 8;
const EVENING = 18;

/**
 * Mark a conversation; what is said can be taken back.
 * @param {any} thread with its `account`
 * @param {Record<string, any>} fields of threads.mark
 * @param {string} said
 * @param {Record<string, any>} [back] what undoes it
 */
async function mark(thread, fields, said, back) {
  const of = { account: thread.account, thread: thread.id };
  try {
    await call("threads.mark", { ...of, ...fields });
    say(said, back && { undo: () => call("threads.mark", { ...of, ...back }).catch(sayProblem) });
  } catch (problem) {
    sayProblem(problem);
  }
}

/** @param {any} thread */
export const archive = (thread) =>
  mark(thread, { archived: !thread.archived }, t(thread.archived ? "thread.unarchived" : "thread.archived"), {
    archived: Boolean(thread.archived),
  });

/** @param {any} thread */
export const mute = (thread) =>
  mark(thread, { muted: !thread.muted }, t(thread.muted ? "thread.unmuted" : "thread.muted"), { muted: Boolean(thread.muted) });

/** @param {any} thread @param {number} until_ms 0: it is back */
export const snooze = (thread, until_ms) =>
  mark(
    thread,
    { snoozed_until_ms: until_ms },
    until_ms ? t("thread.snoozed", { when: fullMoment(until_ms) }) : t("thread.unsnoozed"),
    { snoozed_until_ms: thread.snoozed_until_ms ?? 0 },
  );

/** @param {any} thread @param {string} name */
export const tag = (thread, name) => mark(thread, { tag: name }, t("thread.tagged", { name }), { untag: name });

/** @param {any} thread @param {string} name */
export const untag = (thread, name) => mark(thread, { untag: name }, t("thread.untagged", { name }), { tag: name });

/** Unread again: the last message that somebody else wrote. @param {any} thread */
export async function markUnread(thread) {
  try {
    const open = conversation.value;
    const found = open?.id === thread.id ? open : await call("threads.read", { account: thread.account, thread: thread.id, limit: 50 });
    const last = found.messages.findLast((one) => !one.outgoing);
    if (!last) return false;
    await call("messages.seen", { account: thread.account, messages: [last.id], seen: false });
    say(t("thread.marked_unread"));
    return true;
  } catch (problem) {
    sayProblem(problem);
    return false;
  }
}

/** Everything in it was read. @param {any} thread */
export const markRead = (thread) =>
  call("messages.seen", { account: thread.account, thread: thread.id }).then(() => say(t("thread.marked_read")), sayProblem);

/** When one wants to see it again. @param {{thread: any}} of */
export function SnoozeMenu({ thread }) {
  const snoozed = (thread.snoozed_until_ms ?? 0) > Date.now();
  return html`<${Popup} id="act-snooze" name=${t("thread.snooze")} label=${html`<${Icon} name="clock" />`}>
    ${(close) => {
      const choose = (until) => (close(), snooze(thread, until));
      return html`
        ${snoozed && html`<button class="choice-line" type="button" onClick=${() => choose(0)}>${t("thread.snooze_end")}</button>`}
        ${presets(new Date()).map(
          ([name, at]) => html`<button class="choice-line" type="button" onClick=${() => choose(at.getTime())}>
            <span>${t(`thread.${name}`)}</span><span class="muted">${weekTime(at)}</span>
          </button>`,
        )}
        <${SnoozeDate} choose=${choose} />`;
    }}
  <//>`;
}

function SnoozeDate({ choose }) {
  const [value, setValue] = useState("");
  const until = value ? new Date(value).getTime() : 0;
  return html`<form class="popup-form" onSubmit=${(event) => (event.preventDefault(), until > Date.now() && choose(until))}>
    <label for="snooze-date">${t("thread.snooze_date")}</label>
    <input id="snooze-date" type="datetime-local" value=${value} onInput=${(event) => setValue(event.target.value)} />
    <button class="button small" disabled=${!(until > Date.now())}>${t("thread.snooze")}</button>
  </form>`;
}

/** When that may be: a word's name, and the time. @param {Date} now @returns {[string, Date][]} */
export function presets(now) {
  const at = (days, hour) => new Date(now.getFullYear(), now.getMonth(), now.getDate() + days, hour);
  const monday = ((8 - now.getDay()) % 7) || 7;
  const made = [];
  if (now.getHours() < EVENING - 1) made.push(["snooze_evening", at(0, EVENING)]);
  made.push(["snooze_tomorrow", at(1, MORNING)], ["snooze_monday", at(monday, MORNING)]);
  return /** @type {any} */ (made);
}

/** @param {Date} at */
export const weekTime = (at) => new Intl.DateTimeFormat(document.documentElement.lang, { weekday: "short", hour: "numeric", minute: "2-digit" }).format(at);

/** The tags of a conversation: on, off, or a new one. @param {{thread: any}} of */
export function TagMenu({ thread }) {
  return html`<${Popup} id="act-tag" name=${t("thread.tag")} label=${html`<${Icon} name="tag" />`}>
    ${(close) => html`<${Tags} thread=${thread} close=${close} />`}
  <//>`;
}

function Tags({ thread, close }) {
  const [known, setKnown] = useState([]);
  const [name, setName] = useState("");
  useEffect(() => {
    call("tags.list", { account: thread.account }).then((found) => setKnown(found.map((one) => one.name)), () => {});
  }, [thread.account]);
  const own = thread.tags ?? [];
  const all = [...new Set([...own, ...known])].sort((one, other) => one.localeCompare(other));
  const add = (event) => {
    event.preventDefault();
    const wanted = name.trim();
    if (wanted) tag(thread, wanted).then(close);
  };
  return html`
    ${all.map(
      (one) => html`<label class="choice popup-choice" key=${one}>
        <input type="checkbox" checked=${own.includes(one)} onChange=${() => (own.includes(one) ? untag(thread, one) : tag(thread, one))} />
        <bdi>${one}</bdi>
      </label>`,
    )}
    <form class="popup-form" onSubmit=${add}>
      <label for="new-tag">${t("thread.new_tag")}</label>
      <input id="new-tag" value=${name} maxlength="64" autocomplete="off" onInput=${(event) => setName(event.target.value)} />
      <button class="button small" disabled=${!name.trim()}>${t("thread.add_tag")}</button>
    </form>`;
}

/** Which of the acts have words of their own in a list. @param {any} thread */
export const waitsUntil = (thread) => ((thread.snoozed_until_ms ?? 0) > Date.now() ? moment(thread.snoozed_until_ms) : "");
