// SPDX-License-Identifier: AGPL-3.0-or-later
/** A draft as it is typed: kept by the engine, so that it survives this page, and is the same on the other devices. */

import { call, listen } from "./api.js";
import { useEffect, useRef, useState } from "./html.js";

const SAVE_AFTER_MS = 250;
const NEW = "tmtp.new."; // of this tab only: which new message it was writing; no word of it

/** @typedef {{key: string, thread: string, to: string[], subject: string, text: string, files: string[], staged: any[], form: any, filled: Record<string, any>}} Draft */

/** @param {string} key @param {string} thread @returns {Draft} */
export const emptyDraft = (key, thread = "") => ({ key, thread, to: [], subject: "", text: "", files: [], staged: [], form: null, filled: {} });

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

/**
 * One draft. `draft` is null until it is known whether there is one. `change` is kept at once, and saved a moment later.
 * @param {string} account @param {string} key @param {string} [thread]
 */
export function useDraft(account, key, thread = "") {
  const [draft, setDraft] = useState(/** @type {Draft | null} */ (null));
  const [saved, setSaved] = useState(/** @type {"" | "saving" | "saved" | "not"} */ (""));
  const now = useRef({ draft: /** @type {Draft | null} */ (null), dirty: false, timer: 0, gone: false });

  const flush = async () => {
    const { current } = now;
    clearTimeout(current.timer);
    if (!current.dirty || !current.draft || current.gone) return;
    current.dirty = false;
    const { staged, ...kept } = current.draft;
    setSaved("saving");
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
  /** It was sent or thrown away: nothing saves it again. An empty one takes its place. */
  const end = () => {
    clearTimeout(now.current.timer);
    now.current.dirty = false;
    now.current.draft = emptyDraft(key, thread);
    setDraft(now.current.draft);
    setSaved("");
  };
  /** What another device wrote, or what was taken back. @param {Draft} other */
  const take = (other) => {
    now.current.draft = other;
    setDraft(other);
  };

  useEffect(() => {
    const { current } = now;
    current.gone = false;
    current.draft = null;
    current.dirty = false;
    setDraft(null);
    setSaved("");
    call("drafts.list", { account }).then(
      (all) => {
        if (current.gone || current.draft) return;
        const found = all.find((one) => one.key === key);
        take({ ...emptyDraft(key, thread), ...found });
        if (found) setSaved("saved");
      },
      () => take(emptyDraft(key, thread)),
    );
    const stop = listen(({ account: of, type, data }) => {
      if (of !== account || type !== "draft" || data.key !== key || current.dirty || !current.draft) return;
      take({ ...emptyDraft(key, thread), ...data.draft });
    });
    const hide = () => void flush();
    addEventListener("pagehide", hide);
    document.addEventListener("visibilitychange", hide);
    return () => {
      stop();
      removeEventListener("pagehide", hide);
      document.removeEventListener("visibilitychange", hide);
      flush();
      current.gone = true;
    };
  }, [account, key]);

  return { draft: draft?.key === key ? draft : null, saved, change, flush, end };
}
