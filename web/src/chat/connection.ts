// The way to the server: queries and mutations over HTTP, subscriptions over one WebSocket, by the session cookie.

import {
  cacheExchange,
  Client,
  type CombinedError,
  fetchExchange,
  mapExchange,
  subscriptionExchange,
  type TypedDocumentNode,
} from "@urql/core";
import { createClient } from "graphql-ws";
import { make, pipe, takeUntil, toAsyncIterable } from "wonka";
import { isLoggedOut, problem, type Problem } from "./problem";

/** `live`: the socket is open; `connecting`: it is being opened, or again; `offline`: there is no network. */
export type Status = "connecting" | "live" | "offline";

export interface Connection {
  client: Client;
  /** The state of the socket, for `useSyncExternalStore`. */
  status(): Status;
  onStatus(listener: () => void): () => void;
  /** Ends it for good. */
  close(): void;
}

/** After how much silence a socket is taken for dead, in milliseconds. The server answers a ping at once. */
const SILENCE = 30_000;

/**
 * Opens nothing yet: the socket is opened by the first subscription, and again by the next one after it was lost.
 * `onLoggedOut` is called whenever the server says that nobody is logged in, until the connection is closed.
 */
export function connect(onLoggedOut: (reason: Problem) => void): Connection {
  const closed = (): Status => (navigator.onLine ? "connecting" : "offline");
  let status = closed();
  const listeners = new Set<() => void>();
  const tell = (next: Status) => {
    status = next;
    listeners.forEach((listener) => listener());
  };

  let isClosed = false;
  const failed = (error: CombinedError) => {
    const reason = problem(error);
    if (isLoggedOut(reason) && !isClosed) onLoggedOut(reason);
  };

  let silence = 0;
  const heard = () => {
    clearTimeout(silence);
    silence = window.setTimeout(() => socket.terminate(), SILENCE);
  };
  const socket = createClient({
    url: `${location.origin.replace(/^http/, "ws")}/graphql`,
    // Who subscribes asks again, since only they know after what, and whether an answer is to be asked for twice.
    retryAttempts: 0,
    keepAlive: SILENCE / 3,
    lazyCloseTimeout: 1_000,
    on: {
      connected() {
        tell("live");
        heard();
      },
      message: heard,
      closed() {
        tell(closed());
        clearTimeout(silence);
      },
    },
  });

  // The browser often knows first that the network is gone, and the socket last.
  const lost = () => {
    socket.terminate();
    tell("offline");
  };
  const back = () => tell("connecting");
  window.addEventListener("offline", lost);
  window.addEventListener("online", back);

  const client = new Client({
    url: "/graphql",
    preferGetMethod: false,
    // With this media type errors come with status 200; what went wrong is in their code.
    fetchOptions: { headers: { accept: "application/json" } },
    fetch: (input, init) => fetch(input, { ...init, signal: deadline(init) }),
    exchanges: [
      mapExchange({ onError: failed }),
      cacheExchange,
      subscriptionExchange({
        forwardSubscription: ({ query = "", variables }) => ({
          subscribe: (sink) => ({
            unsubscribe: socket.subscribe({ query, variables: variables as Record<string, unknown> }, sink),
          }),
        }),
      }),
      fetchExchange,
    ],
  });

  return {
    client,
    status: () => status,
    onStatus(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      isClosed = true;
      window.removeEventListener("offline", lost);
      window.removeEventListener("online", back);
      clearTimeout(silence);
      void socket.dispose();
    },
  };
}

/** A request that hangs has to end some time, so that it can be sent again. A picture may take long. */
function deadline({ signal, body }: RequestInit = {}) {
  const timeout = AbortSignal.timeout(body instanceof FormData ? 10 * SILENCE : SILENCE);
  return signal ? AbortSignal.any([signal, timeout]) : timeout;
}

/**
 * What a subscription tells, until it ends or `signal` ends it.
 *
 * @throws {CombinedError} what ended it, a lost connection included
 */
export async function* stream<Data, Variables extends Record<string, unknown>>(
  client: Client,
  document: TypedDocumentNode<Data, Variables>,
  variables: Variables,
  signal: AbortSignal,
): AsyncGenerator<Data, void> {
  if (signal.aborted) return; // It would not say so again, and the subscription would stay.
  const aborted = make<void>(({ next }) => {
    const abort = () => next();
    signal.addEventListener("abort", abort);
    return () => signal.removeEventListener("abort", abort);
  });
  for await (const { data, error } of toAsyncIterable(
    pipe(client.subscription(document, variables as never), takeUntil(aborted)),
  )) {
    if (signal.aborted) return;
    if (error) throw error satisfies CombinedError;
    if (data) yield data;
  }
}

/** Twice as long each time, up to 30 s, and never in step with other clients; at once when the network is back. */
export function backoff(attempt: number, signal: AbortSignal) {
  return pause(Math.random() * Math.min(30_000, 250 * 2 ** attempt), signal);
}

/** Waits so many milliseconds, or until the network is back, or `signal` ends it. */
export function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      window.removeEventListener("online", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    window.addEventListener("online", done);
    signal.addEventListener("abort", done);
    if (signal.aborted) done();
  });
}
