// SPDX-License-Identifier: AGPL-3.0-or-later
/** People: who asks to write, shown as they wrote it and no more (D2); who is known; who is not to be heard of again. */

import { call, listen } from "../base/api.js";
import { html, Icon, useEffect, useMemo, useState } from "../base/html.js";
import { joined, visible } from "../base/text.js";
import { language, t } from "../base/words.js";
import { Confirm, Dialog, Switch, Trouble, useRequest, whenText, wrongOf } from "../controls/controls.js";
import { Fetched } from "../controls/fetched.js";
import { link } from "../state/routes.js";
import { accountOf } from "../state/state.js";
import { useTyped } from "../state/typed.js";
import { Groups } from "./groups.js";
import { PING_MAX_UNITS, PingText } from "./ping.js";

const LATEST = 200;

/** Everybody known to an account, and what those wrote who ask. */
function usePeople(account) {
  const [people, setPeople] = useState(/** @type {any[] | null} */ (null));
  const [pings, setPings] = useState(/** @type {Record<string, any>} */ ({}));
  useEffect(() => {
    let over = false;
    let turn = 0;
    const ask = async () => {
      const own = ++turn;
      const all = await call("people.list", { account });
      const asking = all.filter((one) => one.stands === "asks" || one.stands === "ignored");
      const found = asking.length ? await pingsOf(account, asking) : {};
      if (over || own !== turn) return; // asked again meanwhile: that answer is newer
      setPings(found);
      setPeople(all);
      const unseen = Object.values(found).filter((one) => one.seen === false).map((one) => one.id);
      if (unseen.length) call("messages.seen", { account, messages: unseen }).catch(() => {});
    };
    ask().catch(() => {});
    const stop = listen(({ account: of, type, data }) => {
      if (type === "gap" || (of === account && (type === "person" || (type === "message" && data.message.kind === "ping")))) ask().catch(() => {});
      if (of === account && type === "presence") {
        setPeople((all) => all && all.map((one) => (one.uid === data.uid ? { ...one, present: data.present } : one)));
      }
    });
    return () => {
      over = true;
      stop();
    };
  }, [account]);
  return { people, pings };
}

/** The last words of each, from the latest messages, or by a search for those who wrote longer ago. */
async function pingsOf(account, people) {
  const isPing = (one) => one.kind === "ping" && !one.outgoing;
  const latest = (await call("messages.latest", { account, limit: LATEST })).filter(isPing);
  const found = Object.fromEntries(latest.map((one) => [one.author, one]));
  const missing = people.filter((one) => !found[one.uid]);
  await Promise.all(missing.map(async (one) => {
    const { found: older } = await call("search", { account, query: `from:"${one.uid}"`, limit: 20 }).catch(() => ({ found: [] }));
    const ping = older.map((result) => result.message).find(isPing);
    if (ping) found[one.uid] = ping;
  }));
  return found;
}

/** @param {{account: string}} of */
export function Contacts({ account }) {
  const { people, pings } = usePeople(account);
  const [text, setText] = useState("");
  const shown = useMemo(() => {
    const wanted = text.trim().toLocaleLowerCase();
    const all = (people ?? []).filter((one) => one.stands !== "self");
    return wanted ? all.filter((one) => [one.alias, ...one.aliases].some((name) => name.toLocaleLowerCase().includes(wanted))) : all;
  }, [people, text]);
  if (!people) return null;
  const of = (...stands) => shown.filter((one) => !one.blocked && stands.includes(one.stands));
  const asking = people.filter((one) => one.stands === "asks" && !one.blocked);
  const nobody = people.every((one) => one.stands === "self" || one.stands === "stranger");
  return html`<section class="writing-page contacts" aria-labelledby="contacts-title" data-keeps-focus>
    <header class="page-head"><div><h1 id="contacts-title">${t("contacts.title")}</h1><p>${t("contacts.text")}</p></div>
      <div class="form-acts"><a class="button ${asking.length ? "" : "first"}" href=${link({ account, pane: "ping" })}><${Icon} name="plus" /> ${t("contacts.ping_title")}</a></div></header>
    ${asking.length > 0 && html`<section class="asking" aria-labelledby="asking"><h2 id="asking">${t("contacts.asking", { count: asking.length })}</h2>
      <ul class="list">${asking.map((one) => html`<${Asking} key=${one.uid} account=${account} person=${one} ping=${pings[one.uid]} />`)}</ul></section>`}
    ${nobody && !asking.length
      ? html`<div class="card"><div class="empty"><${Icon} name="people" /><h2>${t("contacts.nobody")}</h2><p>${t("contacts.nobody_text")}</p>
          <a class="button first" href=${link({ account, pane: "ping" })}>${t("contacts.ping_title")}</a></div></div>`
      : html`<div class="field contacts-find"><label class="spoken" for="contacts-find">${t("contacts.find")}</label>
          <input id="contacts-find" type="search" placeholder=${t("contacts.find")} value=${text} onInput=${(event) => setText(event.currentTarget.value)} /></div>
        <${People} account=${account} title=${t("contacts.known")} people=${of("contact")} />
        <${People} account=${account} title=${t("contacts.outside")} people=${of("outside")} />
        <${People} account=${account} title=${t("contacts.asked")} people=${of("asked")} />
        <${People} account=${account} title=${t("contacts.ignored")} people=${of("ignored")} closed />
        <${People} account=${account} title=${t("contacts.blocked")} people=${shown.filter((one) => one.blocked)} closed />
        ${text && !shown.length && html`<p class="muted" role="status">${t("contacts.none_so", { text })}</p>`}
        ${!text && html`<${Groups} account=${account} />`}`}
    <${Introductions} account=${account} />
  </section>`;
}

