// SPDX-License-Identifier: AGPL-3.0-or-later
/** A first contact: 140 UTF-16 units of plain text (D2), counted while one writes. */

import { call, listen } from "../base/api.js";
import { html, Icon, useEffect, useRef, useState } from "../base/html.js";
import { t } from "../base/words.js";
import { Field, Notice, sentence, Trouble, useId, useRequest, wrongOf } from "../controls/controls.js";
import { newsOf } from "../state/outbox.js";
import { link } from "../state/routes.js";
import { useTyped } from "../state/typed.js";
import { PersonPicker } from "./person_picker.js";

/** wire.md §6; a letter is one, an emoji mostly two: a JavaScript string counts in the same units. */
export const PING_MAX_UNITS = 140;

/**
 * A text of a first contact, with its count.
 * @param {{label: string, value: string, onInput: (text: string) => void, hint?: string, wrong?: string, optional?: boolean, rows?: number}} of
 */
export function PingText({ label, value, onInput, hint = "", wrong = "", optional = false, rows = 4 }) {
  const id = useId("ping");
  const left = PING_MAX_UNITS - value.length;
  const over = left < 0;
  return html`<${Field} label=${label} hint=${hint} wrong=${wrong} optional=${optional}>
    ${(attributes) => html`<textarea ...${attributes} class="ping-text" rows=${rows} dir="auto" value=${value}
        aria-describedby="${attributes["aria-describedby"] ?? ""} ${id}" aria-invalid=${over || wrong ? "true" : undefined}
        onInput=${(event) => onInput(event.currentTarget.value)}></textarea>
      <div class="ping-count ${over ? "over" : ""}" id=${id}>
        <progress max=${PING_MAX_UNITS} value=${Math.min(value.length, PING_MAX_UNITS)} aria-hidden="true"></progress>
        <span>${over ? t("contacts.units_over", { count: -left }) : t("contacts.units_left", { count: left })}</span>
        <span class="spoken" role="status">${left <= 20 && left % 5 === 0 ? t("contacts.units_left", { count: left }) : ""}</span>
      </div>`}
  <//>`;
}

/**
 * Write to somebody who does not know one yet.
 * @param {{account: string, alias?: string, heading?: boolean}} of `heading`: whether it says itself what it is
 */
export function PingForm({ account, alias = "", heading = true }) {
  const { words: { to, text }, change, done } = useTyped(account, `ping ${alias}`, { to: alias, text: "" });
  const [sent, setSent] = useState(/** @type {any} */ (null));
  const { busy, problem, run } = useRequest();
  const next = useRef(/** @type {HTMLButtonElement | null} */ (null));

  useEffect(
    () =>
      listen(({ account: of, type, data }) => {
        if (of !== account || type !== "outbox") return;
        setSent((now) => (now?.request === data.request ? outcome(now, data) : now));
      }),
    [account],
  );
  useEffect(() => next.current?.focus(), [sent?.request]);

  const send = (event) => {
    event.preventDefault();
    if (text.length > PING_MAX_UNITS) return;
    run(async () => {
      const waiting = await call("people.ping", { account, alias: to.trim(), text });
      done();
      const news = newsOf(account, waiting.request) ?? { waiting };
      setSent(outcome({ request: waiting.request, to: to.trim(), text, state: "", error: "" }, news));
    });
  };
  const again = () => {
    setSent(null);
    change({ to: "", text: "" });
  };
  const back = () => {
    change({ to: sent.to, text: sent.text });
    call("outbox.act", { account, request: sent.request, act: "drop" }).catch(() => {});
    setSent(null);
  };
  return html`<section class="writing-page" aria-label=${t("contacts.ping_title")}>
    ${heading
      ? html`<header class="page-head"><div><h1>${t("contacts.ping_title")}</h1><p>${t("contacts.ping_text")}</p></div></header>`
      : html`<p class="muted">${t("contacts.ping_text")}</p>`}
    ${sent
      ? html`<div class="card narrow"><div class="card-body">
          ${sent.state === "refused"
            ? html`<${Notice} kind="bad" role="alert"><strong>${t("contacts.ping_refused", { name: sent.to })}</strong> ${sentence(sent.error)}<//>`
            : html`<${Notice} kind="good" role="status"><strong>${t(sent.state === "gone" ? "contacts.ping_sent" : "contacts.ping_waits", { name: sent.to })}</strong> ${t("contacts.ping_then")}<//>`}
          <pre class="ping-shown" dir="auto">${sent.text}</pre>
          <div class="form-acts">
            ${sent.state === "refused" && html`<button ref=${next} class="button first" type="button" onClick=${back}>${t("contacts.ping_mend")}</button>`}
            <button ref=${sent.state === "refused" ? undefined : next} class="button" type="button" onClick=${again}>${t("contacts.ping_another")}</button>
            <a class="button quiet" href=${link({ account, pane: "contacts" })}>${t("contacts.title")}</a>
          </div>
        </div></div>`
      : html`<form class="form" onSubmit=${send} noValidate>
          <${PersonPicker} account=${account} label=${t("contacts.ping_to")} hint=${t("contacts.ping_to_hint")} value=${to} onInput=${(name) => change({ to: name })}
            wrong=${wrongOf(problem, "alias")} autofocus=${!alias} />
          <${PingText} label=${t("contacts.ping_words")} hint=${t("contacts.ping_plain")} value=${text} onInput=${(words) => change({ text: words })} wrong=${wrongOf(problem, "text")} />
          <${Trouble} problem=${problem} except=${["alias", "text"]} />
          <div class="form-acts"><button class="button first" type="submit" disabled=${busy || !to.trim() || !text.trim() || text.length > PING_MAX_UNITS}>
            <${Icon} name="send" /> ${t("contacts.ping_send")}</button></div>
        </form>`}
  </section>`;
}

/** What became of it. @param {any} now @param {any} data of an outbox event */
function outcome(now, data) {
  if (!data.waiting) return { ...now, state: "gone" };
  return { ...now, state: data.waiting.state, error: data.waiting.error ?? "" };
}
