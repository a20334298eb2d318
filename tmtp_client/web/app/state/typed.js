// SPDX-License-Identifier: AGPL-3.0-or-later
/**
 * What is typed in a window that can be closed, and is no draft of the engine's: it is there again when one comes back, until
 * it was sent. Kept by this page only, and forgotten with the key (B8) and with its account.
 */

import { useEffect, useRef, useState } from "../base/html.js";
import { whenLeft, whenLocked } from "./state.js";

/** By account and where it is typed. @type {Map<string, any>} */
const typed = new Map();
whenLocked(() => typed.clear());
whenLeft((account) => [...typed.keys()].filter((key) => key.startsWith(`${account} `)).forEach((key) => typed.delete(key)));

/**
 * `change` takes what is other than it was; `done` forgets what was sent, unless somebody typed on meanwhile.
 * @template T
 * @param {string} account @param {string} place where it is typed @param {T} empty
 * @returns {{words: T, change: (fields: Partial<T>) => void, done: () => void}}
 */
export function useTyped(account, place, empty) {
  const key = `${account} ${place}`;
  const [words, setWords] = useState(() => typed.get(key) ?? empty);
  const change = (fields) =>
    setWords((now) => {
      const next = { ...now, ...fields };
      typed.set(key, next);
      return next;
    });
  const done = () => typed.get(key) === words && typed.delete(key);
  return { words, change, done };
}

/** Whether this is still shown: what is answered later than that closes nothing that was opened after it. */
export function useShown() {
  const shown = useRef(true);
  useEffect(() => {
    shown.current = true;
    return () => void (shown.current = false);
  }, []);
  return () => shown.current;
}
