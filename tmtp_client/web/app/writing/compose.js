// SPDX-License-Identifier: AGPL-3.0-or-later
/** Writing: a new message, or a reply at the end of its conversation. What is typed is a draft at once. */

import { call } from "../base/api.js";
import { html, Icon, useEffect, useRef, useState } from "../base/html.js";
import { joined, told, visible } from "../base/text.js";
import { t } from "../base/words.js";
import { Field, Trouble, useId, useRequest, wrongOf } from "../controls/controls.js";
import { Fetched } from "../controls/fetched.js";
import { PeoplePicker } from "../people/person_picker.js";
import { keyOfNew, saysSomething, useDraft, writeNew } from "../state/drafts.js";
import { accountOf, route, select } from "../state/state.js";
import { Attachments, AttachButton } from "./attachments.js";
import { EncryptionState, useEncryption } from "./encryption.js";
import { MarkdownHint, Preview } from "./preview.js";
import { Schedule } from "./schedule.js";
import { leaves } from "./undo.js";
import { forgetFile, useDropping, useUploads } from "./uploads.js";

/**
 * @param {{account: string, thread?: any, reply?: any}} of without `thread`: a new message. `reply`: to which message of it;
 *   none: to the last one. Both as the API has them, or their ids
 */
export function Compose({ account, thread = null, reply = null }) {
  if (!thread) return html`<${NewMessage} account=${account} />`;
  const id = thread.id ?? thread;
  return html`<${Reply} key=${id} account=${account} thread=${id} known=${thread.id ? thread : null} reply=${reply?.id ?? reply ?? ""} />`;
}

// -- a new message -----------------------------------------------------------------------------------------------------
function NewMessage({ account }) {
  const { to = "", draft: asked = "" } = route.value.query ?? {};
  const [key, setKey] = useState(() => asked || keyOfNew(account));
  const writing = useWriting(account, key, "");
  const { draft, change } = writing;
  useEffect(() => {
    if (asked) writeNew(account, asked);
    setKey(keyOfNew(account));
  }, [account, asked]);
  useEffect(() => {
    if (draft && to && !draft.to.includes(to)) change({ to: [...draft.to, to] });
  }, [draft?.key, to]);
  const encryption = useEncryption(account, draft?.to ?? [], null);
  if (!draft) return null;

  const send = (due_ms = 0) =>
    writing.send({ to: draft.to, subject: draft.subject, due_ms }, () => {
      writeNew(account);
      select({ account });
    }, () => {
      writeNew(account, key);
      select({ account, pane: "new" });
    });
  const other = (chosen) => {
    writeNew(account, chosen);
    setKey(keyOfNew(account));
  };
  const drop = async () => {
    writing.willHear(null);
    writing.end(); // first: what is typed is saved a moment later, and would come back
    await call("drafts.drop", { account, key }).catch(() => {});
    other("");
  };
  return html`<section class="writing-page" aria-labelledby="new-title">
    <header class="page-head"><div><h1 id="new-title">${t("writing.new_title")}</h1>
      <p>${t("writing.new_text")} <a href="#/a/${encodeURIComponent(account)}/ping">${t("writing.new_ping")}</a></p></div></header>
    <${OtherDrafts} account=${account} key=${key} current=${key} onChoose=${other} />
    <form class="compose" onSubmit=${submit(send)} onKeyDown=${sendKey(send)} ...${writing.dropping.attributes}>
      <${PeoplePicker} account=${account} label=${t("writing.to")} names=${draft.to} onChange=${(names) => change({ to: names })}
        wrong=${wrongOf(writing.problem, "to")} autofocus=${!draft.to.length} />
      <${Field} label=${t("writing.subject")} optional wrong=${wrongOf(writing.problem, "subject")}>
        ${(attributes) => html`<input ...${attributes} dir="auto" maxlength="300" value=${draft.subject} onInput=${(event) => change({ subject: event.currentTarget.value })} />`}
      <//>
      <${Text} writing=${writing} label=${t("writing.text")} rows=${10} />
      <${Foot} writing=${writing} encryption=${encryption} onSend=${send} onDrop=${drop} ready=${draft.to.length > 0} />
    </form>
  </section>`;
}

