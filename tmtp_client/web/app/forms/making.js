// SPDX-License-Identifier: AGPL-3.0-or-later
/** A form for a message that is being written: in a window of its own, all by keyboard. What is made is a draft at once. */

import { html, Icon, useEffect, useRef, useState } from "../base/html.js";
import { visible } from "../base/text.js";
import { t } from "../base/words.js";
import { Dialog, Field } from "../controls/controls.js";
import { say } from "../controls/saying.js";
import { Questions } from "./questions.js";
import { titleOf } from "./tables.js";
import { finished, HELP_MAX, missingIn, newForm, newQuestion, QUESTIONS_MAX, retyped, TITLE_MAX, TYPES } from "./written.js";

const SETTLED_MS = 0; // when the list stands in its new order

/**
 * The form of a draft: what it is, and the way into it.
 * @param {{writing: any, isOpen: boolean, onOpen: (open: boolean) => void}} of `writing`: what `useWriting` gives
 */
export function Making({ writing, isOpen, onOpen }) {
  const { draft, change } = writing;
  const edit = useRef(/** @type {HTMLButtonElement | null} */ (null));
  const { form } = draft;
  useEffect(() => {
    if (isOpen && !form) change({ form: newForm() });
  }, [isOpen]);
  if (!form) return null;
  const close = () => {
    onOpen(false);
    setTimeout(() => edit.current?.focus(), SETTLED_MS); // the button that opened it may not be there any more
  };
  const leaveOut = (event) => {
    const box = event.currentTarget.closest("form");
    change({ form: null });
    say(t("forms.left_out"), { undo: () => change({ form }) });
    setTimeout(() => box?.querySelector("textarea")?.focus(), SETTLED_MS);
  };
  const count = Object.keys(missingIn(form)).length;
  return html`<div class="made-form"><${Icon} name="audit" />
    <span class="file-name"><bdi>${titleOf(form.title)}</bdi> <small class=${count ? "wrong" : "muted"}>${count ? t("forms.unfinished", { count }) : t("forms.questions", { count: form.fields.length })}</small></span>
    <button ref=${edit} class="button small" type="button" aria-haspopup="dialog" onClick=${() => onOpen(true)}>${t("forms.edit")}</button>
    <button class="button quiet small" type="button" aria-label=${t("forms.leave_out")} onClick=${leaveOut}><${Icon} name="close" /></button>
    ${isOpen && html`<${Editor} form=${form} onChange=${(next) => change({ form: next })} onClose=${close} />`}
  </div>`;
}

/** @param {{form: import("./written.js").Form, onChange: (form: any) => void, onClose: () => void}} of */
function Editor({ form, onChange, onClose }) {
  const [preview, setPreview] = useState(false);
  const [tried, setTried] = useState(false);
  const [said, setSaid] = useState("");
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  const wrong = tried ? missingIn(form) : {};
  const { fields } = form;
  const put = (next) => onChange({ ...form, fields: next });
  const focusIn = (name, part) =>
    setTimeout(() => {
      const question = list.current?.querySelector(`[data-made="${CSS.escape(name)}"]`);
      (question?.querySelector(`${part}:not([disabled])`) ?? question?.querySelector("input"))?.focus();
    }, SETTLED_MS);

  const add = () => {
    const one = newQuestion(fields);
    put([...fields, one]);
    setSaid(t("forms.added", { place: fields.length + 1 }));
    focusIn(one.name, "input");
  };
  const remove = (place) => {
    const rest = fields.toSpliced(place, 1);
    put(rest);
    setSaid(t("forms.removed", { place: place + 1 }));
    if (rest.length) focusIn(rest[Math.min(place, rest.length - 1)].name, "[data-act=remove]");
    else setTimeout(() => list.current?.parentElement?.querySelector("[data-act=add]")?.focus(), SETTLED_MS);
  };
  const move = (place, by) => {
    const to = place + by;
    if (to < 0 || to >= fields.length) return;
    const part = document.activeElement?.getAttribute("data-act");
    put(fields.toSpliced(place, 1).toSpliced(to, 0, fields[place]));
    setSaid(t("forms.moved", { place: to + 1, count: fields.length }));
    focusIn(fields[place].name, part ? `[data-act=${part}]` : "input");
  };
  const done = (event) => {
    event.preventDefault();
    event.stopPropagation(); // else the message around it is sent
    setPreview(false);
    try {
      finished(form);
      onClose();
    } catch {
      setTried(true);
      setTimeout(() => list.current?.querySelector("[aria-invalid=true]")?.focus(), SETTLED_MS);
    }
  };
  return html`<${Dialog} label=${t("forms.make")} onClose=${onClose} wide>
    <form class="confirm making" noValidate onSubmit=${done}>
      <div class="making-head"><h2>${t("forms.make")}</h2>
        <div class="segments" role="group" aria-label=${t("writing.view")}>
          <button type="button" aria-pressed=${preview ? "false" : "true"} onClick=${() => setPreview(false)}>${t("writing.write")}</button>
          <button type="button" aria-pressed=${preview ? "true" : "false"} onClick=${() => setPreview(true)}>${t("writing.preview")}</button>
        </div></div>
      ${preview ? html`<${Shown} form=${form} />` : html`
        <${Field} label=${t("forms.title")} optional>
          ${(attributes) => html`<input ...${attributes} dir="auto" maxlength=${TITLE_MAX} value=${form.title} onInput=${(event) => onChange({ ...form, title: event.currentTarget.value })} />`}
        <//>
        <ol class="made-questions" ref=${list}>${fields.map((one, place) => html`<li key=${one.name}><${Made} question=${one} place=${place} count=${fields.length} wrong=${wrong[one.name] ?? {}}
          onChange=${(next) => put(fields.with(place, next))} onMove=${(by) => move(place, by)} onRemove=${() => remove(place)} /></li>`)}</ol>
        <div class="form-acts start"><button class="button small" type="button" data-act="add" disabled=${fields.length >= QUESTIONS_MAX} onClick=${add}><${Icon} name="plus" /> ${t("forms.add")}</button></div>`}
      <span class="spoken" role="status">${said}</span>
      ${tried && Object.keys(wrong).length > 0 && html`<p class="wrong">${t("forms.not_finished", { count: Object.keys(wrong).length })}</p>`}
      ${!fields.length && html`<p class="hint">${t("forms.no_questions")}</p>`}
      <div class="form-acts">
        <button class="button" type="button" onClick=${onClose}>${t("forms.later")}</button>
        <button class="button first" type="submit" disabled=${!fields.length}>${t("forms.done")}</button>
      </div>
    </form>
  <//>`;
}

