// SPDX-License-Identifier: AGPL-3.0-or-later
/** Groups: lists to write to. Who is in one, founding one, asking people in, and leaving it (A6). */

import { call, listen } from "../base/api.js";
import { html, Icon, useEffect, useState } from "../base/html.js";
import { joined, visible } from "../base/text.js";
import { t } from "../base/words.js";
import { Confirm, Dialog, Field, Notice, sentence, Trouble, useRequest, wrongOf } from "../controls/controls.js";
import { Fetched } from "../controls/fetched.js";
import { newsOf } from "../state/outbox.js";
import { peopleOf } from "../state/people.js";
import { link } from "../state/routes.js";
import { accountOf } from "../state/state.js";
import { useTyped } from "../state/typed.js";
import { PersonPicker } from "./person_picker.js";
import { PING_MAX_UNITS, PingText } from "./ping.js";

const NAMES_SHOWN = 4;

/** Those of an account, kept true. @param {string} account */
function useGroups(account) {
  const [groups, setGroups] = useState(/** @type {any[] | null} */ (null));
  useEffect(() => {
    let over = false;
    let turn = 0;
    const ask = () => {
      const own = ++turn;
      call("groups.list", { account }).then((found) => over || own !== turn || setGroups(found), () => {}); // asked again meanwhile: that answer is newer
    };
    ask();
    const stop = listen(({ account: of, type }) => {
      if (type === "gap" || (of === account && type === "group")) ask();
    });
    return () => {
      over = true;
      stop();
    };
  }, [account]);
  return groups;
}

/** All of them, and the way to a new one. @param {{account: string}} of */
export function Groups({ account }) {
  const groups = useGroups(account);
  const [founding, setFounding] = useState(false);
  const [opened, setOpened] = useState("");
  if (!groups) return null;
  const shown = groups.filter((one) => one.stands === "joined" || one.stands === "invited");
  const open = shown.find((one) => one.gid === opened);
  return html`<section class="card people-card" aria-labelledby="groups">
    <div class="card-head"><h2 id="groups">${t("groups.title")} <span class="muted">${shown.length || ""}</span></h2>
      <button class="button small" type="button" onClick=${() => setFounding(true)}><${Icon} name="plus" /> ${t("groups.found")}</button></div>
    ${shown.length
      ? html`<ul class="people">${shown.map((one) => html`<${Group} key=${one.gid} account=${account} group=${one} onOpen=${() => setOpened(one.gid)} />`)}</ul>`
      : html`<p class="card-body muted">${t("groups.none")}</p>`}
    ${founding && html`<${Founding} account=${account} onClose=${() => setFounding(false)} />`}
    ${open && html`<${Opened} account=${account} group=${open} onClose=${() => setOpened("")} />`}
  </section>`;
}

/** Who has joined, without oneself. */
const othersIn = (group, account) => (group.members ?? []).filter((one) => one.stands === "joined" && one.uid !== accountOf(account)?.uid);

function Group({ account, group, onOpen }) {
  const { busy, problem, run } = useRequest();
  const name = visible(group.gid);
  const others = othersIn(group, account).map((one) => visible(one.alias));
  const said = others.length > NAMES_SHOWN ? t("list.and_more", { names: others.slice(0, NAMES_SHOWN - 1).join(", "), count: others.length - NAMES_SHOWN + 1 }) : joined(others);
  const join = () => run(() => call("groups.act", { account, gid: group.gid, act: "join", alias: accountOf(account).alias }));
  const isIn = group.stands === "joined";
  return html`<li>
    <div class="person-name"><bdi>${name}</bdi>${!isIn && html` <span class="badge">${t("groups.invited")}</span>`}
      <small class="muted"><bdi>${isIn ? said || t("groups.alone") : ""}</bdi></small><${Trouble} problem=${problem} /></div>
    <div class="form-acts">${isIn
      ? html`<a class="button small" href=${link({ account, pane: "new", query: { to: group.gid } })}>${t("contacts.write")}<span class="spoken"> ${name}</span></a>
          <button class="button small quiet" type="button" aria-haspopup="dialog" onClick=${onOpen}>${t("groups.members")}<span class="spoken"> ${name}</span></button>`
      : html`<button class="button small" type="button" disabled=${busy} onClick=${join}>${t("groups.join")}<span class="spoken"> ${name}</span></button>`}
    </div>
  </li>`;
}

/**
 * Asking somebody in: what was asked for last, and what became of it.
 * @param {string} account
 * @returns {{asked: any, busy: boolean, problem: any, ask: (gid: string, alias: string, text: string, onAsked: () => void) => void}}
 */
function useInviting(account) {
  const [asked, setAsked] = useState(/** @type {any} */ (null));
  const { busy, problem, run } = useRequest();
  useEffect(
    () =>
      listen(({ account: of, type, data }) => {
        if (of !== account || type !== "outbox") return;
        setAsked((now) => (now?.request === data.request ? outcome(now, data) : now));
      }),
    [account],
  );
  const ask = (gid, alias, text, onAsked) =>
    run(async () => {
      const before = asked?.state === "refused" ? asked.request : "";
      if (before) await call("outbox.act", { account, request: before, act: "drop" }).catch(() => {}); // this one is in its place
      const waiting = await call("groups.invite", { account, gid, alias, text });
      onAsked();
      setAsked(outcome({ ...waiting, alias }, newsOf(account, waiting.request) ?? { waiting })); // it may have left by now
    });
  return { asked, busy, problem, ask };
}

/** What became of it. @param {any} now @param {any} data of an outbox event */
const outcome = (now, data) => (data.waiting ? { ...now, ...data.waiting } : { ...now, state: "gone" });

