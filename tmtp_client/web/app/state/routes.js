// SPDX-License-Identifier: AGPL-3.0-or-later
/**
 * Where one is, as the address says behind its #: so the browser's Back, and a mark of it, work.
 *
 * #/ · #/a/NAME · #/a/NAME/t/THREAD · #/a/NAME/{new,ping,contacts} · #/all · #/all/t/NAME/THREAD · #/search · #/settings/SECTION
 * · #/join. What comes behind a ? is in `query`: the view of a list (`of`, `tag`), a message to show (`at`), words (`q`).
 */

/**
 * @typedef {object} Route
 * @property {"first" | "service" | "all" | "search" | "settings" | "join"} page
 * @property {string} [account]
 * @property {"" | "thread" | "new" | "ping" | "contacts"} [pane] what stands beside the list
 * @property {string} [thread]
 * @property {string} [section] of the settings
 * @property {Record<string, string>} query
 */

const PANES = new Set(["new", "ping", "contacts"]);

/**
 * @param {string} hash
 * @returns {Route} what is not understood is the first page
 */
export function parse(hash) {
  const [path, search = ""] = hash.replace(/^#/, "").split(/\?(.*)/s);
  const query = Object.fromEntries(new URLSearchParams(search));
  const parts = path.split("/").filter(Boolean).map(decoded);
  const [page, account, pane, thread] = parts;
  if (page === "a" && account) {
    if (pane === "t" && thread) return { page: "service", account, pane: "thread", thread, query };
    return { page: "service", account, pane: PANES.has(pane) ? /** @type {any} */ (pane) : "", query };
  }
  if (page === "all") {
    if (account === "t" && pane && thread) return { page: "all", account: pane, pane: "thread", thread, query };
    return { page: "all", pane: "", query };
  }
  if (page === "search") {
    if (account === "t" && pane && thread) return { page: "search", account: pane, pane: "thread", thread, query };
    return { page: "search", pane: "", query };
  }
  if (page === "settings") return { page: "settings", section: account ?? "", query };
  if (page === "join") return { page: "join", query };
  return { page: "first", query };
}

/**
 * The address of a route; `parse` gives it back.
 * @param {Partial<Route>} route
 */
export function link({ page = "service", account = "", pane = "", thread = "", section = "", query = {} }) {
  const search = new URLSearchParams(Object.entries(query).filter(([, value]) => value)).toString();
  return `#/${path()}${search && `?${search}`}`;

  function path() {
    if (page === "first") return "";
    if (page === "settings") return section ? `settings/${encodeURIComponent(section)}` : "settings";
    if (page === "service") {
      const within = pane === "thread" ? `/t/${encodeURIComponent(thread)}` : pane && `/${pane}`;
      return `a/${encodeURIComponent(account)}${within}`;
    }
    return pane === "thread" ? `${page}/t/${encodeURIComponent(account)}/${encodeURIComponent(thread)}` : page;
  }
}

/** @param {string} part */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
