// SPDX-License-Identifier: AGPL-3.0-or-later
// Keeps the overview's figures fresh, until one pauses it. What one has opened, or is reading by keyboard, stays.

const INTERVAL_MS = 10_000;
const region = document.getElementById("live");
const says = document.getElementById("live-says");
const button = document.querySelector("[data-pause]");
let on = true;
let reached = true;

const say = (text) => {
  says.textContent = text;
};

const show = (page) => {
  const fresh = page.querySelector(".figures");
  if (!fresh) return location.reload();
  const open = [...region.querySelectorAll("details[open]")].map((one) => one.dataset.keep);
  region.replaceChildren(...document.adoptNode(page.body).childNodes);
  for (const one of region.querySelectorAll("details")) one.open = open.includes(one.dataset.keep);
  region.dispatchEvent(new CustomEvent("fresh"));
  if (!reached) say("The service answers again.");
  reached = true;
};

const refresh = async () => {
  if (!on || document.hidden || region.contains(document.activeElement)) return;
  const { fetched } = await import(document.querySelector("script[src*='dialogs.mjs']").src);
  try {
    show(await fetched(region.dataset.live));
  } catch {
    if (reached) say("The service does not answer. These figures are old.");
    reached = false;
  }
};

button.hidden = false;
button.addEventListener("click", () => {
  on = !on;
  button.setAttribute("aria-pressed", String(on));
  button.lastChild.textContent = on ? " Live" : " Paused";
  refresh();
});
setInterval(refresh, INTERVAL_MS);
