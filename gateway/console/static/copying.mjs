// SPDX-License-Identifier: AGPL-3.0-or-later
// Buttons that copy a text. They are hidden where there is no script.

export const showButtons = (root) => {
  if (!navigator.clipboard) return;
  for (const button of root.querySelectorAll("[data-copy]")) button.hidden = false;
};

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const said = button.lastChild;
  const before = said.textContent;
  try {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    said.textContent = " Copied";
  } catch {
    said.textContent = " Not allowed";
  }
  button.setAttribute("aria-live", "polite");
  setTimeout(() => (said.textContent = before), 2000);
});

showButtons(document);
