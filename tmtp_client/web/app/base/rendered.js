// SPDX-License-Identifier: AGPL-3.0-or-later
/**
 * The one place where a text becomes markup: what the engine has rendered, which lets through only what is on its list.
 * The page's policy (tmtp_client/api/pages.py) has browsers that know trusted types refuse it everywhere else.
 */

const policy = globalThis.trustedTypes?.createPolicy("rendered", { createHTML: (text) => text });

/**
 * For `dangerouslySetInnerHTML=${{ __html: rendered(html) }}`.
 * @param {string} html what the operation `render` answered, or a message's `html`; never anything else
 * @returns {TrustedHTML | string}
 */
export function rendered(html) {
  return policy ? policy.createHTML(html) : html;
}
