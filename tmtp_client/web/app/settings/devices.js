// SPDX-License-Identifier: AGPL-3.0-or-later
/** The account's devices: which there are, what became of them in plain words, barring one, and the recovery sheet (B4). */

import { call, listen } from "../base/api.js";
import { html, Icon, useEffect, useRef, useState } from "../base/html.js";
import { fromEngine, language, t } from "../base/words.js";
import { Confirm, Dialog, Field, Notice, sentence, Trouble, useRequest, whenText, wrongOf } from "../controls/controls.js";
import { RecoverySheet } from "../onboarding/recovery_sheet.js";
import { LinkDevice } from "./link_device.js";

const STANDS = { full: "good", provisional: "warn", suspended: "warn", revoked: "bad" };

/** @param {{account: any}} of */
export function Devices({ account }) {
  const [found, setFound] = useState(/** @type {any} */ (null));
  const [linking, setLinking] = useState(false);
  const { problem, run } = useRequest();
  const turn = useRef(0);
  const take = (devices) => {
    turn.current += 1; // what was asked for before is older
    setFound(devices);
  };
  const ask = () =>
    run(async () => {
      const own = ++turn.current;
      const devices = await call("devices.list", { account: account.name });
      if (own === turn.current) setFound(devices);
    });
  useEffect(() => {
    ask();
    return listen(({ account: of, type, data }) => {
      if (of === account.name && type === "keys" && data.uid === account.uid) ask();
    });
  }, [account.name]);
  if (!found) return html`<${Trouble} problem=${problem} />`;
  const own = { account: account.name, uid: account.uid };
  const seen = () =>
    run(async () => {
      await call("keys.seen", { ...own, head: found.head });
      await ask();
    });
  const there = found.devices.filter((one) => one.stands !== "revoked");
  const gone = found.devices.filter((one) => one.stands === "revoked");
  return html`<div class="stacked wide-gap">
    <${Trouble} problem=${problem} />
    ${found.trouble && html`<${Notice} kind="bad" role="alert"><strong>${t("settings.log_trouble")}</strong> ${sentence(found.trouble)}<//>`}
    ${(found.unseen ?? []).length > 0 && html`<${Notice} kind="warn" role="status"><strong>${t("settings.unseen")}</strong>
      <ul class="plain-list">${found.unseen.map((one) => html`<li key=${one}>${sentence(one)}</li>`)}</ul>
      <button class="button small" type="button" onClick=${seen}>${t("settings.unseen_seen")}</button><//>`}
    <section class="card screen-only" aria-labelledby="devices-here"><div class="card-head"><h2 id="devices-here">${t("settings.devices_there")}</h2>
      <button class="button small" type="button" onClick=${() => setLinking(true)}><${Icon} name="plus" /> ${t("settings.link")}</button></div>
      <ul class="device-list">${there.map((one) => html`<${Device} key=${one.key} account=${account} device=${one} onChanged=${take} />`)}</ul>
      ${gone.length > 0 && html`<details class="more card-foot"><summary>${t("settings.devices_gone", { count: gone.length })}</summary>
        <ul class="device-list">${gone.map((one) => html`<${Device} key=${one.key} account=${account} device=${one} onChanged=${take} />`)}</ul></details>`}
    </section>
    <${Recovery} account=${account} />
    <${Log} log=${found.log} />
    ${linking && html`<${LinkDevice} account=${account} onClose=${() => setLinking(false)} onLinked=${take} />`}
  </div>`;
}

/** What the person calls it; who has called it nothing gets the engine's words for it. @param {any} device */
const nameOf = ({ key, label }) => (label === `device ${key.slice(0, 8)}` ? fromEngine(label) : label);

function Device({ account, device, onChanged }) {
  const [act, setAct] = useState("");
  const [naming, setNaming] = useState(false);
  const name = nameOf(device);
  const stands = device.stands.split(" ").at(-1); // of one that is suspended: that, and not what it was before
  const acts = [...(device.acts ?? []), ...(device.by_words ?? []).filter((one) => !device.acts?.includes(one))];
  return html`<li>
    <span class="device-picture"><${Icon} name="device" /></span>
    <div class="device-what">
      <div><strong><bdi>${name}</bdi></strong>
        ${device.this && html` <span class="badge">${t("settings.this_device")}</span>`}
        <span class="badge ${STANDS[stands] ?? ""}">${t(`settings.stands_${stands}`)}</span></div>
      <small class="muted">${device.added_ms ? t("settings.added", { when: whenText(device.added_ms, language.value) }) : ""}</small>
      ${(device.cannot ?? []).map((one) => html`<small class="muted" key=${one}>${sentence(one)}</small>`)}
    </div>
    <div class="form-acts">
      ${device.stands !== "revoked" && html`<button class="button small quiet" type="button" onClick=${() => setNaming(true)}>${t("settings.rename")}<span class="spoken"> ${name}</span></button>`}
      ${acts.map((one) => html`<button key=${one} class="button small ${one === "revoke" ? "danger" : ""}" type="button" onClick=${() => setAct(one)}>
        ${t(`settings.act_${one}`)}<span class="spoken"> ${name}</span></button>`)}
    </div>
    ${act && html`<${Acting} account=${account} device=${device} act=${act} byWords=${!device.acts?.includes(act)} onChanged=${onChanged} onClose=${() => setAct("")} />`}
    ${naming && html`<${Naming} account=${account} device=${device} onChanged=${onChanged} onClose=${() => setNaming(false)} />`}
  </li>`;
}

/** Suspend, revoke, confirm, resume, contest; where the recovery key has to sign, its words are asked for. */
function Acting({ account, device, act, byWords, onChanged, onClose }) {
  const [words, setWords] = useState("");
  const { busy, problem, run } = useRequest();
  const go = () =>
    run(async () => {
      onChanged(await call("devices.act", { account: account.name, device: device.key, act, words: byWords ? words : "" }));
      onClose();
    });
  const name = nameOf(device);
  return html`<${Confirm} title=${t(`settings.${act}_title`, { name })} text=${t(`settings.${act}_text`)} act=${t(`settings.act_${act}`)}
    danger=${act === "suspend" || act === "revoke"} busy=${busy || (byWords && !words.trim())} problem=${problem?.field === "words" ? null : problem} onAct=${go} onClose=${onClose}>
    ${byWords && html`<${Words} value=${words} onInput=${setWords} wrong=${wrongOf(problem, "words")} hint=${t("settings.words_why")} />`}
  <//>`;
}

