// SPDX-License-Identifier: AGPL-3.0-or-later
/**
 * A long list of which only what is seen is in the page. It stays a list to a screen reader: real items in a real list,
 * each saying its place; one of them takes part in the order of Tab, and keys move among all.
 */

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./html.js";

const OVERSCAN = 6;

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
 * @param {(item: any, props: {tabindex: number, "data-row": string, onFocus: () => void}) => any} of.row
 * @param {() => void} of.onNear the end is near
 * @param {{current: Movable | null}} of.movable is set to what keys do here
 */
export function VirtualList({ items, keyOf, row_rem, label, whole, current, row, onNear, movable }) {
  const scroller = useRef(null);
  const [rowPx, setRowPx] = useState(() => row_rem * rootPx());
  const [seen, setSeen] = useState({ top: 0, height: 800 });
  const [active, setActive] = useState(current ?? "");
  const wanted = useRef(""); // the row that is to get the focus once it is in the page
  const before = useRef({ first: "", top: 0 });
  const keys = useMemo(() => items.map(keyOf), [items]);

  const measure = () => {
    if (!scroller.current) return;
    const { scrollTop, clientHeight } = scroller.current;
    setRowPx(row_rem * rootPx());
    setSeen((was) => (was.top === scrollTop && was.height === clientHeight ? was : { top: scrollTop, height: clientHeight }));
  };
  useLayoutEffect(() => {
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(scroller.current);
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
    const { first, top } = before.current;
    const shift = first ? keys.indexOf(first) : -1;
    if (top > rowPx && shift > 0) {
      const at = Math.floor(top / rowPx);
      if (shift !== at) scroller.current.scrollTop = top + (shift - at) * rowPx;
    }
  }, [items]);

  const from = Math.max(0, Math.floor(seen.top / rowPx) - OVERSCAN);
  const upto = Math.min(items.length, Math.ceil((seen.top + seen.height) / rowPx) + OVERSCAN);
  const activeAt = useMemo(() => Math.max(0, keys.indexOf(active)), [keys, active]);
  const shown = [];
  for (let at = from; at < upto; at += 1) shown.push(at);
  if (items.length && (activeAt < from || activeAt >= upto)) shown.push(activeAt); // the focus is not lost by scrolling
  before.current = { first: keys[Math.floor(seen.top / rowPx)] ?? "", top: seen.top };

  useEffect(() => {
    if (!whole && upto >= items.length - OVERSCAN) onNear();
  });
  useLayoutEffect(() => {
    if (!wanted.current) return;
    const found = scroller.current.querySelector(`[data-row="${CSS.escape(wanted.current)}"]`);
    if (found || !keys.includes(wanted.current)) wanted.current = ""; // one that has gone is not waited for
    found?.focus({ preventScroll: true });
  });

  const goTo = (at) => {
    const key = keys[at];
    if (key === undefined || !scroller.current) return false;
    const { current: element } = scroller;
    if (at * rowPx < element.scrollTop) element.scrollTop = at * rowPx;
    else if ((at + 1) * rowPx > element.scrollTop + element.clientHeight) element.scrollTop = (at + 1) * rowPx - element.clientHeight;
    wanted.current = key;
    setActive(key);
    measure();
    const found = element.querySelector(`[data-row="${CSS.escape(key)}"]`);
    if (found) {
      wanted.current = "";
      found.focus({ preventScroll: true });
    }
    return true;
  };
  movable.current = {
    of: scroller,
    move: (by) => void goTo(Math.min(Math.max(activeAt + (scroller.current?.contains(document.activeElement) ? by : 0), 0), items.length - 1)),
    focus: (key) => goTo(key ? keys.indexOf(key) : activeAt),
    current: () => items[activeAt],
  };
  const keyed = (event) => {
    const page = Math.max(1, Math.floor(seen.height / rowPx) - 1);
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -items.length, End: items.length }[event.key];
    if (by === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    movable.current.move(by);
  };

  return html`<div class="scroller" ref=${scroller} onScroll=${measure}>
    <ul class="virtual" role="list" aria-label=${label} style=${{ height: `${items.length * rowPx}px` }} onKeyDown=${keyed}>
      ${shown.map((at) => html`<li key=${keys[at]} class="virtual-row" aria-setsize=${whole ? items.length : -1} aria-posinset=${at + 1}
        style=${{ transform: `translateY(${at * rowPx}px)`, height: `${rowPx}px` }}>
        ${row(items[at], { tabindex: at === activeAt ? 0 : -1, "data-row": keys[at], onFocus: () => setActive(keys[at]) })}
      </li>`)}
    </ul>
  </div>`;
}

const rootPx = () => parseFloat(getComputedStyle(document.documentElement).fontSize);
