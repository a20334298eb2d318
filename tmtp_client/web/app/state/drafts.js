// SPDX-License-Identifier: AGPL-3.0-or-later
/** A draft as it is typed: kept by the engine, so that it survives this page, and is the same on the other devices. */

import { call, listen } from "../base/api.js";
import { useEffect, useRef, useState } from "../base/html.js";

const SAVE_AFTER_MS = 250;
const OWN_MAX = 16; // saved, and not heard of yet
const NEW = "tmtp.new."; // of this tab only: which new message it was writing; no word of it

/** @typedef {{key: string, thread: string, to: string[], subject: string, text: string, files: string[], staged: any[], form: any, filled: Record<string, any>}} Draft */

/** @param {string} key @param {string} thread @returns {Draft} */
export const emptyDraft = (key, thread = "") => ({ key, thread, to: [], subject: "", text: "", files: [], staged: [], form: null, filled: {} });

/** What one says, to know one's own words when they come back; "": none. @param {Draft | null} draft */
const saying = (draft) => (draft ? JSON.stringify([draft.to ?? [], draft.subject ?? "", draft.text ?? "", draft.files ?? [], draft.filled ?? {}]) : "");

/** Whether anything was written. @param {Draft} draft */
export const saysSomething = (draft) => Boolean(draft.text || draft.subject || draft.to.length || draft.files.length || draft.form);

/** The key of the new message that this tab writes; another one after `forgetNew`. @param {string} account */
export function keyOfNew(account) {
  const known = sessionStorage.getItem(NEW + account);
  if (known) return known;
  const key = `new-${crypto.randomUUID()}`;
  sessionStorage.setItem(NEW + account, key);
  return key;
}

/** Write that one from now on; none: a new one. @param {string} account @param {string} [key] */
export function writeNew(account, key = "") {
  if (key) sessionStorage.setItem(NEW + account, key);
  else sessionStorage.removeItem(NEW + account);
}

/** What was written after it was sent. @param {Draft} sent @param {Draft} now */
const since = (sent, now) => ({
  text: now.text.startsWith(sent.text) ? now.text.slice(sent.text.length) : now.text,
  files: now.files.filter((one) => !sent.files.includes(one)),
  staged: now.staged.filter((one) => !sent.files.includes(one.file)),
  form: now.form === sent.form ? null : now.form,
});

/**
 * One draft. `draft` is null until it is known whether there is one. `change` is kept at once, and saved a moment later.
 * @param {string} account @param {string} key @param {string} [thread]
 */
export function useDraft(account, key, thread = "") {
  const [draft, setDraft] = useState(/** @type {Draft | null} */ (null));
  const [saved, setSaved] = useState(/** @type {"" | "saving" | "saved" | "not"} */ (""));
  const now = useRef({ draft: /** @type {Draft | null} */ (null), dirty: false, timer: 0, gone: false, own: /** @type {string[]} */ ([]) });

  /** This will be told as an event, when it may be true no more. @param {Draft | null} it null: it is no draft any more */
  const willHear = (it) => {
    now.current.own = [...now.current.own, saying(it)].slice(-OWN_MAX);
  };
  const flush = async () => {
    const { current } = now;
    clearTimeout(current.timer);
    if (!current.dirty || !current.draft || current.gone) return;
    current.dirty = false;
    const { staged, ...kept } = current.draft;
    setSaved("saving");
    willHear(current.draft);
    try {
      await call("drafts.save", { account, draft: kept });
      if (!current.dirty) setSaved("saved");
    } catch {
      current.dirty = true;
      setSaved("not");
    }
  };
  const change = (fields) => {
    const { current } = now;
    if (current.gone || !current.draft) return;
    current.draft = { ...current.draft, ...fields };
    current.dirty = true;
    setDraft(current.draft);
    clearTimeout(current.timer);
    current.timer = window.setTimeout(flush, SAVE_AFTER_MS);
  };
  /**
   * It was sent or thrown away: nothing saves it again. An empty one takes its place, with what was written since.
   * @param {Draft} [sent]
   */
  const end = (sent) => {
    const { current } = now;
    clearTimeout(current.timer);
    const later = sent && current.draft && current.draft !== sent ? since(sent, current.draft) : {};
    current.dirty = false;
    current.draft = { ...emptyDraft(key, thread), ...later };
    setDraft(current.draft);
    setSaved("");
    if (saysSomething(current.draft)) change({});
  };
  /** What another device wrote, or what was taken back. @param {Draft} other */
  const take = (other) => {
    now.current.draft = other;
    setDraft(other);
  };

  useEffect(() => {
    const { current } = now;
    let over = false; // another draft is asked for, or none
    current.gone = false;
    current.draft = null;
    current.dirty = false;
    current.own = [];
    setDraft(null);
    setSaved("");
    call("drafts.list", { account }).then(
      (all) => {
        if (over || current.draft) return;
        const found = all.find((one) => one.key === key);
        take({ ...emptyDraft(key, thread), ...found });
        if (found) setSaved("saved");
      },
      () => over || take(emptyDraft(key, thread)),
    );
    const stop = listen(({ account: of, type, data }) => {
      if (of !== account || type !== "draft" || data.key !== key) return;
      const place = current.own.indexOf(saying(data.draft));
      if (place >= 0) return void current.own.splice(0, place + 1); // said here; it may have gone on since
      if (current.dirty || !current.draft) return;
      take({ ...emptyDraft(key, thread), ...data.draft });
    });
    const hide = () => void flush();
    addEventListener("pagehide", hide);
    document.addEventListener("visibilitychange", hide);
    return () => {
      over = true;
      stop();
      removeEventListener("pagehide", hide);
      document.removeEventListener("visibilitychange", hide);
      flush();
      current.gone = true;
    };
  }, [account, key]);

  return { draft: draft?.key === key ? draft : null, saved, change, flush, willHear, end };
}
