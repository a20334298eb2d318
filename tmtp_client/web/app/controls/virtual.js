// SPDX-License-Identifier: AGPL-3.0-or-later
/**
 * A long list of which only what is seen is in the page. It stays a list to a screen reader: real items in a real list,
 * each saying its place; one of them takes part in the order of Tab, and keys move among all.
 *
 * Scrolling costs what comes into sight: the list is drawn again when other rows are to be there, not at each move, and a
 * row of which nothing has changed is not made again.
 */

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../base/html.js";

const OVERSCAN = 6; // rows beyond what is seen
const STEP = 4; // rows that come and go together
const NEAR = 60; // so many rows before the end, what follows is asked for: it is here when one gets there
const FIRST_PX = 800; // taken for the height until it is known

/**
 * What keys do to the list that is shown.
 * @typedef {{of: object, move: (by: number) => void, focus: (key?: string) => boolean, current: () => any}} Movable
 */

/**
 * @param {object} of
 * @param {any[]} of.items
 * @param {(item: any) => string} of.keyOf
 * @param {number} of.row_rem how high each is
 * @param {string} of.label
 * @param {boolean} of.whole whether there are no more than these
 * @param {string} [of.current] the key of the one that is open
 * @param {(item: any, props: {tabindex: number, "data-row": string, onFocus: () => void}, isCurrent: boolean) => any} of.row
 *   the same function as long as it makes the same of the same: rows are kept until it is another
 * @param {() => void} of.onNear the end is near
 * @param {{current: Movable | null}} of.movable is set to what keys do here
 */
export function VirtualList({ items, keyOf, row_rem, label, whole, current = "", row, onNear, movable }) {
  const scroller = useRef(null);
  const ruler = useRef(null);
  const [rowPx, setRowPx] = useState(() => row_rem * parseFloat(getComputedStyle(document.documentElement).fontSize));
  const [range, setRange] = useState(() => rangeOf(0, FIRST_PX, rowPx));
  const [active, setActive] = useState(current);
  const wanted = useRef({ key: "", from: null }); // the row that is to get the focus once it is in the page
  const place = useRef({ top: 0, height: FIRST_PX, first: "" });
  const made = useRef({ by: row, rows: new Map() });
  const keys = useMemo(() => items.map(keyOf), [items]);
  const latest = useRef({ keys, rowPx });
  latest.current = { keys, rowPx };

  /** Where one looks by now, and what is to be there. */
  const look = () => {
    if (!scroller.current) return;
    const { scrollTop: top, clientHeight: height } = scroller.current;
    const { keys: now, rowPx: px } = latest.current;
    place.current = { top, height, first: now[Math.floor(top / px)] ?? "" };
    const next = rangeOf(top, height, px);
    setRange((was) => (was.from === next.from && was.upto === next.upto ? was : next));
  };
  useLayoutEffect(() => {
    const observer = new ResizeObserver(() => {
      const px = ruler.current?.getBoundingClientRect().height;
      if (px) setRowPx((latest.current.rowPx = px));
      look();
    });
    observer.observe(scroller.current);
    observer.observe(ruler.current);
    return () => {
      observer.disconnect();
      if (movable.current?.of === scroller) movable.current = null;
    };
  }, []);
  useEffect(() => {
    if (current) setActive(current);
  }, [current]);

  // What came above does not push away what one looks at.
  useLayoutEffect(() => {
    const { first, top } = place.current;
    const shift = first ? keys.indexOf(first) : -1;
    if (top > rowPx && shift > 0) {
      const at = Math.floor(top / rowPx);
      if (shift !== at) scroller.current.scrollTop = top + (shift - at) * rowPx;
    }
    look();
  }, [items, rowPx]);

  const from = Math.min(range.from, Math.max(0, items.length - 1));
  const upto = Math.min(items.length, range.upto);
  const activeAt = useMemo(() => Math.max(0, keys.indexOf(active)), [keys, active]);
  const shown = [];
  for (let at = from; at < upto; at += 1) shown.push(at);
  if (items.length && (activeAt < from || activeAt >= upto)) shown.push(activeAt); // the focus is not lost by scrolling

  useEffect(() => {
    if (!whole && upto >= items.length - NEAR) onNear();
  });
  useLayoutEffect(() => {
    const { key, from: before } = wanted.current;
    if (!key) return;
    const now = document.activeElement;
    if (now !== before && now !== document.body && !scroller.current.contains(now)) return void (wanted.current.key = ""); // somebody went elsewhere
    const found = rowOf(scroller.current, key);
    if (!found && keys.includes(key)) return; // one that has gone is not waited for
    wanted.current.key = "";
    found?.focus({ preventScroll: true });
  });

  const goTo = (at) => {
    const key = keys[at];
    const { current: element } = scroller;
    if (key === undefined || !element) return false;
    if (at * rowPx < element.scrollTop) element.scrollTop = at * rowPx;
    else if ((at + 1) * rowPx > element.scrollTop + element.clientHeight) element.scrollTop = (at + 1) * rowPx - element.clientHeight;
    setActive(key);
    look();
    const found = rowOf(element, key);
    wanted.current = { key: found ? "" : key, from: document.activeElement };
    found?.focus({ preventScroll: true });
    return true;
  };
  movable.current = {
    of: scroller,
    move: (by) => void goTo(Math.min(Math.max(activeAt + (scroller.current?.contains(document.activeElement) ? by : 0), 0), items.length - 1)),
    focus: (key) => goTo(key ? keys.indexOf(key) : activeAt),
    current: () => items[activeAt],
  };
  const keyed = (event) => {
    const page = Math.max(1, Math.floor(place.current.height / rowPx) - 1);
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -items.length, End: items.length }[event.key];
    if (by === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    movable.current.move(by);
  };

  const before = made.current.by === row ? made.current.rows : new Map();
  made.current = { by: row, rows: new Map() };
  /** A row, as it was made the last time where nothing of it has changed. */
  const drawn = (at) => {
    const [item, key] = [items[at], keys[at]];
    const isCurrent = key === current;
    const tabindex = at === activeAt ? 0 : -1;
    const was = before.get(key);
    const kept = was && was.item === item && was.isCurrent === isCurrent && was.tabindex === tabindex;
    const one = kept ? was : { item, isCurrent, tabindex, element: row(item, { tabindex, "data-row": key, onFocus: () => setActive(key) }, isCurrent) };
    made.current.rows.set(key, one);
    return one.element;
  };
  return html`<div class="scroller" ref=${scroller} onScroll=${look}>
    <div class="virtual-ruler" ref=${ruler} style=${{ height: `${row_rem}rem` }} aria-hidden="true"></div>
    <ul class="virtual" role="list" aria-label=${label} style=${{ height: `${items.length * rowPx}px` }} onKeyDown=${keyed}>
      ${shown.map((at) => html`<li key=${keys[at]} class="virtual-row" aria-setsize=${whole ? items.length : -1} aria-posinset=${at + 1}
        style=${{ transform: `translateY(${at * rowPx}px)`, height: `${rowPx}px` }}>${drawn(at)}</li>`)}
    </ul>
  </div>`;
}

/** Which rows are to be in the page. @param {number} top @param {number} height @param {number} rowPx */
function rangeOf(top, height, rowPx) {
  const first = Math.floor(top / rowPx / STEP) * STEP;
  const last = Math.ceil((top + height) / rowPx / STEP) * STEP;
  return { from: Math.max(0, first - OVERSCAN), upto: last + OVERSCAN };
}

/** @param {Element} scroller @param {string} key */
const rowOf = (scroller, key) => scroller.querySelector(`[data-row="${CSS.escape(key)}"]`);
