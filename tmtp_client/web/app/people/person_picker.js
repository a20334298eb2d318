// SPDX-License-Identifier: AGPL-3.0-or-later
/** Naming people: a combobox over those known here and the service's directory; several of them as removable names. */

import { call } from "../base/api.js";
import { html, Icon, useEffect, useLayoutEffect, useRef, useState } from "../base/html.js";
import { visible } from "../base/text.js";
import { t } from "../base/words.js";
import { Field, useId } from "../controls/controls.js";
import { accountOf } from "../state/state.js";

const ASK_AFTER_MS = 150;
const ASK_AGAIN_MS = 1000;
const SHOWN_MAX = 8;

/**
 * People whose names begin with what is typed, groups among them where `groups` says so. While there is nobody it is asked
 * again, after twice the time each time, and when the account comes online: the directory answers nothing to who is not,
 * and who joins later is in it later.
 * @param {string} account @param {string} text @param {{groups: boolean, known: boolean}} which
 */
function useSuggestions(account, text, { groups, known }) {
  const [found, setFound] = useState(/** @type {any[]} */ ([]));
  const state = accountOf(account)?.state;
  useEffect(() => {
    const wanted = text.trim();
    if (!wanted) return void setFound([]);
    let over = false;
    let timer = 0;
    const begins = (name) => name.toLocaleLowerCase().startsWith(wanted.toLocaleLowerCase());
    const ask = async (again_ms) => {
      const [people, lists] = await Promise.all([
        call("people.find", { account, text: wanted }).catch(() => []),
        groups ? call("groups.list", { account }).catch(() => []) : [],
      ]);
      if (over) return;
      const named = lists.filter((one) => one.stands === "joined" && begins(one.gid)).map((one) => ({ alias: one.gid, group: true }));
      const usable = people.filter((one) => one.stands !== "self" && (!known || one.stands === "contact" || one.via));
      const all = [...named, ...usable].slice(0, SHOWN_MAX);
      setFound(all);
      if (!all.length) timer = setTimeout(ask, again_ms, 2 * again_ms);
    };
    timer = setTimeout(ask, ASK_AFTER_MS, ASK_AGAIN_MS);
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [account, text, groups, known, state]);
  return found;
}

/** @param {any} one who was found, or a group */
const keyOf = (one) => one.uid || one.alias;

/**
 * The input and its list. `onChoose` is given a name that was chosen or typed to its end.
 * @param {{account: string, attributes: any, value: string, onInput: (text: string) => void, onChoose: (name: string) => void, onBack?: () => void,
 *   groups?: boolean, known?: boolean, autofocus?: boolean, takesTyped?: boolean}} of
 */
function Combobox({ account, attributes, value, onInput, onChoose, onBack, groups = false, known = false, autofocus = false, takesTyped = false }) {
  const list = useId("people");
  const found = useSuggestions(account, value, { groups, known });
  const [open, setOpen] = useState(false);
  const [marked, setMarked] = useState(""); // by whom it is: the list may be another one when the key is pressed
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  useLayoutEffect(() => {
    if (autofocus) input.current?.focus();
  }, []);
  useEffect(() => setMarked(""), [value]);
  const at = found.findIndex((one) => keyOf(one) === marked);
  const shown = open && found.length > 0;

  const choose = (name) => {
    onChoose(name);
    setOpen(false);
  };
  const key = (event) => {
    if (event.isComposing) return; // a name in Japanese, say, whose letters are still being chosen by the same keys
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (!found.length) return;
      event.preventDefault();
      setOpen(true);
      const step = event.key === "ArrowDown" ? 1 : -1;
      setMarked(keyOf(found[(at + step + found.length + (at < 0 && step < 0 ? 1 : 0)) % found.length]));
    } else if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) {
      if (shown && at >= 0) {
        event.preventDefault();
        choose(found[at].alias);
      } else if (takesTyped && value.trim()) {
        event.preventDefault();
        choose(value.trim());
      }
    } else if ((event.key === "," || event.key === ";" || event.key === "Tab") && takesTyped && value.trim() && !event.shiftKey) {
      if (event.key !== "Tab") event.preventDefault();
      choose(shown && at >= 0 ? found[at].alias : value.trim());
    } else if (event.key === "Escape" && shown) {
      event.preventDefault();
      event.stopPropagation();
      setOpen(false);
    } else if (event.key === "Backspace" && !value) {
      onBack?.();
    }
  };
  return html`<div class="combobox">
    <input ...${attributes} ref=${input} autofocus=${autofocus} role="combobox" aria-expanded=${shown ? "true" : "false"} aria-controls=${list} aria-autocomplete="list"
      aria-activedescendant=${shown && at >= 0 ? `${list}-${at}` : undefined} autocomplete="off" spellcheck=${false} dir="auto" value=${value}
      onInput=${(event) => {
        onInput(event.currentTarget.value);
        setOpen(true);
      }}
      onKeyDown=${key} onBlur=${() => {
        setOpen(false);
        if (takesTyped && value.trim()) onChoose(value.trim());
      }} />
    <ul class="suggestions" role="listbox" id=${list} aria-label=${t("writing.suggestions")} hidden=${!shown}>
      ${found.map((one, place) => html`<li role="option" id="${list}-${place}" key=${keyOf(one)} aria-selected=${place === at ? "true" : "false"}
        onMouseDown=${(event) => event.preventDefault()} onClick=${() => choose(one.alias)}>
        <bdi>${visible(one.alias)}</bdi> <small class="muted">${one.group ? t("writing.group") : t(`contacts.stands_${one.stands}`)}</small></li>`)}
    </ul>
  </div>`;
}

/**
 * One person.
 * @param {{account: string, label: string, value: string, onInput: (text: string) => void, hint?: string, wrong?: string, autofocus?: boolean}} of
 */
export function PersonPicker({ account, label, value, onInput, hint = "", wrong = "", autofocus = false }) {
  return html`<${Field} label=${label} hint=${hint} wrong=${wrong}>
    ${(attributes) => html`<${Combobox} account=${account} attributes=${attributes} value=${value} onInput=${onInput} onChoose=${onInput} autofocus=${autofocus} />`}
  <//>`;
}

/**
 * Several, whom one knows.
 * @param {{account: string, label: string, names: string[], onChange: (names: string[]) => void, hint?: string, wrong?: string, autofocus?: boolean}} of
 */
export function PeoplePicker({ account, label, names, onChange, hint = "", wrong = "", autofocus = false }) {
  const [text, setText] = useState("");
  const add = (name) => {
    setText("");
    if (!names.includes(name)) onChange([...names, name]);
  };
  return html`<${Field} label=${label} hint=${hint} wrong=${wrong}>
    ${(attributes) => html`<div class="people-picker">
      ${names.length > 0 && html`<ul class="chips" aria-label=${label}>${names.map((name) => html`<li key=${name}><bdi>${visible(name)}</bdi>
        <button type="button" aria-label=${t("writing.leave_out", { name })} onClick=${() => onChange(names.filter((one) => one !== name))}><${Icon} name="close" /></button></li>`)}</ul>`}
      <${Combobox} account=${account} attributes=${attributes} value=${text} onInput=${setText} onChoose=${add} groups known takesTyped autofocus=${autofocus}
        onBack=${() => names.length && onChange(names.slice(0, -1))} />
    </div>`}
  <//>`;
}
