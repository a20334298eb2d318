// SPDX-License-Identifier: AGPL-3.0-or-later
/** What pages are made with: preact's elements as tagged templates, its hooks, and signals. One place to take them from. */

import { Fragment, h, render } from "../../lib/preact.js";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../../lib/hooks.js";
import { batch, computed, effect, signal, untracked, useComputed, useSignal } from "../../lib/signals.js";
import htm from "../../lib/htm.js";

/**
 * An element, made anew each time. Htm would keep what never changes for as long as the page is open, and with it the place
 * where it was last shown and all that stood there: a conversation, after the home was locked (B8). 3 tells it not to.
 * @this {number[]}
 * @param {Parameters<typeof h>} of
 */
function element(...of) {
  this[0] = 3;
  return h(...of);
}

const html = htm.bind(element);

/**
 * A picture of the design system's set, beside words that say the same.
 * @param {{name: string}} of
 */
function Icon({ name }) {
  return html`<svg class="icon" aria-hidden="true"><use href=${`/look/icons.svg#${name}`} /></svg>`;
}

export {
  batch, computed, effect, Fragment, h, html, Icon, render, signal, untracked, useCallback, useComputed, useEffect, useLayoutEffect,
  useMemo, useRef, useSignal, useState,
};
