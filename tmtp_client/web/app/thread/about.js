// SPDX-License-Identifier: AGPL-3.0-or-later
/** What is known of a conversation, beside it: who reads it and how each stands, how it is locked, what was attached (B2, B9, D1). */

import { call } from "../base/api.js";
import { html, Icon, useEffect, useRef, useState } from "../base/html.js";
import { fullMoment, initials, size, visible } from "../base/text.js";
import { t } from "../base/words.js";
import { Switch, Trouble, useRequest } from "../controls/controls.js";
import { say } from "../controls/saying.js";
import { lockOf, Number60 } from "../people/keys_of.js";
import { refreshPerson } from "../state/people.js";
import { link } from "../state/routes.js";
import { accountOf } from "../state/state.js";

const FILES_SHOWN = 12;
const KEYS = { compared: "good", unseen: "warn", trouble: "bad" };

/** @param {{now: any, people: Map<string, any>, onClose: () => void}} of */
export function About({ now, people, onClose }) {
  const title = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => title.current?.focus(), []);
  const { account, thread } = now;
  const readers = thread.readers ?? [];
  const me = accountOf(account);
  return html`<aside class="about" aria-labelledby="about-title"
    onKeyDown=${(event) => event.key === "Escape" && !event.defaultPrevented && (event.preventDefault(), event.stopPropagation(), onClose())}>
    <header class="about-head"><h2 id="about-title" tabindex="-1" ref=${title}>${t("about.title")}</h2>
      <button class="button quiet small" type="button" aria-label=${t("about.close")} title=${t("about.close")} onClick=${onClose}><${Icon} name="close" /></button></header>
    <section aria-labelledby="about-people"><h3 id="about-people">${t("about.readers", { count: Math.max(readers.length, 1) })}</h3>
      ${readers.length
        ? html`<ul class="about-people">${readers.map((one) => html`<${Reader} key=${one.uid} account=${account} reader=${one} person=${people.get(one.uid)} came=${cameIn(one, readers, people)} isMe=${one.uid === me?.uid} />`)}</ul>`
        : html`<p class="muted">${t("about.first_contact")}</p>`}</section>
    <${Locked} now=${now} people=${people} />
    <${Files} now=${now} onGo=${onClose} />
    <dl class="about-facts">
      <div><dt>${t("about.messages")}</dt><dd>${thread.messages}</dd></div>
      ${now.messages.length > 0 && !now.before && html`<div><dt>${t("about.began")}</dt><dd><time datetime=${now.messages[0].posted}>${fullMoment(now.messages[0].posted)}</time></dd></div>`}
    </dl>
  </aside>`;
}

/** Who began it has this note; those who were named then are asked in by him, which needs no word. */
const AUTHOR = "author";

/** How somebody came in. @param {any} reader @param {any[]} readers @param {Map<string, any>} people */
function cameIn(reader, readers, people) {
  if (reader.note === AUTHOR) return t("about.began_it");
  const began = readers.find((one) => one.note === AUTHOR)?.uid;
  const by = people.get(reader.by)?.alias ?? readers.find((one) => one.uid === reader.by)?.alias;
  if (!by || (reader.by === began && !reader.note)) return "";
  return t(reader.note ? "about.asked_in_with" : "about.asked_in", { name: visible(by), note: visible(reader.note ?? "") });
}

