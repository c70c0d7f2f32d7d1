import type { Fetcher, FetcherOpts, FetcherParams } from "@graphiql/toolkit";
import { type ExecutionResult, Kind, type OperationDefinitionNode, parse } from "graphql";
import { createClient } from "graphql-ws";

/**
 * Sends what GraphiQL runs: subscriptions over graphql-transport-ws, all else by POST. Both go to where the page came
 * from, with its cookie; a Bearer in the tab's headers goes before the cookie, as it does for any program.
 */
export const fetcher: Fetcher = (params, options) => {
  const operation = chosen(params);
  const request = { ...params, operationName: operation?.name?.value ?? params.operationName };
  return operation?.operation === "subscription" ? subscribe(request, options) : post(request, options);
};

// The operation to run. For a moment after a change of tabs GraphiQL names the one of the tab before.
function chosen({ query, operationName }: FetcherParams): OperationDefinitionNode | undefined {
  try {
    const operations = parse(query).definitions.filter((definition) => definition.kind === Kind.OPERATION_DEFINITION);
    return operations.length === 1 ? operations[0] : operations.find(({ name }) => name?.value === operationName);
  } catch {
    return undefined; // The server says what is wrong with the document.
  }
}

async function post(params: FetcherParams, options?: FetcherOpts): Promise<ExecutionResult> {
  const response = await fetch("/graphql", {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      Accept: "application/graphql-response+json, application/json;q=0.9",
      ...options?.headers,
    },
    body: JSON.stringify(params),
  });
  return response.json();
}

// Each subscription has a socket of its own: a socket is who opened it, and the cookie may be another's by the next one.
function subscribe({ query, variables, operationName }: FetcherParams, options?: FetcherOpts) {
  const client = createClient({
    url: location.origin.replace(/^http/, "ws") + "/graphql",
    connectionParams: { token: bearer(options?.headers) },
    retryAttempts: 0,
  });
  const results = client.iterate({ query, variables, operationName });
  return {
    [Symbol.asyncIterator]: () => ({
      next: () => results.next().catch((cause) => Promise.reject(readable(cause))),
      return: () => results.return!(),
    }),
  } as AsyncIterable<ExecutionResult>;
}

function bearer(headers: FetcherOpts["headers"]): string | undefined {
  const header = Object.entries(headers ?? {}).find(([name]) => name.toLowerCase() === "authorization");
  return typeof header?.[1] === "string" ? header[1].match(/^Bearer +(.+)$/i)?.[1] : undefined;
}

// GraphiQL shows errors of GraphQL as they are; of a closed socket it would show an empty object.
function readable(cause: unknown) {
  if (!(cause instanceof CloseEvent)) return cause;
  if (cause.code === 4403) return new Error("not logged in: run LogIn first, or give an Authorization header");
  return new Error(`the socket was closed: ${cause.code} ${cause.reason}`.trim());
}
