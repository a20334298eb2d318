// SPDX-License-Identifier: AGPL-3.0-or-later
/** One message: who, when, what, what became of it, and what is not borne out about it. */

import { call } from "../base/api.js";
import { html, Icon, useEffect, useLayoutEffect, useRef, useState } from "../base/html.js";
import { fullMoment, initials, joined, moment, told, visible } from "../base/text.js";
import { fromEngine, t } from "../base/words.js";
import { sentence } from "../controls/controls.js";
import { sayProblem } from "../controls/saying.js";
import { AnswerContact, AnswerInvitation } from "../people/first_contact.js";
import { htmlOf, isRendered, nodesOf } from "../state/rendering.js";
import { currentMessage, forward, reply } from "./at_hand.js";
import { Attached } from "./attached.js";

const NAME_CHARACTERS = 140; // of a message's text, in its name for a screen reader
/** States that are said in words, and the icon that stands beside. */
const STATES = { sent: "good", returned: "warn", sealed: "key", partial: "queue", unreadable: "warn", unconfirmed: "about" };
const GOOD = new Set(["sent"]);

/**
 * @param {object} of
 * @param {string} of.account
 * @param {any} of.message
 * @param {string} of.subject of its conversation
 * @param {any} of.person its author, as far as known
 * @param {string} of.me how one is called oneself
 * @param {boolean} of.isCurrent whether it takes part in the order of Tab
 */
export function Message({ account, message, subject: topic, person, me, isCurrent }) {
  const { kind, outgoing, state } = message;
  const name = outgoing && kind !== "return" ? t("thread.you") : visible(message.alias || person?.alias || message.author);
  const subject = told(message.subject ?? "").trim();
  const other = subject && subject !== told(topic).trim() ? subject : "";
  const states = statesOf(message);
  const spoken = t("thread.message_name", {
    who: name,
    when: fullMoment(message.posted),
    state: joined([t(`thread.kind_${kind}`), ...states.map(([word]) => word)].filter(Boolean)),
    text: told(wordsOf(message) || (message.attachments ?? []).map((one) => one.name).join(", ")).slice(0, NAME_CHARACTERS),
  });
  const classes = ["message", kind, outgoing ? "own" : "", state, message.seen === false && !outgoing ? "unseen" : ""].filter(Boolean);
  return html`<article class=${classes.join(" ")} data-message=${message.id} aria-label=${spoken} data-keeps-focus tabindex=${isCurrent ? 0 : -1}
    onFocus=${() => (currentMessage.value = message.id)}>
    <span class="avatar" aria-hidden="true">${initials(outgoing ? me : message.alias || "")}</span>
    <header class="message-head">
      <strong class="message-who"><bdi>${name}</bdi></strong>
      ${outgoing && (message.to ?? []).length > 0 && html`<span class="muted message-to">${t("thread.to", { names: joined(message.to.map(visible)) })}</span>`}
      ${kind !== "message" && html`<span class="badge">${t(`thread.kind_${kind}`)}</span>`}
      ${message.verified === false && html`<span class="badge warn">${t("thread.unverified")}</span>`}
      ${message.via && html`<span class="badge warn">${t("thread.outside", { via: visible(message.via) })}</span>`}
      ${message.mentions && html`<span class="badge named">${t("thread.names_you")}</span>`}
      ${message.suite > 0 && html`<span class="sealed" title=${t("thread.sealed")}><${Icon} name="lock" /><span class="spoken">${t("thread.sealed")}</span></span>`}
      <time class="message-when" datetime=${message.posted} title=${fullMoment(message.posted)}>${moment(message.posted)}</time>
    </header>
    ${other && html`<p class="message-subject"><bdi>${other}</bdi></p>`}
    <${Body} account=${account} message=${message} />
    ${(message.attachments ?? []).length > 0 && html`<${Attached} account=${account} message=${message} />`}
    ${states.filter(([, , shown]) => shown).map(([word, icon, , bad]) => html`<p class=${`message-state ${bad ? "bad" : ""}`}><${Icon} name=${icon} /> ${word}
      ${state === "sealed" && icon === "key" && html` <button class="button small quiet" type="button" onClick=${() => call("messages.ask_key", { account, message: message.id }).catch(sayProblem)}>${t("thread.ask_key")}</button>`}</p>`)}
    ${(message.doubts ?? []).length > 0 && html`<ul class="doubts" aria-label=${t("thread.doubts")}>
      ${message.doubts.map((one) => html`<li><${Icon} name="warn" /><span>${visible(fromEngine(one))}</span></li>`)}
    </ul>`}
    ${kind === "ping" && !outgoing && html`<${AnswerContact} account=${account} message=${message} person=${person} />`}
    ${kind === "invitation" && !outgoing && html`<${AnswerInvitation} account=${account} message=${message} />`}
    ${message.plain && kind === "message" && !outgoing && html`<${AnswerContact} account=${account} message=${message} person=${person} />`}
    ${kind === "message" && html`<div class="message-acts">
      <button class="button small quiet" type="button" onClick=${() => reply(message)}><${Icon} name="reply" /> ${t("thread.reply")}</button>
      ${!message.plain && html`<button class="button small quiet" type="button" onClick=${() => forward(message)}><${Icon} name="forward" /> ${t("thread.forward")}</button>`}
    </div>`}
  </article>`;
}

/**
 * What is to be said of it: the words, an icon, whether it stands below the message, whether it is bad.
 * @returns {[string, string, boolean, boolean][]}
 */
function statesOf(message) {
  const found = [];
  const { state, kind } = message;
  if (state in STATES && !(state === "returned" && kind === "return")) {
    found.push([t(`thread.state_${state}`), STATES[state], true, !GOOD.has(state)]);
  }
  if (message.unsettled) found.push([t("thread.unsettled"), "clock", true, true]);
  if (message.seen === false && !message.outgoing) found.push([t("thread.unread"), "dot", false, false]);
  if (message.plain && kind === "message") found.push([t("thread.plain"), "shield", true, false]);
  return found;
}

/** Its text, which nobody wrote where it came back, or made no sense: then it is the engine's. @param {any} message */
const wordsOf = ({ kind, state, text = "" }) => (kind === "return" || state === "unreadable" ? fromEngine(text) : text);

/** What it says: as the engine rendered it, or as it was written. */
function Body({ account, message }) {
  const place = useRef(null);
  const known = isRendered(message) ? htmlOf(message.text) : "";
  const [html_, setHtml] = useState(typeof known === "string" ? known : "");
  useEffect(() => {
    if (!isRendered(message)) return undefined;
    let over = false;
    const found = htmlOf(message.text);
    if (typeof found === "string") setHtml(found);
    else found.then((made) => !over && setHtml(made), () => {});
    return () => (over = true);
  }, [message.text, message.plain, message.state]);
  useLayoutEffect(() => {
    if (html_ && place.current) place.current.replaceChildren(nodesOf(html_));
  }, [html_, message.plain]);
  if (!message.text) return message.state === "sealed" ? html`<p class="as-written muted">${t("thread.sealed_text")}</p>` : null;
  if (message.kind === "return") return html`<p>${sentence(message.text)}</p>`;
  if (!isRendered(message)) return html`<pre class="verbatim" dir="auto" tabindex="0" aria-label=${t("thread.as_written")}>${visible(wordsOf(message))}</pre>`;
  if (!html_) return html`<p class="as-written" dir="auto">${told(message.text)}</p>`;
  return html`<div class="prose" ref=${place}></div>`;
}
