// SPDX-License-Identifier: AGPL-3.0-or-later
// Links marked data-dialog ask in a dialog what their page asks. Without this script the page itself asks.

// A document by XMLHttpRequest runs no script and needs no policy for trusted types.
export const fetched = (address) =>
  new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", address);
    request.responseType = "document";
    request.onload = () => (request.status === 200 && request.response ? resolve(request.response) : reject());
    request.onerror = reject;
    request.send();
  });

const ask = async (link) => {
  const form = (await fetched(link.href)).querySelector("form.confirm");
  if (!form) throw new Error("no question there");
  const dialog = document.createElement("dialog");
  form.querySelector("h2").id = "question";
  dialog.setAttribute("aria-labelledby", "question");
  dialog.append(document.adoptNode(form));
  dialog.addEventListener("close", () => {
    dialog.remove();
    link.focus();
  });
  form.querySelector("[data-cancel]").addEventListener("click", (event) => {
    event.preventDefault();
    dialog.close();
  });
  document.body.append(dialog);
  dialog.showModal();
};

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-dialog]");
  if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  ask(link).catch(() => location.assign(link.href));
});