/** How it will look; what is answered here is forgotten. */
function Shown({ form }) {
  const [values, setValues] = useState({});
  const shown = form.fields.map((one) => ({ ...one, choices: [...new Set((one.choices ?? []).map((each) => each.trim()).filter(Boolean))] }));
  return html`<div class="form-card" role="group" aria-label=${t("writing.preview")}><h3 class="form-title"><${Icon} name="audit" /> <bdi>${titleOf(form.title)}</bdi></h3>
    <div class="filling"><${Questions} questions=${shown} values=${values} wrong=${{}} onChange=${(name, value) => setValues({ ...values, [name]: value })} /></div></div>`;
}

function Made({ question, place, count, wrong, onChange, onMove, onRemove }) {
  const { name, type, title, required = false, choices = [], minimum = null, maximum = null, longest = 0, help = "" } = question;
  const put = (fields) => onChange({ ...question, ...fields });
  const before = useRef(question); // with what another type does not know: whoever looks through the types by the arrow keys loses nothing
  before.current = { ...before.current, ...question };
  const number = (event) => (event.currentTarget.value === "" ? null : Number(event.currentTarget.value));
  const bound = (field, value) => html`<${Field} label=${t(`forms.${field}`)} optional wrong=${field === "maximum" ? (wrong.bounds ?? "") : ""}>
    ${(attributes) => html`<input ...${attributes} type="number" step="any" value=${value ?? ""} onInput=${(event) => put({ [field]: number(event) })} />`}<//>`;
  const keyed = (event) => {
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!by || !event.altKey) return;
    event.preventDefault();
    onMove(by);
  };
  const named = { place: place + 1, words: visible(title).slice(0, 40) };
  return html`<fieldset class="made" data-made=${name} onKeyDown=${keyed}>
    <legend>${t("forms.question", { place: place + 1 })}</legend>
    <${Field} label=${t("forms.words")} wrong=${wrong.title ?? ""}>
      ${(attributes) => html`<input ...${attributes} dir="auto" maxlength=${TITLE_MAX} value=${title} onInput=${(event) => put({ title: event.currentTarget.value })} />`}
    <//>
    <div class="in-a-row">
      <${Field} label=${t("forms.type")}>
        ${(attributes) => html`<select ...${attributes} value=${type} onChange=${(event) => onChange(retyped(before.current, event.currentTarget.value))}>
          ${TYPES.map((one) => html`<option key=${one} value=${one}>${t(`forms.type_${one}`)}</option>`)}</select>`}
      <//>
      <label class="choice"><input type="checkbox" checked=${required} onChange=${(event) => put({ required: event.currentTarget.checked })} /> ${t("forms.must")}</label>
    </div>
    ${(type === "one" || type === "many") && html`<${Field} label=${t("forms.choices")} hint=${t("forms.choices_hint")} wrong=${wrong.choices ?? ""}>
      ${(attributes) => html`<textarea ...${attributes} rows=${Math.min(8, Math.max(3, choices.length + 1))} dir="auto" value=${choices.join("\n")}
        onInput=${(event) => put({ choices: event.currentTarget.value ? event.currentTarget.value.split("\n") : [] })}></textarea>`}<//>`}
    ${(type === "number" || type === "integer") && html`<div class="in-a-row">${bound("minimum", minimum)}${bound("maximum", maximum)}</div>`}
    <details class="more" open=${Boolean(help || longest)}><summary>${t("forms.more")}</summary><div class="stacked">
      <${Field} label=${t("forms.help")} optional>
        ${(attributes) => html`<input ...${attributes} dir="auto" maxlength=${HELP_MAX} value=${help} onInput=${(event) => put({ help: event.currentTarget.value })} />`}
      <//>
      ${(type === "text" || type === "long") && html`<${Field} label=${t("forms.longest")} optional>
        ${(attributes) => html`<input ...${attributes} type="number" min="1" max="20000" step="1" value=${longest || ""} onInput=${(event) => put({ longest: Math.min(20_000, Math.max(0, Math.trunc(number(event) ?? 0))) })} />`}
      <//>`}
    </div></details>
    <div class="form-acts start">
      <button class="button small quiet" type="button" data-act="up" disabled=${place === 0} aria-label=${t("forms.up", named)} aria-keyshortcuts="Alt+ArrowUp" onClick=${() => onMove(-1)}><span aria-hidden="true">↑</span></button>
      <button class="button small quiet" type="button" data-act="down" disabled=${place === count - 1} aria-label=${t("forms.down", named)} aria-keyshortcuts="Alt+ArrowDown" onClick=${() => onMove(1)}><span aria-hidden="true">↓</span></button>
      <button class="button small quiet" type="button" data-act="remove" aria-label=${t("forms.remove", named)} onClick=${onRemove}>${t("forms.remove_short")}</button>
    </div>
  </fieldset>`;
}
