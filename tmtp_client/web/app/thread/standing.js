// SPDX-License-Identifier: AGPL-3.0-or-later
/** Where one stands in a conversation: what is in sight stays there whatever comes or goes around it; and the focus. */

import { signal, useEffect, useLayoutEffect, useRef } from "../base/html.js";
import { conversation, loadEarlier, loadLater } from "../state/conversation.js";
import { currentMessage } from "./at_hand.js";

const NEAR_PX = 2_000; // from here on further messages are asked for: they are here when one gets there
const END_PX = 40; // less than that from the end is the end
const MARGIN_PX = 48; // above the first unread message
const MOVED_PX = 2; // more than that, and somebody has scrolled

/** Whether the focus is to go into the conversation once it is there. */
const entering = signal(false);

/** The focus follows into the conversation that is being opened. */
export function enter() {
  entering.value = true;
}

/**
 * Keeps the place in what is scrolled. One begins at the message that was asked for, at the first unread one, or at the
 * end, and stays there until one scrolls; then what is in sight stays where it is.
 * @param {import("../state/conversation.js").Conversation} now
 */
export function useStanding(now) {
  const scroller = useRef(null);
  const { messages, waiting, firstUnseen, at } = now;
  const place = useRef({ placed: "", held: "", set: 0, atBottom: false, sight: null, messages });
  const latest = useRef(now);
  latest.current = now;
  const was = place.current;
  if (was.messages !== messages && scroller.current) was.sight = inSight(scroller.current); // before anything is moved
  was.messages = messages;

  /** Scroll there, by the page itself. */
  const go = (top) => {
    const { current: box } = scroller;
    box.scrollTop = top;
    was.set = box.scrollTop;
  };
  const noteBottom = () => {
    const { current: box } = scroller;
    was.atBottom = latest.current.atEnd && box.scrollHeight - box.scrollTop - box.clientHeight < END_PX;
  };
  /** Where one is to be, after something has another size. */
  const settle = () => {
    const { current: box } = scroller;
    const element = was.held && messageOf(box, was.held);
    if (element) go(topOf(element, box) - (was.held === latest.current.at ? box.clientHeight / 3 : MARGIN_PX));
    else if (was.atBottom) go(box.scrollHeight);
  };

  useLayoutEffect(() => {
    const { current: box } = scroller;
    const wanted = `${at} ${messages.length > 0}`;
    const seen = was.sight && messageOf(box, was.sight.id);
    if (messages.length && was.placed !== wanted) {
      was.placed = wanted;
      was.held = messageOf(box, at || firstUnseen) ? at || firstUnseen : "";
      was.atBottom = !was.held;
      settle();
      if (at) currentMessage.value = at;
    } else if (was.atBottom) {
      was.held = ""; // what comes at the end is followed
      settle();
    } else if (was.held) settle();
    else if (seen) go(box.scrollTop + seen.getBoundingClientRect().top - box.getBoundingClientRect().top - was.sight.below_px);
    if (messages.length && entering.value) {
      entering.value = false;
      focusThread();
    }
    noteBottom();
  }, [messages, waiting, at]);
  // What is written below takes room from above, and a message may grow when it is drawn or a picture in it has come.
  useLayoutEffect(() => {
    const list = scroller.current.querySelector(".messages");
    const grows = () => Boolean(list.querySelector(".message :focus")); // what somebody opens there grows downwards
    const observer = new ResizeObserver(() => {
      if (!grows()) settle();
      noteBottom();
    });
    observer.observe(scroller.current);
    observer.observe(list);
    return () => observer.disconnect();
  }, []);

  const onScroll = () => {
    const { current: box } = scroller;
    if (!box) return;
    if (Math.abs(box.scrollTop - was.set) > MOVED_PX) was.held = "";
    noteBottom();
    if (box.scrollTop < NEAR_PX && latest.current.before) loadEarlier();
    if (box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PX && !latest.current.atEnd) loadLater();
  };
  useEffect(onScroll, [messages]);
  return { scroller, onScroll };
}

/** @param {Element} box @param {string} id */
const messageOf = (box, id) => (id ? box.querySelector(`[data-message="${CSS.escape(id)}"]`) : null);

/** Where something stands in what is scrolled. @param {Element} element @param {Element} box */
const topOf = (element, box) => element.getBoundingClientRect().top - box.getBoundingClientRect().top + box.scrollTop;

/** The first message that is in sight, and how far below the upper edge it stands. @param {Element} box */
function inSight(box) {
  const { top } = box.getBoundingClientRect();
  const all = box.querySelector(".messages").children;
  let [from, upto] = [0, all.length - 1];
  while (from < upto) {
    const middle = (from + upto) >> 1;
    if (all[middle].getBoundingClientRect().bottom > top) upto = middle;
    else from = middle + 1;
  }
  const message = all[from]?.querySelector("[data-message]");
  return message && { id: message.dataset.message, below_px: message.getBoundingClientRect().top - top };
}

/** The message before or behind the current one gets the focus. @param {number} by */
export function moveMessage(by) {
  const all = [...document.querySelectorAll(".messages [data-message]")];
  if (!all.length) return;
  const at = all.findIndex((one) => one.contains(document.activeElement));
  const from = at >= 0 ? at : all.findIndex((one) => one.dataset.message === currentMessage.value);
  const to = all[Math.min(Math.max((from < 0 ? all.length : from) + by, 0), all.length - 1)];
  currentMessage.value = to.dataset.message;
  to.focus({ preventScroll: true });
  to.scrollIntoView({ block: "nearest" });
}

/** The focus goes into the conversation: to where one reads. */
export function focusThread() {
  const current = currentMessage.value || conversation.value?.at || conversation.value?.firstUnseen;
  const all = [...document.querySelectorAll(".messages [data-message]")];
  const to = all.find((one) => one.dataset.message === current) ?? all.at(-1) ?? document.getElementById("thread-title");
  if (to?.dataset?.message) currentMessage.value = to.dataset.message;
  to?.focus({ preventScroll: true });
  return Boolean(to);
}
