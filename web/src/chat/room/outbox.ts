// Messages on their way. Each has a nonce, by which the server knows it again, and is sent until it is acknowledged or
// refused, one after the other. They outlive a reload of the page.

import type { Client } from "@urql/core";
import { backoff, pause } from "../connection";
import { passes, problem, type Problem } from "../problem";
import { type Message, SEND_MESSAGE } from "./documents";

export interface Outgoing {
  nonce: string;
  room: string;
  content: string;
  /** The highest number in the room that is known to be before its own. */
  above: number;
  /** What is in the way. */
  problem?: Problem;
  /** Whether it is not sent any more. */
  isRefused: boolean;
}

export class Outbox {
  #entries: readonly Outgoing[];
  #listeners = new Set<() => void>();
  #stop = new AbortController();
  #isSending = false;

  /** Called with each message that the server has taken, before it leaves the outbox. */
  onSent: (room: string, message: Message) => void = () => {};

  constructor(
    private readonly client: Client,
    private readonly storageKey: string,
  ) {
    this.#entries = JSON.parse(sessionStorage.getItem(storageKey) ?? "[]");
    void this.#sendAll();
  }

  entries = () => this.#entries;

  subscribe = (listener: () => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  send(room: string, content: string, above: number) {
    const entry = { nonce: newNonce(), room, content, above, isRefused: false };
    this.#keep([...this.#entries, entry]);
    void this.#sendAll();
  }

  discard(nonce: string) {
    this.#keep(this.#entries.filter((entry) => entry.nonce !== nonce));
  }

  /** Sends what was refused once more. */
  retry(nonce: string) {
    this.#change(nonce, { problem: undefined, isRefused: false });
    void this.#sendAll();
  }

  close() {
    this.#stop.abort();
  }

  async #sendAll() {
    if (this.#isSending) return;
    this.#isSending = true;
    while (!this.#stop.signal.aborted) {
      const entry = this.#entries.find(({ isRefused }) => !isRefused);
      if (!entry) break;
      await this.#sendOne(entry);
    }
    this.#isSending = false;
  }

  async #sendOne({ nonce, room, content }: Outgoing) {
    const { signal } = this.#stop;
    for (let attempt = 0; !signal.aborted; attempt++) {
      const { data, error } = await this.client.mutation(SEND_MESSAGE, { input: { nonce, room, content } }).toPromise();
      if (data?.sendMessage) {
        const { message } = data.sendMessage;
        this.onSent(room, message);
        // What was written after it is above it.
        const rest = this.#entries.filter((entry) => entry.nonce !== nonce);
        return this.#keep(rest.map((entry) => (entry.room === room ? { ...entry, above: message.number } : entry)));
      }
      const reason = problem(error!);
      if (!passes(reason)) return this.#change(nonce, { problem: reason, isRefused: true });
      this.#change(nonce, { problem: reason });
      if (reason.retryAfter) await pause(1_000 * reason.retryAfter, signal);
      else await backoff(attempt, signal);
    }
  }

  #change(nonce: string, change: Partial<Outgoing>) {
    this.#keep(this.#entries.map((entry) => (entry.nonce === nonce ? { ...entry, ...change } : entry)));
  }

  #keep(entries: readonly Outgoing[]) {
    this.#entries = entries;
    sessionStorage.setItem(this.storageKey, JSON.stringify(entries));
    this.#listeners.forEach((listener) => listener());
  }
}

/** 128 random bits. There is no `randomUUID` where a page came by plain http. */
function newNonce() {
  return crypto.getRandomValues(new Uint32Array(4)).join("-");
}
