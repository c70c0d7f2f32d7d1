// Errors of the API, for code and in words for people.

import type { CombinedError } from "@urql/core";

export interface Problem {
  /** One of the codes of the API, or `OFFLINE` where it was not reached. */
  code: string;
  /** A sentence. */
  message: string;
  /** Why input was refused, by the name of its field. */
  fields: Record<string, string>;
  /** In how many seconds it may be tried again. */
  retryAfter?: number;
}

interface Extensions {
  code?: string;
  details?: { fields?: Record<string, string>; retryAfter?: number };
}

export function problem(error: CombinedError): Problem {
  const first = error.graphQLErrors[0];
  if (!first) return unreached(error);
  const { code = "INTERNAL", details = {} } = first.extensions as Extensions;
  const fields = Object.fromEntries(Object.entries(details.fields ?? {}).map(([field, why]) => [field, sentence(why)]));
  const message =
    code === "RATE_LIMITED" && details.retryAfter
      ? `Too much at once: possible again at ${clock(Date.now() + 1_000 * details.retryAfter)}.`
      : sentence(first.message);
  return { code, message, fields, retryAfter: details.retryAfter };
}

/** Whether the same again may well succeed, without anyone changing anything. */
export function passes({ code }: Problem) {
  return ["OFFLINE", "UNAVAILABLE", "INTERNAL", "RATE_LIMITED", "IDEMPOTENCY_CONFLICT"].includes(code);
}

/** Whether the caller is not logged in, or not any more. */
export function isLoggedOut({ code }: Problem) {
  return code === "UNAUTHENTICATED" || code === "BANNED";
}

function unreached({ networkError }: CombinedError): Problem {
  const cause: unknown = networkError;
  // Sockets of those who are not logged in are closed with 4403.
  if (cause instanceof CloseEvent && cause.code === 4403) {
    return { code: "UNAUTHENTICATED", message: "You are not logged in any more.", fields: {} };
  }
  return { code: "OFFLINE", message: "The server cannot be reached.", fields: {} };
}

/** The API says things in lower case without a full stop. */
function sentence(text: string) {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

function clock(time: number) {
  return new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}
