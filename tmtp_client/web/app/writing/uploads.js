// SPDX-License-Identifier: AGPL-3.0-or-later
/** Files on their way into the engine: by a button, dropped or pasted; each with its progress, and to be left out again. */

import { call, Problem } from "../base/api.js";
import { useLayoutEffect, useRef, useState } from "../base/html.js";
import { joined, visible } from "../base/text.js";
import { t } from "../base/words.js";
import { say } from "../controls/saying.js";
import { locked } from "../state/state.js";

/** @typedef {{id: number, name: string, size: number, have: number, problem: string, request: XMLHttpRequest | null}} Underway */

let lastId = 0;

/**
 * Hand a file over. @param {string} account @param {File} file @param {(octets: number) => void} onProgress
 * @returns {{request: XMLHttpRequest, done: Promise<{file: string, name: string, size: number}>}}
 */
function upload(account, file, onProgress) {
  const request = new XMLHttpRequest();
  const done = new Promise((resolve, reject) => {
    request.open("POST", `/files/${encodeURIComponent(account)}?name=${encodeURIComponent(file.name || "file")}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(event.loaded);
    request.onload = () => {
      const answer = request.response;
      if (request.status < 300 && answer?.file) resolve(answer);
      else reject(new Problem(answer?.code ? answer : (answer?.problem ?? { code: "not_now", text: `${request.status}` })));
    };
    request.onerror = () => reject(new Problem({ code: "not_now", text: "" }));
    request.onabort = () => reject(new DOMException("left out", "AbortError"));
    request.send(file);
  });
  return { request, done };
}

/**
 * Those of one message. `onStaged` is given each that is there; those on their way are left out when another one is written.
 * @param {string} account @param {string} key of its draft @param {(staged: {file: string, name: string, size: number}) => void} onStaged
 */
export function useUploads(account, key, onStaged) {
  const [underway, setUnderway] = useState(/** @type {Underway[]} */ ([]));
  const staged = useRef(onStaged);
  staged.current = onStaged;
  const live = useRef(underway);
  live.current = underway;
  useLayoutEffect(() => () => leaveBehind(live.current.filter((one) => one.request)), [account, key]);

  const change = (id, fields) => setUnderway((all) => all.map((one) => (one.id === id ? { ...one, ...fields } : one)));
  const leave = (id) => setUnderway((all) => all.filter((one) => one.id !== id));

  const add = (files) => {
    for (const file of files) {
      const id = ++lastId;
      const { request, done } = upload(account, file, (have) => change(id, { have }));
      setUnderway((all) => [...all, { id, name: file.name, size: file.size, have: 0, problem: "", request }]);
      done.then(
        (one) => {
          leave(id);
          staged.current(one);
        },
        (error) => (error.name === "AbortError" ? leave(id) : change(id, { problem: error.message || "–", request: null })),
      );
    }
  };
  const cancel = (id) => {
    const one = live.current.find((other) => other.id === id);
    if (one?.request) one.request.abort();
    else leave(id);
  };
  return { underway, add, cancel };
}

/** Another message is written, or none: what is on its way belongs to neither, and that is said. @param {Underway[]} some */
function leaveBehind(some) {
  some.forEach((one) => one.request.abort());
  if (some.length && !locked.peek()) say(t("writing.files_left", { names: joined(some.map((one) => visible(one.name))), count: some.length }), { bad: true });
}

/** Forget one that is there. @param {string} account @param {string} file */
export const forgetFile = (account, file) => call("files.drop", { account, file }).catch(() => {});

/**
 * Files are taken where they are dropped or pasted. @param {(files: File[]) => void} add
 */
export function useDropping(add) {
  const [over, setOver] = useState(false);
  const has = (event) => event.dataTransfer?.types.includes("Files");
  return {
    over,
    attributes: {
      onDragOver: (event) => {
        if (!has(event)) return;
        event.preventDefault();
        setOver(true);
      },
      onDragLeave: (event) => {
        if (!event.currentTarget.contains(event.relatedTarget)) setOver(false);
      },
      onDrop: (event) => {
        setOver(false);
        if (!has(event)) return;
        event.preventDefault();
        add([...event.dataTransfer.files]);
      },
      onPaste: (event) => {
        const files = [...(event.clipboardData?.files ?? [])];
        if (!files.length) return;
        event.preventDefault();
        add(files);
      },
    },
  };
}
