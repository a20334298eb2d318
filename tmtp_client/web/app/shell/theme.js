// SPDX-License-Identifier: AGPL-3.0-or-later
/** Light, dark, or as the system has it: of this browser, kept by it. */

const CHOSEN = "tmtp.theme";
const THEMES = new Set(["light", "dark"]);

/** "" is the system's. */
export const chosenTheme = () => {
  const kept = localStorage.getItem(CHOSEN) ?? "";
  return THEMES.has(kept) ? kept : "";
};

/** @param {string} theme */
export function chooseTheme(theme) {
  if (THEMES.has(theme)) localStorage.setItem(CHOSEN, theme);
  else localStorage.removeItem(CHOSEN);
  showTheme();
}

/** Show what was chosen: tokens.css looks at it. */
export function showTheme() {
  const theme = chosenTheme();
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}