/** Whether the service can be told of somebody: one who has only been asked has written nothing. */
const mayReport = (account, person) => accountOf(account)?.reports === true && !["stranger", "asked", "self"].includes(person.stands);

/** Somebody who asks: the words in a box of one width, in which nothing is a link, nothing is rendered (D2). */
function Asking({ account, person, ping }) {
  const [answering, setAnswering] = useState("");
  const { busy, problem, run } = useRequest();
  const act = (name, text = "") => run(() => call("people.answer", { account, uid: person.uid, act: name, text }));
  return html`<li class="card ping"><article class="card-body" aria-label=${t("contacts.ping_of", { name: visible(person.alias) })}>
    <div class="ping-head"><strong><bdi>${visible(person.alias)}</bdi></strong>
      ${person.via && html`<span class="badge warn">${t("contacts.from_outside")}</span>`}
      ${ping && html`<time class="muted" datetime=${ping.posted}>${whenText(Date.parse(ping.posted), language.value)}</time>`}</div>
    <pre class="ping-shown" dir="auto">${visible(ping?.text ?? "") || t("contacts.no_words")}</pre>
    <p class="hint">${t("contacts.ping_verified", { name: visible(person.alias) })}</p>
    <${Trouble} problem=${problem} />
    <div class="form-acts">
      <button class="button first" type="button" disabled=${busy} onClick=${() => setAnswering("accept")}>${t("contacts.accept")}<span class="spoken"> ${visible(person.alias)}</span></button>
      <button class="button" type="button" disabled=${busy} onClick=${() => act("ignore")}>${t("contacts.ignore")}<span class="spoken"> ${visible(person.alias)}</span></button>
      <button class="button danger" type="button" disabled=${busy} onClick=${() => setAnswering("block")}>${t("contacts.block")}<span class="spoken"> ${visible(person.alias)}</span></button>
      ${mayReport(account, person) && html`<button class="button quiet" type="button" disabled=${busy} onClick=${() => setAnswering("report")}>${t("contacts.report")}<span class="spoken"> ${visible(person.alias)}</span></button>`}
    </div>
    ${answering === "report" && html`<${Fetched} from="people/report" part="ReportDialog" account=${account} person=${person} onClose=${() => setAnswering("")} />`}
    ${answering === "accept" && html`<${Accept} account=${account} person=${person} onClose=${() => setAnswering("")} />`}
    ${answering === "block" && html`<${Block} account=${account} person=${person} onClose=${() => setAnswering("")} />`}
  </article></li>`;
}

/** Accepting is a ping back: so an answer fits in. */
function Accept({ account, person, onClose }) {
  const { words: { text }, change, done } = useTyped(account, `accept ${person.uid}`, { text: "" });
  const { busy, problem, run } = useRequest();
  const accept = (event) => {
    event.preventDefault();
    if (text.length > PING_MAX_UNITS) return;
    run(async () => {
      await call("people.answer", { account, uid: person.uid, act: "accept", text });
      done();
      onClose();
    });
  };
  return html`<${Dialog} label=${t("contacts.accept_title", { name: visible(person.alias) })} onClose=${onClose}>
    <form class="confirm" onSubmit=${accept}>
      <h2>${t("contacts.accept_title", { name: visible(person.alias) })}</h2>
      <p>${t("contacts.accept_text")}</p>
      <${PingText} label=${t("contacts.accept_answer")} optional rows=${3} value=${text} onInput=${(words) => change({ text: words })} wrong=${wrongOf(problem, "text")} />
      <${Trouble} problem=${problem} except=${["text"]} />
      <div class="form-acts"><button class="button" type="button" onClick=${onClose}>${t("writing.cancel")}</button>
        <button class="button first" type="submit" disabled=${busy || text.length > PING_MAX_UNITS}>${t("contacts.accept")}</button></div>
    </form>
  <//>`;
}

