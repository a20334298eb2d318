// SPDX-License-Identifier: AGPL-3.0-or-later
/** Handing messages on, and asking people into a conversation with a note: both are asked in a window of their own. */

import { call } from "../base/api.js";
import { html } from "../base/html.js";
import { t } from "../base/words.js";
import { Dialog, Field, Trouble, useRequest, wrongOf } from "../controls/controls.js";
import { PeoplePicker } from "../people/person_picker.js";
import { useShown, useTyped } from "../state/typed.js";
import { leaves } from "./undo.js";

/**
 * Messages of a thread, to others, in a new thread.
 * @param {{account: string, thread: string, messages: string[], onClose: () => void}} of
 */
export function Forward({ account, thread, messages, onClose }) {
  const send = (to, text) => call("messages.forward", { account, thread, messages, to, text });
  return html`<${Asking} account=${account} place=${`forward ${thread} ${messages.join(" ")}`} title=${t("writing.forward_title", { count: messages.length })} text=${t("writing.forward_text")}
    words=${t("writing.forward_words")} act=${t("writing.forward")} field="text" onAct=${send} onClose=${onClose} />`;
}

/**
 * People who are to read a thread, too, from its beginning.
 * @param {{account: string, thread: string, onClose: () => void}} of
 */
export function AddReaders({ account, thread, onClose }) {
  const send = (to, note) => call("threads.add", { account, thread, to, note });
  return html`<${Asking} account=${account} place=${`add ${thread}`} title=${t("writing.add_title")} text=${t("writing.add_text")} words=${t("writing.add_note")}
    act=${t("writing.add")} field="note" onAct=${send} onClose=${onClose} />`;
}

function Asking({ account, place, title, text, words, act, field, onAct, onClose }) {
  const { words: { to, written }, change, done } = useTyped(account, place, { to: /** @type {string[]} */ ([]), written: "" });
  const isShown = useShown();
  const { busy, problem, run } = useRequest();
  const go = (event) => {
    event.preventDefault();
    run(async () => {
      const waiting = await onAct(to, written);
      leaves({ account, waiting, draft: null });
      done();
      if (isShown()) onClose();
    });
  };
  return html`<${Dialog} label=${title} onClose=${onClose}>
    <form class="confirm" onSubmit=${go}>
      <h2>${title}</h2>
      <p>${text}</p>
      <${PeoplePicker} account=${account} label=${t("writing.to")} names=${to} onChange=${(names) => change({ to: names })} wrong=${wrongOf(problem, "to")} autofocus />
      <${Field} label=${words} optional wrong=${wrongOf(problem, field)}>
        ${(attributes) => html`<textarea ...${attributes} rows="3" dir="auto" value=${written} onInput=${(event) => change({ written: event.currentTarget.value })}></textarea>`}
      <//>
      <${Trouble} problem=${problem} except=${["to", field]} />
      <div class="form-acts">
        <button class="button" type="button" onClick=${onClose}>${t("writing.cancel")}</button>
        <button class="button first" type="submit" disabled=${busy || !to.length}>${act}</button>
      </div>
    </form>
  <//>`;
}
