// SPDX-License-Identifier: AGPL-3.0-or-later
/**
 * What is done to a conversation in the list without opening it: a menu at its row, by the other button of the mouse, the
 * menu key or Shift+F10. It stays as it is while the list is drawn anew, and goes when its conversation does.
 */

import { html, Icon, useEffect, useLayoutEffect, useRef } from "../base/html.js";
import { told } from "../base/text.js";
import { t } from "../base/words.js";
import { listOf, threadKey } from "../state/threads.js";
import { archive, markRead, markUnread, mute, presets, snooze, weekTime } from "./acts.js";
import { movable, rowMenu } from "./list.js";

const EDGE_PX = 8; // from the window's edge

/** @param {{place: import("../state/threads.js").Place}} of the list that it is asked in */
export function RowMenu({ place }) {
  const panel = useRef(null);
  const { key, x, y } = rowMenu.value;
  const { threads } = listOf(place).value;
  const at = threads.findIndex((one) => threadKey(one) === key);
  const thread = threads[at];
  useEffect(() => {
    if (!thread) rowMenu.value = null;
  }, [thread]);
  useLayoutEffect(() => {
    if (!panel.current) return;
    const { width, height } = panel.current.getBoundingClientRect();
    panel.current.style.left = `${Math.max(EDGE_PX, Math.min(x, innerWidth - width - EDGE_PX))}px`;
    panel.current.style.top = `${Math.max(EDGE_PX, Math.min(y, innerHeight - height - EDGE_PX))}px`;
    itemsOf(panel.current)[0].focus({ preventScroll: true });
  }, [key, x, y]);
  useEffect(() => {
    const outside = (event) => panel.current && !panel.current.contains(event.target) && (rowMenu.value = null);
    addEventListener("pointerdown", outside, true);
    addEventListener("focusin", outside, true);
    return () => {
      removeEventListener("pointerdown", outside, true);
      removeEventListener("focusin", outside, true);
    };
  }, []);
  if (!thread) return null;

  /** Close; the focus goes to a row. @param {any} [to] */
  const close = (to = thread) => {
    rowMenu.value = null;
    movable.current?.focus(threadKey(to));
  };
  const act = (done) => () => (close(), done());
  const away = (done) => () => (close(threads[at + 1] ?? threads[at - 1] ?? thread), done()); // the row goes with it
  const later = (thread.snoozed_until_ms ?? 0) > Date.now();
  return html`<div class="popup-panel row-menu" data-panel role="menu" ref=${panel} onKeyDown=${(event) => keyed(event, panel.current, close)}
    aria-label=${t("list.row_acts", { subject: told(thread.subject).trim() || t("list.no_subject") })} onContextMenu=${(event) => event.preventDefault()}>
    <${Act} icon=${thread.archived ? "inbox" : "archive"} onAct=${away(() => archive(thread))}>${t(thread.archived ? "thread.unarchive" : "thread.archive")}<//>
    ${thread.unseen
      ? html`<${Act} icon="good" onAct=${act(() => markRead(thread))}>${t("thread.mark_read")}<//>`
      : html`<${Act} icon="dot" onAct=${act(() => markUnread(thread))}>${t("thread.mark_unread")}<//>`}
    <${Act} icon="mute" onAct=${act(() => mute(thread))}>${t(thread.muted ? "thread.unmute" : "thread.mute")}<//>
    <div role="group" aria-label=${t("thread.snooze")} class="row-menu-group">
      ${later && html`<${Act} icon="clock" onAct=${away(() => snooze(thread, 0))}>${t("thread.snooze_end")}<//>`}
      ${presets(new Date()).map(([name, when]) => html`<${Act} key=${name} icon="clock" onAct=${away(() => snooze(thread, when.getTime()))}>
        <span>${t(`thread.${name}`)}</span> <span class="muted">${weekTime(when)}</span><//>`)}
    </div>
  </div>`;
}

function Act({ icon, onAct, children }) {
  return html`<button class="choice-line" type="button" role="menuitem" tabindex="-1" onClick=${onAct}><${Icon} name=${icon} /> ${children}</button>`;
}

/** @param {Element} panel @returns {HTMLElement[]} */
const itemsOf = (panel) => [...panel.querySelectorAll('[role="menuitem"]')];

/** A menu's keys; none of them is one of the page's (ARIA APG, menu). */
function keyed(event, panel, close) {
  event.stopPropagation();
  const all = itemsOf(panel);
  const at = all.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
  if (to !== undefined) all.at(to % all.length).focus();
  else if (event.key === "Escape" || event.key === "Tab") close();
  else return;
  event.preventDefault();
}