/** Drafts of other new messages: of another day, or of another device. */
function OtherDrafts({ account, current, onChoose }) {
  const [all, setAll] = useState(/** @type {any[]} */ ([]));
  useEffect(() => {
    call("drafts.list", { account }).then((found) => setAll(found.filter((one) => one.key.startsWith("new-"))), () => {});
  }, [account, current]);
  const others = all.filter((one) => one.key !== current);
  if (!others.length) return null;
  return html`<details class="more drafts"><summary>${t("writing.other_drafts", { count: others.length })}</summary>
    <ul class="list">${others.map((one) => html`<li key=${one.key}><button class="button quiet" type="button" onClick=${() => onChoose(one.key)}>
      <bdi>${told(one.subject || (one.text ?? "").slice(0, 60)) || joined((one.to ?? []).map(visible)) || t("writing.no_words")}</bdi></button></li>`)}</ul>
  </details>`;
}

// -- a reply ----------------------------------------------------------------------------------------------------------
function Reply({ account, thread, known, reply }) {
  const [found, setFound] = useState(/** @type {any} */ (null));
  const [onlyAuthor, setOnlyAuthor] = useState(false);
  const writing = useWriting(account, thread, thread);
  const encryption = useEncryption(account, [], known ?? found?.thread ?? null);
  useEffect(() => {
    let over = false;
    const read = reply ? { account, thread, around: reply } : { account, thread, limit: 1 };
    call("threads.read", read).then((page) => over || setFound(page), () => {});
    return () => {
      over = true;
    };
  }, [account, thread, reply, known?.last_posted, writing.times]);
  const { draft } = writing;
  if (!draft || !found) return null;

  const shown = found.messages.filter((one) => one.kind !== "notice");
  const target = shown.find((one) => one.id === reply) ?? shown.at(-1);
  if (!target) return null;
  const self = accountOf(account)?.uid;
  const { readers: all = [], gid = "" } = known ?? found.thread;
  const readers = all.filter((one) => one.uid !== self);
  const names = gid ? [gid] : readers.map((one) => one.alias);
  const canChoose = !target.outgoing && (readers.length > 1 || Boolean(gid));
  const send = (due_ms = 0) => writing.send({ reply: target.id, only_author: canChoose && onlyAuthor, due_ms });
  const drop = async () => {
    writing.willHear(null);
    writing.end();
    await call("drafts.drop", { account, key: thread }).catch(() => {});
  };
  const everybody = t("writing.reply_all", { name: joined((names.length ? names : [target.alias]).map(visible)) });
  const whom = canChoose
    ? html`<label class="spoken" for="reply-to">${t("writing.reply_to")}</label>
      <select id="reply-to" value=${onlyAuthor ? "author" : "all"} onChange=${(event) => setOnlyAuthor(event.currentTarget.value === "author")}>
        <option value="all">${everybody}</option>
        <option value="author">${t("writing.reply_author", { name: visible(target.alias) })}</option>
      </select>`
    : html`<p class="muted">${everybody}</p>`;
  return html`<form class="compose reply" aria-label=${t("writing.reply_title")} onSubmit=${submit(send)} onKeyDown=${sendKey(send)} ...${writing.dropping.attributes}>
    <${Text} writing=${writing} label=${t("writing.reply_text")} rows=${3} head=${whom} />
    <${Foot} writing=${writing} encryption=${encryption} onSend=${send} onDrop=${drop} ready />
  </form>`;
}

// -- what both have -----------------------------------------------------------------------------------------------------
/** A draft, its files, and how it is sent. */
function useWriting(account, key, thread) {
  const kept = useDraft(account, key, thread);
  const { busy, problem, run, clear } = useRequest();
  const [times, setTimes] = useState(0);
  const latest = useRef(kept);
  latest.current = kept;
  const uploads = useUploads(account, (one) => {
    const { draft, change } = latest.current;
    if (draft) change({ files: [...draft.files, one.file], staged: [...draft.staged, one] });
  });
  const dropping = useDropping(uploads.add);
  const leaveOut = (file) => {
    const { draft, change } = latest.current;
    if (!draft) return;
    change({ files: draft.files.filter((one) => one !== file), staged: draft.staged.filter((one) => one.file !== file) });
    forgetFile(account, file);
  };
  const send = (fields, onSent = () => {}, onUndo = () => {}) =>
    run(async () => {
      const { draft, flush, willHear, end } = latest.current;
      if (!draft) return;
      await flush();
      willHear(null);
      const form = draft.form && (await import("../forms/written.js")).finished(draft.form);
      const waiting = await call("messages.send", { account, text: draft.text, files: draft.files, form, draft: draft.key, ...fields });
      end(draft);
      setTimes((now) => now + 1);
      leaves({ account, waiting, draft, takesFocus: !thread, onUndo });
      onSent();
    });
  return { ...kept, busy, problem, clear, uploads, dropping, leaveOut, send, times };
}

