// SPDX-License-Identifier: AGPL-3.0-or-later
// A small client, as a page would have it: the generated types have to carry it.
import type { Answer, Event, Operations, Page, TypedEvent } from "./types";

export class Problem extends Error {}

export class Client {
  #next = 1;
  readonly #asked = new Map<number, { resolve: (value: unknown) => void; reject: (error: Problem) => void }>();
  readonly #socket: WebSocket;

  constructor(url: string, onEvent: (event: TypedEvent) => void) {
    this.#socket = new WebSocket(url);
    this.#socket.onmessage = (message: MessageEvent<string>) => {
      const frame = JSON.parse(message.data) as Answer | Event;
      if (!("id" in frame)) {
        onEvent(frame as TypedEvent);
        return;
      }
      const asked = this.#asked.get(frame.id);
      this.#asked.delete(frame.id);
      if (frame.problem) asked?.reject(new Problem(frame.problem.text));
      else asked?.resolve(frame.result);
    };
  }

  opened(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.onopen = () => resolve();
      this.#socket.onerror = () => reject(new Problem("refused"));
    });
  }

  call<Name extends keyof Operations>(
    method: Name,
    params: Operations[Name]["params"],
  ): Promise<Operations[Name]["answer"]> {
    const id = this.#next++;
    return new Promise<unknown>((resolve, reject) => {
      this.#asked.set(id, { resolve, reject });
      this.#socket.send(JSON.stringify({ id, method, params }));
    }) as Promise<Operations[Name]["answer"]>;
  }
}

export async function unseen(client: Client): Promise<number> {
  const page: Page = await client.call("threads.list", { of: "unseen", limit: 10 });
  return page.threads.reduce((sum, thread) => sum + (thread.unseen ?? 0), 0);
}

export function told(event: TypedEvent): string {
  switch (event.type) {
    case "message":
      return event.data.message.text ?? "";
    case "presence":
      return event.data.present ? event.data.uid : "";
    case "home":
      return event.data.home.accounts.map((account) => account.name).join();
    default:
      return event.type;
  }
}
