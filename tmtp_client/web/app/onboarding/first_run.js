// SPDX-License-Identifier: AGPL-3.0-or-later
/**
 * From nothing to the first message: what opens this device's history, an invitation, a name, the recovery sheet, and
 * somebody to write to. A further service begins at the invitation (B1, B7, B8).
 */

import { call, listen } from "../base/api.js";
import { html, Icon, useEffect, useRef, useState } from "../base/html.js";
import { t } from "../base/words.js";
import { Choices, Copy, Field, Notice, QrCode, sentence, Trouble, useRequest, wrongOf } from "../controls/controls.js";
import { PingForm } from "../people/ping.js";
import { accounts, home, route, select } from "../state/state.js";
import { useTyped } from "../state/typed.js";
import { FromPicture } from "./from_picture.js";
import { accountName, invited, label } from "./invitation.js";
import { PassphraseFields, passphraseWrong } from "./passphrase.js";
import { RecoverySheet } from "./recovery_sheet.js";

const SHEET = "tmtp.sheet"; // of this tab: of which account the sheet is being shown; no word of it

/** All of it. */
export function FirstRun() {
  const first = accounts.value.length === 0 && !home.value?.protected;
  const [step, setStep] = useState(() => (sessionStorage.getItem(SHEET) ? "again" : first && !route.value.query?.link ? "protect" : "invitation"));
  const [joined, setJoined] = useState(/** @type {any} */ (null));
  const [began] = useState(first);
  const steps = began ? ["protect", "invitation", "sheet", "write"] : ["invitation", "sheet", "write"];
  const title = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => title.current?.focus(), [step]);
  useEffect(() => {
    if (route.value.page !== "join") select({ page: "join" }, { instead: true }); // or the page goes on when the account is there
  }, []);

  useEffect(() => {
    if (step !== "again") return;
    const known = JSON.parse(sessionStorage.getItem(SHEET) ?? "{}");
    call("accounts.join", known).then(
      (answer) => took(answer),
      () => {
        sessionStorage.removeItem(SHEET);
        setStep("invitation");
      },
    );
  }, []);

  const took = (answer) => {
    setJoined(answer);
    if (answer.recovery) {
      const { name, host, port, alias } = answer.account;
      sessionStorage.setItem(SHEET, JSON.stringify({ account: name, address: host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`, alias }));
      setStep("sheet");
    } else {
      setStep("write");
    }
  };
  const told = async () => {
    await call("accounts.told", { account: joined.account.name });
    sessionStorage.removeItem(SHEET);
    setStep("write");
  };
  const now = step === "again" || step === "other" ? "invitation" : step;
  return html`<main class="first-run">
    <header class="first-head"><div class="brand"><${Icon} name="mark" /> TMTP</div>
      ${accounts.value.length > 0 && step !== "sheet" && html`<a class="button quiet" href="#/">${t("first.leave")}</a>`}</header>
    <ol class="steps screen-only" aria-label=${t("first.steps")}>${steps.map((one) => html`<li key=${one} class=${steps.indexOf(one) <= steps.indexOf(now) ? "some" : ""}
      aria-current=${one === now ? "step" : undefined}><small>${t(`first.step_${one}`)}</small></li>`)}</ol>
    <div class="first-title screen-only"><h1 ref=${title} tabindex="-1">${t(`first.title_${step}`)}</h1><p>${t(`first.text_${step}`)}</p></div>
    ${step === "protect" && html`<${Protect} onDone=${() => setStep("invitation")} />`}
    ${step === "invitation" && html`<${Join} onJoined=${took} onOther=${() => setStep("other")} />`}
    ${step === "other" && html`<${Other} onJoined=${took} onBack=${() => setStep("invitation")} />`}
    ${step === "sheet" && html`<${Sheet} joined=${joined} onTold=${told} />`}
    ${step === "write" && html`<${Write} joined=${joined} />`}
  </main>`;
}

// -- what opens the history ----------------------------------------------------------------------------------------------
function Protect({ onDone }) {
  const [way, setWay] = useState("passphrase");
  const [words, setWords] = useState({ one: "", two: "" });
  const { busy, problem, run } = useRequest();
  const [tried, setTried] = useState(false);
  const wrong = tried && way === "passphrase" ? passphraseWrong(words) : "";
  const go = (event) => {
    event.preventDefault();
    setTried(true);
    if (way !== "passphrase") return onDone();
    if (passphraseWrong(words)) return;
    run(async () => {
      home.value = await call("home.passphrase", { new: words.one });
      onDone();
    });
  };
  const choices = ["passphrase", "keyring"].map((one) => [one, t(`first.by_${one}`), t(`first.by_${one}_text`)]);
  return html`<form class="card first-card" onSubmit=${go} noValidate><div class="card-body">
    <${Choices} legend=${t("first.by")} name="protect" value=${way} choices=${choices} onChange=${setWay} />
    ${way === "passphrase" && html`<${PassphraseFields} value=${words} onChange=${setWords} wrong=${wrong || wrongOf(problem, "new")} />`}
    <${Trouble} problem=${problem} except=${["new"]} />
    <div class="form-acts"><button class="button first" type="submit" disabled=${busy}>${t(busy ? "first.setting" : "first.go_on")}</button></div>
  </div></form>`;
}

// -- an invitation and a name ----------------------------------------------------------------------------------------------
function Join({ onJoined, onOther }) {
  const link = route.value.query?.link ?? "";
  const { words: { address, alias, device }, change, done } = useTyped("", `join ${link}`, { address: link, alias: "", device: label() });
  const [progress, setProgress] = useState(/** @type {any} */ (null));
  const [signIn, setSignIn] = useState(/** @type {any} */ (null));
  const { busy, problem, run, clear } = useRequest();
  const invitation = invited(address);
  const name = accountName(invitation?.host ?? "", accounts.value.map((one) => one.name));
  useEffect(
    () =>
      listen(({ type, data }) => {
        if (type === "progress" && data.what === "join") setProgress(data);
      }),
    [],
  );

  const ask = async (fields) => {
    const answer = await call("accounts.join", { account: name, address: address.trim(), alias: alias.trim(), label: device.trim(), ...fields });
    if (!answer.url) return came(answer);
    setSignIn(answer);
    return came(await call("accounts.join", { account: name, address: address.trim(), alias: alias.trim(), sign_in: answer.sign_in }));
  };
  const came = (answer) => {
    done();
    onJoined(answer);
  };
  const join = (event) => {
    event.preventDefault();
    setProgress(null);
    setSignIn(null);
    run(() => ask({}));
  };
  if (signIn) return html`<${SignIn} signIn=${signIn} problem=${problem} onBack=${() => (setSignIn(null), clear())} />`;
  return html`<form class="card first-card" onSubmit=${join} noValidate aria-busy=${busy ? "true" : "false"}><div class="card-body">
    <${FromPicture} of="invitation" onText=${(text) => change({ address: text })}><${Field} label=${t("first.link")} hint=${t("first.link_hint")} wrong=${wrongOf(problem, "address") || wrongOf(problem, "invite")}>
      ${(attributes) => html`<textarea ...${attributes} rows="3" class="link-input" dir="ltr" autocapitalize="off" autocomplete="off" spellcheck=${false} required
        placeholder="tmtp://chat.example.org:4433#invite=…" value=${address} onInput=${(event) => change({ address: event.currentTarget.value })}
        onKeyDown=${(event) => event.key === "Enter" && (event.preventDefault(), event.currentTarget.form.querySelector("[type=submit]").click())}></textarea>`}
    <//><//>
    ${invitation && html`<p class="invited" role="status"><${Icon} name="good" /> ${t(invitation.invite ? "first.invited_to" : "first.address_of", { host: invitation.host })}</p>`}
    <${Field} label=${t("first.alias")} hint=${t("first.alias_hint")} wrong=${wrongOf(problem, "alias")}>
      ${(attributes) => html`<input ...${attributes} dir="auto" autocomplete="name" maxlength="64" required value=${alias} onInput=${(event) => change({ alias: event.currentTarget.value })} />`}
    <//>
    <details class="more"><summary>${t("first.more")}</summary>
      <${Field} label=${t("first.device")} hint=${t("first.device_hint")}>
        ${(attributes) => html`<input ...${attributes} dir="auto" maxlength="64" value=${device} onInput=${(event) => change({ device: event.currentTarget.value })} />`}
      <//></details>
    <${Trouble} problem=${problem} except=${["address", "invite", "alias"]} />
    <div class="form-acts"><button class="button first" type="submit" disabled=${busy || !address.trim() || !alias.trim()}>${t(busy ? "first.joining" : "first.join")}</button>
      <button class="button quiet" type="button" disabled=${busy} onClick=${onOther}>${t("first.other")}</button></div>
    ${busy && html`<${Working} progress=${progress} />`}
  </div></form>`;
}

/** The service may ask this device for some work first, so that nobody opens accounts by the thousand. */
function Working({ progress }) {
  return html`<div class="working" role="status"><progress max=${progress?.size || undefined} value=${progress?.size ? Math.min(progress.have, progress.size) : undefined}
    aria-label=${t("first.joining")}></progress><span class="muted">${t(progress ? "first.working" : "first.connecting")}</span></div>`;
}

function SignIn({ signIn, problem, onBack }) {
  const host = new URL(signIn.url).host;
  return html`<section class="card first-card" aria-labelledby="sign-in"><div class="card-body">
    <h2 id="sign-in">${t("first.sign_in")}</h2><p class="muted">${t("first.sign_in_text")}</p>
    ${problem ? html`<${Trouble} problem=${problem} />` : html`<p role="status">${t("first.sign_in_waits")}</p>`}
    <div class="form-acts"><a class="button first" href=${signIn.url} target="_blank" rel="noopener noreferrer">${t("first.sign_in_at", { host })}</a>
      <button class="button" type="button" onClick=${onBack}>${t("writing.back")}</button></div>
  </div></section>`;
}

// -- an account that is there already ----------------------------------------------------------------------------------------
/** Both ways are in the page: what is typed in one stays while somebody looks at the other. */
function Other({ onJoined, onBack }) {
  const [way, setWay] = useState("device");
  const choices = ["device", "sheet"].map((one) => [one, t(`first.other_${one}`), t(`first.other_${one}_text`)]);
  return html`<div class="card first-card"><div class="card-body">
    <${Choices} legend=${t("first.other_legend")} name="other" value=${way} choices=${choices} onChange=${setWay} />
    <div hidden=${way !== "device"}><${AnswerLink} onBack=${onBack} /></div>
    <div hidden=${way !== "sheet"}><${Recover} onJoined=${onJoined} onBack=${onBack} /></div>
  </div></div>`;
}

/** On the new device: the first text in, the second text out; then the other device signs. */
function AnswerLink({ onBack }) {
  const [offer, setOffer] = useState("");
  const [device, setDevice] = useState(label());
  const [answer, setAnswer] = useState(/** @type {any} */ (null));
  const { busy, problem, run } = useRequest();
  const name = accountName("device", accounts.value.map((one) => one.name));
  const [mine, setMine] = useState("");
  const arrived = accounts.value.some((one) => one.name === mine);
  const trouble = home.value?.coming?.find((one) => one.account === mine)?.trouble;
  useEffect(() => {
    if (arrived) select({ account: mine });
  }, [arrived]);
  const go = (event) => {
    event.preventDefault();
    run(async () => {
      setMine(name);
      setAnswer(await call("devices.answer_link", { account: name, offer: offer.trim(), label: device.trim() }));
    });
  };
  if (answer) {
    return html`<div class="stacked">
      <p>${t("first.link_second")}</p>
      <div class="link-text"><${QrCode} svg=${answer.qr} label=${t("first.link_qr")} /><${Copy} text=${answer.text} label=${t("first.link_text")} /></div>
      <p>${t("first.link_compare")}</p><p class="fingerprint" translate="no">${answer.fingerprint}</p>
      ${trouble ? html`<${Notice} kind="bad" role="alert">${sentence(trouble)}<//>` : html`<p class="muted" role="status">${t("first.link_waits")}</p>`}
    </div>`;
  }
  return html`<form class="stacked" onSubmit=${go}>
    <${FromPicture} of="link" onText=${setOffer}><${Field} label=${t("first.link_first")} hint=${t("first.link_first_hint")} wrong=${wrongOf(problem, "offer")}>
      ${(attributes) => html`<textarea ...${attributes} rows="3" class="link-input" dir="ltr" spellcheck=${false} required value=${offer} onInput=${(event) => setOffer(event.currentTarget.value)}></textarea>`}
    <//><//>
    <${Field} label=${t("first.device")} hint=${t("first.device_hint")}>
      ${(attributes) => html`<input ...${attributes} dir="auto" maxlength="64" value=${device} onInput=${(event) => setDevice(event.currentTarget.value)} />`}
    <//>
    <${Trouble} problem=${problem} except=${["offer"]} />
    <div class="form-acts"><button class="button first" type="submit" disabled=${busy || !offer.trim()}>${t("first.link_answer")}</button>
      <button class="button" type="button" onClick=${onBack}>${t("writing.back")}</button></div>
  </form>`;
}

/** Every other device is lost: the sheet's words, and what else stands on it. */
function Recover({ onJoined, onBack }) {
  const [fields, setFields] = useState({ address: "", uid: "", alias: "", words: "", revoke_others: true });
  const { busy, problem, run } = useRequest();
  const set = (name) => (event) => setFields((now) => ({ ...now, [name]: event.currentTarget.value }));
  const name = accountName(invited(fields.address)?.host ?? "", accounts.value.map((one) => one.name));
  const go = (event) => {
    event.preventDefault();
    run(async () => onJoined(await call("accounts.recover", { ...fields, account: name, address: fields.address.trim(), uid: fields.uid.trim(), alias: fields.alias.trim(), label: label() })));
  };
  const input = (key, rows) => html`<${Field} label=${t(`first.recover_${key}`)} wrong=${wrongOf(problem, key)}>
    ${(attributes) => (rows
      ? html`<textarea ...${attributes} rows=${rows} autocapitalize="off" spellcheck=${false} required value=${fields[key]} onInput=${set(key)}></textarea>`
      : html`<input ...${attributes} dir="auto" autocomplete="off" required value=${fields[key]} onInput=${set(key)} />`)}
  <//>`;
  return html`<form class="stacked" onSubmit=${go}>
    ${input("address")}${input("uid")}${input("alias")}${input("words", 3)}
    <label class="choice"><input type="checkbox" checked=${fields.revoke_others} onChange=${(event) => setFields((now) => ({ ...now, revoke_others: event.currentTarget.checked }))} /> ${t("first.recover_revoke")}</label>
    <${Trouble} problem=${problem} except=${["address", "uid", "alias", "words"]} />
    <div class="form-acts"><button class="button first" type="submit" disabled=${busy}>${t("first.recover")}</button>
      <button class="button" type="button" onClick=${onBack}>${t("writing.back")}</button></div>
  </form>`;
}

// -- the sheet, and the first message ------------------------------------------------------------------------------------------
function Sheet({ joined, onTold }) {
  const { busy, problem, run } = useRequest();
  return html`<div class="stacked"><${RecoverySheet} account=${joined.account} words=${joined.recovery} qr=${joined.recovery_qr} act=${t("first.go_on")} busy=${busy}
    onTold=${() => run(onTold)} /><${Trouble} problem=${problem} /></div>`;
}

function Write({ joined }) {
  const { account, error } = joined;
  const unprotected = home.value && !home.value.protected;
  return html`<div class="stacked">
    ${error && html`<${Notice} kind="warn" role="alert"><strong>${t("first.name_not_given")}</strong> ${sentence(error)} <a href="#/settings/account">${t("first.name_choose")}</a><//>`}
    ${unprotected && html`<${Notice} kind="warn"><strong>${t("first.unprotected")}</strong> ${t("first.unprotected_text")} <a href="#/settings/lock">${t("first.set_passphrase")}</a><//>`}
    <${PingForm} account=${account.name} heading=${false} />
    <p><a class="button" href="#/a/${encodeURIComponent(account.name)}">${t("first.to_inbox")}</a></p>
  </div>`;
}
