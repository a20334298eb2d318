// SPDX-License-Identifier: AGPL-3.0-or-later
/** What became of what was handed to the outbox. It may be told before the answer that says which request it is. */

import { listen } from "../base/api.js";
import { whenLocked } from "./state.js";

const KEPT = 50;
/** @type {Map<string, any>} the last event of each */
const told = new Map();
whenLocked(() => told.clear());

listen(({ account, type, data }) => {
  if (type !== "outbox") return;
  const name = `${account} ${data.request}`;
  told.delete(name);
  told.set(name, data);
  if (told.size > KEPT) told.delete(told.keys().next().value);
});

/**
 * The last event of a request, if there was one.
 * @param {string} account @param {string} request
 */
export const newsOf = (account, request) => told.get(`${account} ${request}`) ?? null;