/** The text, with what it is shown like. `head`: what stands above it, in place of its label. */
function Text({ writing, label, rows, head = null }) {
  const id = useId("text");
  const [preview, setPreview] = useState(false);
  const area = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  const { draft, change, problem, dropping } = writing;
  useEffect(() => {
    if (!draft.text) setPreview(false);
  }, [draft.text]);
  useEffect(() => {
    const { current } = area;
    if (!current) return;
    current.style.height = "auto";
    current.style.height = `${current.scrollHeight + 2}px`;
  }, [draft.text, preview]);
  const wrong = wrongOf(problem, "text");
  return html`<div class="field compose-text ${dropping.over ? "dropping" : ""}">
    <div class="text-head"><label for=${id} class=${head ? "spoken" : ""}>${label}</label>${head}
      <div class="segments" role="group" aria-label=${t("writing.view")}>
        <button type="button" aria-pressed=${preview ? "false" : "true"} onClick=${() => setPreview(false)}>${t("writing.write")}</button>
        <button type="button" aria-pressed=${preview ? "true" : "false"} disabled=${!draft.text.trim()} onClick=${() => setPreview(true)}>${t("writing.preview")}</button>
      </div></div>
    ${preview
      ? html`<${Preview} text=${draft.text} />`
      : html`<textarea id=${id} ref=${area} rows=${rows} dir="auto" value=${draft.text} aria-invalid=${wrong ? "true" : undefined}
          placeholder=${head ? label : undefined} onInput=${(event) => change({ text: event.currentTarget.value })}></textarea>`}
    ${wrong && html`<p class="wrong" role="alert">${wrong}</p>`}
    <p class="drop-here" aria-hidden="true">${t("writing.drop_here")}</p>
    <${Attachments} writing=${writing} />
  </div>`;
}

/** How it leaves. */
function Foot({ writing, encryption, onSend, onDrop, ready }) {
  const [later, setLater] = useState(false);
  const [making, setMaking] = useState(false);
  const { draft, busy, problem, saved, uploads } = writing;
  const coming = uploads.underway.some((one) => one.request);
  const can = ready && !busy && !coming && Boolean(draft.text.trim() || draft.files.length || draft.form);
  return html`<div class="compose-foot">
    ${(draft.form || making) && html`<${Fetched} from="forms/making" part="Making" writing=${writing} isOpen=${making} onOpen=${setMaking} />`}
    <${EncryptionState} encryption=${encryption} />
    <${Trouble} problem=${problem} except=${["to", "subject", "text"]} />
    <div class="compose-acts">
      <button class="button first" type="submit" disabled=${!can} aria-keyshortcuts="Control+Enter">${t(busy ? "writing.sending" : "writing.send")}</button>
      <button class="button" type="button" disabled=${!can} aria-haspopup="dialog" onClick=${() => setLater(true)}><${Icon} name="clock" /> ${t("writing.later")}</button>
      <${AttachButton} onFiles=${uploads.add} />
      ${!draft.form && html`<button class="button" type="button" aria-haspopup="dialog" onClick=${() => setMaking(true)}><${Icon} name="audit" /> ${t("forms.form")}</button>`}
      <${MarkdownHint} />
      ${saysSomething(draft) && html`<button class="button quiet" type="button" onClick=${onDrop}>${t("writing.throw_away")}</button>`}
      <span class="saved muted" role="status">${saysSomething(draft) && saved ? t(`writing.draft_${saved}`) : ""}</span>
    </div>
    ${later && html`<${Schedule} onClose=${() => setLater(false)} onChoose=${(due_ms) => {
      setLater(false);
      onSend(due_ms);
    }} />`}
  </div>`;
}

const submit = (send) => (event) => {
  event.preventDefault();
  send();
};

const sendKey = (send) => (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  event.stopPropagation();
  if (!event.currentTarget.querySelector('[type="submit"]').disabled) send();
};