function Words({ value, onInput, wrong, hint = "" }) {
  return html`<${Field} label=${t("settings.words")} hint=${hint} wrong=${wrong}>
    ${(attributes) => html`<textarea ...${attributes} rows="3" autocapitalize="off" autocomplete="off" spellcheck=${false} required value=${value}
      onInput=${(event) => onInput(event.currentTarget.value)}></textarea>`}
  <//>`;
}

function Naming({ account, device, onChanged, onClose }) {
  const [label, setLabel] = useState(device.label);
  const { busy, problem, run } = useRequest();
  const go = (event) => {
    event.preventDefault();
    run(async () => {
      onChanged(await call("devices.name", { account: account.name, device: device.key, label: label.trim() }));
      onClose();
    });
  };
  return html`<${Dialog} label=${t("settings.rename")} onClose=${onClose}><form class="confirm" onSubmit=${go}>
    <h2>${t("settings.rename")}</h2>
    <${Field} label=${t("settings.device_name")} hint=${t("settings.device_name_hint")} wrong=${wrongOf(problem, "label")}>
      ${(attributes) => html`<input ...${attributes} dir="auto" maxlength="64" value=${label} onInput=${(event) => setLabel(event.currentTarget.value)} />`}<//>
    <${Trouble} problem=${problem} except=${["label"]} />
    <div class="form-acts"><button class="button" type="button" onClick=${onClose}>${t("writing.cancel")}</button>
      <button class="button first" type="submit" disabled=${busy}>${t("settings.rename")}</button></div>
  </form><//>`;
}

/** Whether the sheet is still the right one; and a new one. */
function Recovery({ account }) {
  const [asking, setAsking] = useState("");
  const [sheet, setSheet] = useState(/** @type {any} */ (null));
  const { busy, run } = useRequest();
  const told = () =>
    run(async () => {
      await call("accounts.told", { account: account.name });
      setSheet(null);
    });
  if (sheet) {
    return html`<section aria-label=${t("first.sheet")} class="stacked">
      <div class="screen-only"><${Notice} kind="warn" role="status"><strong>${t("settings.new_sheet_made")}</strong> ${t("settings.new_sheet_now")}<//></div>
      <${RecoverySheet} account=${account} words=${sheet.words} qr=${sheet.qr} act=${t("settings.done")} busy=${busy} onTold=${told} /></section>`;
  }
  return html`<section class="card screen-only" aria-labelledby="sheet"><div class="card-head"><h2 id="sheet">${t("first.sheet")}</h2></div><div class="card-body">
    <p>${t("settings.sheet_text")}</p>
    <div class="form-acts"><button class="button" type="button" onClick=${() => setAsking("check")}>${t("settings.check")}</button>
      <button class="button" type="button" onClick=${() => setAsking("new")}>${t("settings.new_sheet")}</button></div>
    ${asking && html`<${SheetWords} key=${asking} account=${account} act=${asking} onSheet=${setSheet} onClose=${() => setAsking("")} />`}
  </div></section>`;
}

function SheetWords({ account, act, onSheet, onClose }) {
  const [words, setWords] = useState("");
  const [right, setRight] = useState(/** @type {boolean | null} */ (null));
  const { busy, problem, run } = useRequest();
  const go = (event) => {
    event.preventDefault();
    setRight(null);
    run(async () => {
      if (act === "check") return setRight((await call("devices.check_recovery", { account: account.name, words })).done);
      onSheet(await call("devices.new_recovery", { account: account.name, words }));
      return onClose();
    });
  };
  const title = t(act === "check" ? "settings.check" : "settings.new_sheet");
  return html`<${Dialog} label=${title} onClose=${onClose}><form class="confirm" onSubmit=${go}>
    <h2>${title}</h2><p>${t(act === "check" ? "settings.check_text" : "settings.new_sheet_text")}</p>
    <${Words} value=${words} onInput=${setWords} wrong=${wrongOf(problem, "words") || (right === false ? t("settings.check_wrong") : "")} />
    ${right && html`<${Notice} kind="good" role="status">${t("settings.check_right")}<//>`}
    <${Trouble} problem=${problem} except=${["words"]} />
    <div class="form-acts"><button class="button" type="button" onClick=${onClose}>${t(right ? "settings.done" : "writing.cancel")}</button>
      <button class="button first" type="submit" disabled=${busy || !words.trim()}>${t(act === "check" ? "settings.check_act" : "settings.new_sheet_act")}</button></div>
  </form><//>`;
}

/** What became of the account's devices, the latest first. */
function Log({ log }) {
  return html`<section class="card screen-only" aria-labelledby="log"><div class="card-head"><h2 id="log">${t("settings.log")}</h2><p>${t("settings.log_text")}</p></div>
    <ol class="log-lines" reversed>${[...log].reverse().map((one) => html`<li key=${one.place}><span>${sentence(one.text)}</span>
      <time class="muted" datetime=${new Date(one.time_ms).toISOString()}>${whenText(one.time_ms, language.value)}</time></li>`)}</ol></section>`;
}