function Asked({ asked }) {
  if (!asked) return null;
  const name = visible(asked.alias);
  if (asked.state === "refused") return html`<${Notice} kind="bad" role="alert"><strong>${t("groups.refused", { name })}</strong> ${sentence(asked.error ?? "")}<//>`;
  return html`<${Notice} kind="good" role="status">${t(asked.state === "gone" ? "groups.asked" : "groups.asking", { name })}<//>`;
}

/** A new group begins with its first invitation. */
function Founding({ account, onClose }) {
  const { words: { name }, change, done } = useTyped(account, "found", { name: "" });
  return html`<${Dialog} label=${t("groups.found")} onClose=${onClose}>
    <div class="confirm">
      <h2>${t("groups.found")}</h2><p>${t("groups.text")}</p>
      <${Inviting} account=${account} gid=${name.trim()} onAsked=${done} act=${t("groups.found_act")} onClose=${onClose}>
        ${(wrong) => html`<${Field} label=${t("groups.name")} hint=${t("groups.name_hint")} wrong=${wrong}>
          ${(attributes) => html`<input ...${attributes} dir="auto" maxlength="64" required autofocus value=${name} onInput=${(event) => change({ name: event.currentTarget.value })} />`}
        <//>`}
      <//>
    </div>
  <//>`;
}

/** Whom to ask in, and the words that come with it. `children`, of a group that is not there yet, makes the field of its name, of what was wrong about it. */
function Inviting({ account, gid, act, onAsked = () => {}, onClose, children }) {
  const founds = Boolean(children);
  const { words: { to, text }, change, done } = useTyped(account, founds ? "found it" : `invite ${gid}`, { to: "", text: "" });
  const { asked, busy, problem, ask } = useInviting(account);
  const can = gid && to.trim() && !busy && text.length <= PING_MAX_UNITS;
  const isDone = asked?.state === "gone" && asked.alias === to.trim();
  const send = (event) => {
    event.preventDefault();
    if (can) ask(gid, to.trim(), text, () => (done(), onAsked()));
  };
  return html`<form class="stacked" onSubmit=${send}>
    ${founds && children(wrongOf(problem, "gid"))}
    <${PersonPicker} account=${account} label=${t("groups.whom")} value=${to} onInput=${(name) => change({ to: name })} wrong=${wrongOf(problem, "alias")} autofocus=${!founds} />
    <${PingText} label=${t("contacts.ping_words")} optional rows=${2} value=${text} onInput=${(words) => change({ text: words })} wrong=${wrongOf(problem, "text")} />
    <${Trouble} problem=${problem} except=${["gid", "alias", "text"]} />
    <${Asked} asked=${asked} />
    <div class="form-acts"><button class="button" type="button" onClick=${onClose}>${t(asked ? "main.close" : "writing.cancel")}</button>
      <button class="button first" type="submit" disabled=${!can || isDone}>${act}</button></div>
  </form>`;
}

/** Who is in it, asking more people in, and leaving it. */
function Opened({ account, group, onClose }) {
  const [leaving, setLeaving] = useState(false);
  const [reported, setReported] = useState(/** @type {any} */ (null));
  const { busy, problem, run } = useRequest();
  const people = peopleOf(account).value;
  const name = visible(group.gid);
  useEffect(() => {
    call("groups.show", { account, gid: group.gid }).catch(() => {}); // an event says what is other than it is known here
  }, [account, group.gid]);
  const members = group.members ?? [];
  const self = accountOf(account)?.uid;
  const isOwner = members.some((one) => one.uid === self && one.owner);
  const drop = (alias) => run(() => call("groups.act", { account, gid: group.gid, act: "drop", alias }));
  const leave = () =>
    run(async () => {
      await call("groups.act", { account, gid: group.gid, act: "leave" });
      onClose();
    });
  if (leaving) {
    return html`<${Confirm} title=${t("groups.leave_title", { name })} text=${t("groups.leave_text")} act=${t("groups.leave")} busy=${busy} problem=${problem}
      onAct=${leave} onClose=${() => setLeaving(false)} />`;
  }
  return html`<${Dialog} label=${name} onClose=${onClose}>
    <div class="confirm">
      <h2><bdi>${name}</bdi></h2>
      <ul class="people group-members" aria-label=${t("groups.members")}>${members.map((one) => html`<li key=${one.uid}>
        <div class="person-name"><bdi>${visible(one.alias)}</bdi>
          ${one.uid === self && html` <span class="muted">${t("contacts.stands_self")}</span>`}
          ${one.owner && html` <span class="badge">${t("groups.owner")}</span>`}
          ${one.stands !== "joined" && html` <span class="badge">${t(`groups.stands_${one.stands}`)}</span>`}</div>
        ${accountOf(account)?.reports && one.uid !== self && html`<button class="button small quiet" type="button" onClick=${() => setReported(people.get(one.uid) ?? one)}>
          ${t("contacts.report")}<span class="spoken"> ${visible(one.alias)}</span></button>`}
        ${isOwner && one.uid !== self && one.stands === "joined" && html`<button class="button small quiet danger" type="button" disabled=${busy} onClick=${() => drop(one.alias)}>
          ${t("groups.drop")}<span class="spoken"> ${visible(one.alias)}</span></button>`}
      </li>`)}</ul>
      <${Trouble} problem=${problem} />
      <h3>${t("groups.invite_title")}</h3>
      <${Inviting} account=${account} gid=${group.gid} act=${t("groups.invite")} onClose=${onClose} />
      ${reported && html`<${Fetched} from="people/report" part="ReportDialog" account=${account} person=${reported} onClose=${() => setReported(null)} />`}
      <p class="group-leave"><button class="button small quiet danger" type="button" onClick=${() => setLeaving(true)}>${t("groups.leave")}</button></p>
    </div>
  <//>`;
}
