// SPDX-License-Identifier: AGPL-3.0-or-later
// The button that prints. It is hidden where there is no script.

for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => print());
}