/** One who reads along: under which name, since when he is known, and whether his keys were compared. */
function Reader({ account, reader, person, came, isMe }) {
  const [number, setNumber] = useState(/** @type {any} */ (null));
  const opener = useRef(/** @type {HTMLElement | null} */ (null));
  const { busy, problem, run } = useRequest();
  const name = visible(person?.alias || reader.alias || reader.uid);
  const compare = () => run(async () => setNumber(number ? null : await call("keys.safety", { account, uid: reader.uid })));
  const same = () =>
    run(async () => {
      await call("keys.seen", { account, uid: reader.uid, head: number.head, compared: true });
      await refreshPerson(account, reader.uid);
      setNumber(null);
      opener.current?.focus(); // the button that was pressed goes
      say(t("thread.keys_confirmed", { name }));
    });
  return html`<li>
    <span class="avatar" aria-hidden="true">${initials(name)}</span>
    <div class="about-person">
      <p><bdi>${name}</bdi>${isMe && html` <span class="muted">${t("thread.you")}</span>`}
        ${person?.present && html` <span class="badge good dot">${t("contacts.present")}</span>`}
        ${person?.via && html` <span class="badge warn">${t("contacts.from_outside")}</span>`}
        ${!isMe && KEYS[person?.keys] && html` <span class="badge ${KEYS[person.keys]}">${t(`contacts.keys_${person.keys}`)}</span>`}</p>
      ${came && html`<p class="hint">${came}</p>`}
      ${person?.proof && html`<p class="hint">${t("about.proof", { proof: visible(person.proof) })}</p>`}
      ${!isMe && (person?.keys ?? "none") === "none" && html`<p class="hint">${t("about.no_keys")}</p>`}
      ${number && html`<${Number60} number=${number} name=${name} />`}
      <${Trouble} problem=${problem} />
      ${!isMe && (person?.keys ?? "none") !== "none" && html`<div class="form-acts">
        <button ref=${opener} class="button small" type="button" aria-expanded=${Boolean(number)} onClick=${compare}>${t(number ? "about.number_close" : "about.number")}<span class="spoken"> ${name}</span></button>
        ${number && !number.compared && html`<button class="button small first" type="button" disabled=${busy} onClick=${same}>${t("thread.keys_same")}</button>`}
      </div>`}
    </div>
  </li>`;
}

/** How it is locked, and that it is to stay so. */
function Locked({ now, people }) {
  const { account, thread } = now;
  const { busy, problem, run } = useRequest();
  if (!now.messages.some((one) => one.kind === "message")) return null;
  const { locked, why } = lockOf(thread, now.messages, people);
  const change = (wanted) => run(() => call("threads.mark", { account, thread: thread.id, encryption: wanted ? "on" : "off" }));
  return html`<section aria-labelledby="about-lock"><h3 id="about-lock"><${Icon} name=${locked ? "lock" : "unlock"} /> ${t(locked ? "thread.locked" : "thread.open")}</h3>
    ${why.map((one) => html`<p class="hint">${one}</p>`)}
    ${(accountOf(account)?.revision ?? 1) >= 2 && thread.encryption !== "shared" && html`<${Switch} label=${t("about.always")} hint=${t("about.always_hint")} checked=${thread.encryption === "on"} disabled=${busy} onChange=${change} />`}
    <${Trouble} problem=${problem} />
  </section>`;
}

/** What was attached, the latest first, as far as the conversation is loaded; all of it by a search. */
function Files({ now, onGo }) {
  const { account, thread, messages } = now;
  if (!thread.files) return null;
  const found = messages.toReversed().flatMap((message) => (message.attachments ?? []).filter((file) => file.kind === "file").map((file) => ({ message, file })));
  const shown = found.slice(0, FILES_SHOWN);
  const query = `${thread.subject ? `in:"${thread.subject.replaceAll('"', " ")}" ` : ""}has:file`;
  return html`<section aria-labelledby="about-files"><h3 id="about-files">${t("about.files", { count: thread.files })}</h3>
    <ul class="about-files">${shown.map(({ message, file }) => html`<li key=${`${message.id}/${file.place}`}><${Icon} name="clip" />
      <a href=${link({ account, pane: "thread", thread: thread.id, query: { at: message.id } })} onClick=${onGo}><bdi>${visible(file.name) || t("thread.unnamed_file")}</bdi></a> <span class="muted">${size(file.size)}</span></li>`)}</ul>
    ${shown.length < thread.files && html`<p><a href=${link({ page: "search", query: { q: query, in: account } })}>${t("about.all_files")}</a></p>`}
  </section>`;
}
