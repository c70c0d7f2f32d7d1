// Follows a room with the clients that applications use: node live.mjs CLIENT URL[,URL…] TOKEN FIELD ROOM [AFTER]
//
// CLIENT is graphql-ws or graphql-sse, URL a server's origin, FIELD messageAdded or roomChanged, AFTER the id to go on
// after. Each result is a line of JSON: {"data": …}; as are {"connected": URL}, {"closed": CODE} and, at the end,
// {"errors": […]}. A lost connection is opened again at the next URL, after the last id seen.

import { setTimeout as sleep } from 'node:timers/promises';
import { createClient as createSseClient } from 'graphql-sse';
import { createClient as createWsClient } from 'graphql-ws';
import WebSocket from 'ws';

const [kind, urls, token, field, room, after] = process.argv.slice(2);
const servers = urls.split(',');
const say = (line) => console.log(JSON.stringify(line));

const MESSAGE = '{ id number author { username } content timestamp }';
const SELECTIONS = {
  messageAdded: MESSAGE,
  roomChanged: `{
    __typename
    ... on MessageAdded { id message ${MESSAGE} }
    ... on MessageEdited { id message ${MESSAGE} }
    ... on MessageDeleted { id message ${MESSAGE} }
    ... on MemberJoined { user { username } }
    ... on MemberLeft { user { username } }
    ... on MemberTyping { user { username } }
  }`,
};
const variables = { room, after };
const request = {
  query: `subscription ($room: String! = "lobby", $after: ID) { ${field}(room: $room, after: $after) ${SELECTIONS[field]} }`,
  variables,
};

let seen = after;
let connections = 0;
let server;
function nextServer() {
  server = servers[connections++ % servers.length];
  return server;
}
const retryAttempts = Number.POSITIVE_INFINITY;
const retryWait = () => sleep(20 + Math.random() * 80);

const CLIENTS = {
  // It sends the same request when it is back: with the `after` that it has by then.
  'graphql-ws': () =>
    createWsClient({
      url: () => `${nextServer().replace(/^http/, 'ws')}/graphql`,
      webSocketImpl: WebSocket,
      connectionParams: { token },
      lazy: false,
      retryAttempts,
      retryWait,
      // Not only what looks like a close: a refused connection is another kind of event with `ws`.
      shouldRetry: (event) => event.code !== 4403,
      onNonLazyError: () => {}, // The subscription hears of it too.
      on: {
        connected: () => say({ connected: server }),
        closed: ({ code }) => say({ closed: code }),
      },
    }),
  // The first time it goes by `after`, from then on by Last-Event-ID, which wins.
  'graphql-sse': () =>
    createSseClient({
      url: () => `${nextServer()}/graphql`,
      headers: () => ({ authorization: `Bearer ${token}`, ...(seen !== after && { 'last-event-id': seen }) }),
      retryAttempts,
      retry: retryWait,
      on: { connected: () => say({ connected: server }) },
    }),
};

CLIENTS[kind]().subscribe(request, {
  next(result) {
    const id = result.data?.[field]?.id; // What is live only has none.
    if (id) seen = id;
    if (id && kind === 'graphql-ws') variables.after = id;
    say(result);
  },
  error(cause) {
    say({ errors: Array.isArray(cause) ? cause : [{ message: cause.message ?? cause.reason ?? String(cause) }] });
    process.exit(1);
  },
  complete: () => process.exit(0),
});
