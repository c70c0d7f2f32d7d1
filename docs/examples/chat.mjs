// A chat in the terminal that neither loses nor repeats a message, over GraphQL subscriptions.
//
//   npm install graphql@16 graphql-ws ws
//   CHAT_PASSWORD=… node chat.mjs https://chat.example USERNAME [STATE_FILE]
//
// It shows what is said in the lobby and says the lines of its input there. The end of the input (Ctrl-D) ends it, as
// soon as all lines are acknowledged.

import { randomUUID } from 'node:crypto';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

const [url, username, file = 'chat-state.json'] = process.argv.slice(2);
if (!username) fail('usage: CHAT_PASSWORD=… node chat.mjs URL USERNAME [STATE_FILE]');

function fail(error) {
  console.error(error.message || error.reason || error);
  process.exit(1);
}

// ---- What outlives the process: the last message shown, and the lines that are not acknowledged.

const known = readState();
const state = known ?? { after: null, outbox: [] };

function readState() {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    return fail(error);
  }
}

function save() {
  writeFileSync(`${file}.new`, JSON.stringify(state));
  renameSync(`${file}.new`, file); // At once: the file is the old one or the new one, never half of it.
}

// ---- The connection.

// Twice as long each time, up to 30 s, and never in step with other clients.
const backoff = (attempt) => sleep(Math.random() * Math.min(30_000, 250 * 2 ** attempt));

async function logIn() {
  const body = JSON.stringify({ username, password: process.env.CHAT_PASSWORD });
  const headers = { 'content-type': 'application/json' };
  for (let attempt = 0; ; attempt++) {
    const answer = await fetch(`${url}/v1/auth/login`, { method: 'POST', headers, body }).catch(() => null);
    if (answer?.ok) {
      const cookie = answer.headers.getSetCookie().find((cookie) => cookie.startsWith('bambisleep_session='));
      return cookie.match(/=([^;]*)/)[1]; // The cookie's value is the session token.
    }
    if (answer?.status === 429) await sleep(1000 * answer.headers.get('retry-after'));
    else if (answer && answer.status < 500) fail((await answer.json()).message);
    else await backoff(attempt);
  }
}

const token = await logIn();
const client = createClient({
  url: `${url.replace(/^http/, 'ws')}/graphql`,
  webSocketImpl: WebSocket,
  connectionParams: { token },
  lazy: false,
  keepAlive: 15_000, // Finds out that the network is gone when nothing else does.
  on: { opened: watch },
  retryAttempts: Infinity,
  retryWait: backoff,
  shouldRetry: ({ code }) => code !== 4403, // The token is good no more. All else passes, a refused connection too.
  onNonLazyError: () => {}, // The subscription hears of it as well.
});

// Ends a connection that has not been heard of for 30 s.
function watch(socket) {
  let timer;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => socket.terminate(), 30_000);
  };
  heard();
  socket.addEventListener('message', heard);
  socket.addEventListener('close', () => clearTimeout(timer));
}

// Runs an operation to its end. When the connection is lost the client runs it again, with the variables as they are by
// then. What is left to us are errors that pass with time. The last error is thrown.
async function run(query, variables, onData = () => {}) {
  for (let attempt = 0; ; attempt++) {
    const errors = await new Promise((resolve, reject) => {
      let errors;
      client.subscribe(
        { query, variables },
        {
          next(result) {
            errors = result.errors;
            if (result.data) onData(result.data);
          },
          error: (cause) => (Array.isArray(cause) ? resolve(cause) : reject(cause)),
          complete: () => resolve(errors),
        },
      );
    });
    if (!errors) return;
    const { code, details } = errors[0].extensions;
    if (code === 'RATE_LIMITED') await sleep(1000 * details.retryAfter);
    else if (code === 'UNAVAILABLE' || code === 'INTERNAL') await backoff(attempt);
    else throw Object.assign(new Error(errors[0].message), { code });
  }
}

// ---- Reading.

const MESSAGE = '{ id number author { username } content }';
const FOLLOW = `subscription ($after: ID) { messageAdded(after: $after) ${MESSAGE} }`;
const HISTORY = `query ($last: Int!, $before: String) {
  room(name: "lobby") { messages(last: $last, before: $before) { nodes ${MESSAGE} } }
}`;

async function history(last, before) {
  let messages;
  await run(HISTORY, { last, before }, ({ room }) => {
    messages = room.messages.nodes;
  });
  return messages;
}

// All before a message, oldest first.
async function allBefore(message) {
  const page = await history(100, message.id);
  return page.length ? [...(await allBefore(page[0])), ...page] : [];
}

function print({ id, number, author, content }) {
  console.log(`${number} ${author.username}: ${content}`);
  state.after = id;
  save();
}

async function show(message) {
  // There was nothing to go on after, for the room was empty: so what came before this one is new too.
  if (!state.after && message.number > 1) (await allBefore(message)).forEach(print);
  print(message);
}

async function follow() {
  if (!known) {
    (await history(10)).forEach(print);
    save();
  }
  const place = { after: state.after };
  let shown = Promise.resolve();
  for (;;) {
    await run(FOLLOW, place, ({ messageAdded: message }) => {
      place.after = message.id; // What the client goes on after when it is back.
      shown = shown.then(() => show(message)).catch(fail);
    });
  }
}

// ---- Sending: one line after the other, each until it is acknowledged or refused.

const SEND = 'mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }';

async function send({ nonce, content }) {
  try {
    await run(SEND, { input: { nonce, content } });
  } catch (error) {
    if (!error.code) throw error;
    console.error(`not sent (${error.message}): ${content}`);
  }
}

let sending = Promise.resolve();
function sendAll() {
  sending = sending
    .then(async () => {
      while (state.outbox.length) {
        await send(state.outbox[0]);
        state.outbox.shift();
        save();
      }
    })
    .catch(fail);
  return sending;
}

follow().catch(fail);
sendAll();
createInterface({ input: process.stdin })
  .on('line', (content) => {
    if (!content.trim()) return;
    state.outbox.push({ nonce: randomUUID(), content });
    save();
    sendAll();
  })
  .on('close', () => sendAll().then(() => process.exit(0)));
