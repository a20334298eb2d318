// SPDX-License-Identifier: AGPL-3.0-or-later
/** What pages are made with: preact's elements as tagged templates, its hooks, and signals. One place to take them from. */

import { Fragment, h, render } from "../../lib/preact.js";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../../lib/hooks.js";
import { batch, computed, effect, signal, untracked, useComputed, useSignal } from "../../lib/signals.js";
import htm from "../../lib/htm.js";

const html = htm.bind(h);

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
