// SPDX-License-Identifier: AGPL-3.0-or-later
/** Find messages: words and operators, in one service or in all; each that was found is opened where it was said. */

import { call } from "../base/api.js";
import { html, Icon, useCallback, useEffect, useLayoutEffect, useRef, useState } from "../base/html.js";
import { fullMoment, initials, moment, told, visible } from "../base/text.js";
import { t } from "../base/words.js";
import { sentence } from "../controls/controls.js";
import { VirtualList } from "../controls/virtual.js";
import { link } from "../state/routes.js";
import { accountOf, accounts, narrow, route, select, serviceName } from "../state/state.js";
import { asMain } from "./list.js";

const PAGE = 50;
const SOON_MS = 180; // after the last key, before it is looked for
const ROW_REM = 5.25;
const [BEGINS, ENDS] = ["\ue000", "\ue001"]; // around what matched
/** What one types, and the name of the word that says what it finds. */
const OPERATORS = [
  ["from:", "from"], ["to:me", "to_me"], ["in:inbox", "in_inbox"], ["has:file", "has_file"], ["has:link", "has_link"], ["before:", "before"],
  ["after:", "after"], ["tag:", "tag"], ['""', "phrase"], ["-", "without"],
];

/** What keys do to the list that is shown. @type {{current: import("../controls/virtual.js").Movable | null}} */
export const foundMovable = { current: null };

/** A search, page by page. @param {string} query @param {string} account */
function useResults(query, account) {
  const [results, setResults] = useState({ found: [], more: false, problem: "", asked: "" });
  const asking = useRef("");
  const ask = async (skip) => {
    const name = JSON.stringify([query, account, skip]);
    if (asking.current === name) return;
    asking.current = name;
    try {
      const page = await call("search", { query, account, limit: PAGE, skip });
      if (asking.current !== name) return;
      setResults((was) => ({ found: skip ? [...was.found, ...page.found] : page.found, more: page.more ?? false, problem: page.problem ?? "", asked: query }));
    } catch (problem) {
      if (asking.current === name) setResults({ found: [], more: false, problem: problem.message, asked: query });
    }
    if (asking.current === name) asking.current = "";
  };
  useEffect(() => {
    if (!query.trim()) {
      asking.current = "";
      return setResults({ found: [], more: false, problem: "", asked: "" });
    }
    const timer = setTimeout(() => ask(0), SOON_MS);
    return () => clearTimeout(timer);
  }, [query, account]);
  return [results, () => results.more && ask(results.found.length)];
}

export function SearchPane() {
  const now = route.value;
  const { q = "", in: account = "" } = now.query;
  const input = useRef(null);
  const [results, more] = useResults(q, account);
  useLayoutEffect(() => {
    if (now.pane !== "thread") input.current?.focus();
  }, []);
  const row = useCallback(
    (one, props, isOpen) => html`<${FoundRow} found=${one} props=${props} query=${now.query} isOpen=${isOpen} />`,
    [q, account],
  );
  const change = (query) => select({ page: "search", query: { in: account, q, ...query } }, { instead: true });
  const add = (operator) => {
    change({ q: `${q}${q && !q.endsWith(" ") ? " " : ""}${operator}` });
    setTimeout(() => {
      input.current.focus();
      const end = input.current.value.length - (operator === '""' ? 1 : 0);
      input.current.setSelectionRange(end, end);
    });
  };
  const keyed = (event) => {
    if (event.key === "ArrowDown" || (event.key === "Enter" && results.found.length)) {
      event.preventDefault();
      foundMovable.current?.focus();
    }
  };
  return html`<section class="pane list-pane" aria-labelledby="search-title" data-pane="list" ...${asMain()}>
    <header class="pane-head search-head">
      ${narrow.value && html`<button class="button quiet small" type="button" aria-label=${t("main.back")} onClick=${() => select(account ? { account } : { page: "first" })}><${Icon} name="back" /></button>`}
      <h1 id="search-title" class="spoken">${t("main.search")}</h1>
      <form role="search" class="search-form" onSubmit=${(event) => event.preventDefault()}>
        <label class="spoken" for="search-words">${t("list.search_words")}</label>
        <input ref=${input} id="search-words" type="search" value=${q} placeholder=${t("list.search_words")} autocomplete="off" spellcheck=${false}
          aria-describedby="search-said" onInput=${(event) => change({ q: event.target.value })} onKeyDown=${keyed} />
        ${accounts.value.length > 1 && html`<label class="spoken" for="search-in">${t("list.search_in")}</label>
          <select id="search-in" value=${account} onChange=${(event) => change({ in: event.target.value })}>
            <option value="">${t("main.all")}</option>
            ${accounts.value.map((one) => html`<option value=${one.name}>${serviceName(one)}</option>`)}
          </select>`}
      </form>
    </header>
    <p id="search-said" class="search-said" role="status">${saidOf(results, q)}</p>
    ${results.problem && html`<div class="notice warn pane-notice"><${Icon} name="about" /><div>${sentence(results.problem)}</div></div>`}
    ${!q.trim() && html`<div class="search-help"><h2>${t("list.search_help")}</h2>
      <ul class="operators">${OPERATORS.map(([one, name]) => html`<li><button class="button small" type="button" onClick=${() => add(one)}><code>${one}</code></button> <span>${t(`list.op_${name}`)}</span></li>`)}</ul></div>`}
    ${q.trim() && results.asked && !results.found.length && !results.problem && html`<div class="empty"><${Icon} name="search" /><h2>${t("list.found_none")}</h2><p>${t("list.found_none_help")}</p>
      ${account && accounts.value.length > 1 && html`<button class="button" type="button" onClick=${() => change({ in: "" })}>${t("list.search_everywhere")}</button>`}</div>`}
    ${results.found.length > 0 && html`<${VirtualList} items=${results.found} keyOf=${(one) => `${one.account} ${one.message.id}`} row_rem=${ROW_REM} label=${t("list.found")}
      whole=${!results.more} current=${now.query.at ? `${now.account} ${now.query.at}` : ""} onNear=${more} movable=${foundMovable} row=${row} />`}
  </section>`;
}

/** @param {any} results @param {string} q */
function saidOf(results, q) {
  if (!q.trim() || !results.asked) return "";
  return results.more ? t("list.found_more", { count: results.found.length }) : t("list.found_count", { count: results.found.length });
}

function FoundRow({ found, props, query, isOpen }) {
  const { message, account } = found;
  const who = message.outgoing ? t("thread.you") : visible(message.alias || message.author);
  const to = link({ page: "search", account, pane: "thread", thread: message.thread, query: { q: query.q, in: query.in, at: message.id } });
  return html`<a class="row" href=${to} aria-current=${isOpen ? "true" : undefined} ...${props}>
    <span class="avatar" aria-hidden="true">${initials(message.alias || "")}</span>
    <span class="row-who"><bdi>${who}</bdi>${accounts.value.length > 1 && html` <span class="badge">${serviceName(accountOf(account) ?? { service: account })}</span>`}</span>
    <time class="row-when" datetime=${message.posted} title=${fullMoment(message.posted)}>${moment(message.posted)}</time>
    <span class="row-subject"><bdi>${told(found.subject) || t("list.no_subject")}</bdi></span>
    <span class="row-text two"><bdi>${snippet(found.snippet)}</bdi></span>
  </a>`;
}

/** What was found, with what matched marked. @param {string} text */
function snippet(text) {
  return text.split(ENDS).flatMap((piece) => {
    const [before, matched] = piece.split(BEGINS);
    return matched === undefined ? [told(before)] : [told(before), html`<mark>${told(matched)}</mark>`];
  });
}