function Block({ account, person, onClose }) {
  const { busy, problem, run } = useRequest();
  const block = () =>
    run(async () => {
      await call("people.answer", { account, uid: person.uid, act: "block" });
      onClose();
    });
  return html`<${Confirm} title=${t("contacts.block_title", { name: visible(person.alias) })} text=${t("contacts.block_text")} act=${t("contacts.block")}
    busy=${busy} problem=${problem} onAct=${block} onClose=${onClose} />`;
}

/** A list of people, with what one may do. */
function People({ account, title, people, closed = false }) {
  if (!people.length) return null;
  const list = html`<ul class="people">${people.map((one) => html`<${Person} key=${one.uid} account=${account} person=${one} />`)}</ul>`;
  if (closed) return html`<details class="card people-card"><summary class="card-head"><h2>${title} <span class="muted">${people.length}</span></h2></summary>${list}</details>`;
  return html`<section class="card people-card" aria-label=${title}><div class="card-head"><h2>${title} <span class="muted">${people.length}</span></h2></div>${list}</section>`;
}

const KEYS = { unseen: "warn", trouble: "bad", compared: "good" };

function Person({ account, person }) {
  const [asking, setAsking] = useState("");
  const { busy, problem, run } = useRequest();
  const act = (name) => run(() => call("people.answer", { account, uid: person.uid, act: name }));
  const others = person.aliases.filter((name) => name !== person.alias);
  const mayWrite = person.stands === "contact" || person.stands === "outside";
  return html`<li>
    <div class="person-name"><bdi>${visible(person.alias)}</bdi>
      ${person.present && html`<span class="badge good dot">${t("contacts.present")}</span>`}
      ${person.via && html`<span class="badge warn">${t("contacts.from_outside")}</span>`}
      ${KEYS[person.keys] && html`<span class="badge ${KEYS[person.keys]}">${t(`contacts.keys_${person.keys}`)}</span>`}
      ${others.length > 0 && html`<small class="muted">${t("contacts.also")} <bdi>${joined(others.map(visible))}</bdi></small>`}
      <${Trouble} problem=${problem} /></div>
    <div class="form-acts">
      ${mayWrite && !person.blocked && html`<a class="button small" href=${link({ account, pane: "new", query: { to: person.alias } })}>${t("contacts.write")}<span class="spoken"> ${visible(person.alias)}</span></a>`}
      ${person.stands === "ignored" && !person.blocked && html`<button class="button small" type="button" onClick=${() => setAsking("accept")}>${t("contacts.accept")}<span class="spoken"> ${visible(person.alias)}</span></button>`}
      ${person.blocked
        ? html`<button class="button small" type="button" disabled=${busy} onClick=${() => act("unblock")}>${t("contacts.unblock")}<span class="spoken"> ${visible(person.alias)}</span></button>`
        : html`<button class="button small quiet danger" type="button" onClick=${() => setAsking("block")}>${t("contacts.block")}<span class="spoken"> ${visible(person.alias)}</span></button>`}
      ${mayReport(account, person) && html`<button class="button small quiet" type="button" onClick=${() => setAsking("report")}>${t("contacts.report")}<span class="spoken"> ${visible(person.alias)}</span></button>`}
    </div>
    ${asking === "report" && html`<${Fetched} from="people/report" part="ReportDialog" account=${account} person=${person} onClose=${() => setAsking("")} />`}
    ${asking === "accept" && html`<${Accept} account=${account} person=${person} onClose=${() => setAsking("")} />`}
    ${asking === "block" && html`<${Block} account=${account} person=${person} onClose=${() => setAsking("")} />`}
  </li>`;
}

/** Whether others may make people known to one (A3). */
function Introductions({ account }) {
  const { busy, problem, run } = useRequest();
  const known = accountOf(account);
  if (!known || known.revision < 2) return null;
  const change = (wanted) => run(() => call("people.introductions", { account, wanted }));
  return html`<section class="card" aria-label=${t("contacts.introductions_title")}><div class="card-body">
    <${Switch} label=${t("contacts.introductions")} hint=${t("contacts.introductions_hint")} checked=${known.introductions !== false} disabled=${busy} onChange=${change} />
    <${Trouble} problem=${problem} /></div></section>`;
}
