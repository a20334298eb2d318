// SPDX-License-Identifier: AGPL-3.0-or-later
// Adds a passkey, and signs in with one. Its buttons are hidden where the browser knows none.

const says = document.getElementById("passkey-says");
const adds = document.querySelector("[data-register]");
const enters = document.querySelector("[data-sign-in]");

const say = (text) => {
  says.textContent = text;
  says.hidden = false;
};

const send = async (address, token, body) => {
  const headers = { "Content-Type": "application/json", "X-Console-Token": token ?? "" };
  const answer = await fetch(address, { method: "POST", headers, body: JSON.stringify(body) });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error);
  return said;
};

const ceremony = async (button, begin, ask, end) => {
  const token = button.dataset.register;
  button.disabled = true;
  try {
    const asked = await send(begin, token, {});
    const made = await ask(asked.publicKey);
    const done = await send(end, token, { ceremony: asked.ceremony, response: made.toJSON() });
    location.assign(done.href);
  } catch (error) {
    const stopped = error.name === "NotAllowedError" || error.name === "AbortError";
    say(stopped ? "Nothing was done: it was cancelled, or took too long." : `That did not work: ${error.message}`);
    button.disabled = false;
  }
};

const register = (options) =>
  navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) });
const signIn = (options) =>
  navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });

if (window.PublicKeyCredential?.parseRequestOptionsFromJSON) {
  for (const button of [adds, enters]) if (button) button.hidden = false;
  adds?.addEventListener("click", () => ceremony(adds, "/me/passkeys/begin", register, "/me/passkeys/register"));
  enters?.addEventListener("click", () => ceremony(enters, "/sign-in/passkey/begin", signIn, "/sign-in/passkey"));
} else if (says) {
  say("This browser knows no passkeys, or too few of their parts. Use a link.");
}
