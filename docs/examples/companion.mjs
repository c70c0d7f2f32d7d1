// A conversation with a companion in the terminal, streamed by a GraphQL subscription.
//
//   npm install graphql@16 graphql-ws ws
//   CHAT_KEY=bsc_… node companion.mjs https://chat.example
//
// Each line of its input is a prompt. CHAT_KEY is an API key with the scope ai:generate, or a session token.

import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

const [url] = process.argv.slice(2);
const token = process.env.CHAT_KEY;
if (!url || !token) {
  console.error('usage: CHAT_KEY=… node companion.mjs URL');
  process.exit(1);
}

const client = createClient({
  url: `${url.replace(/^http/, 'ws')}/graphql`,
  webSocketImpl: WebSocket,
  connectionParams: { token },
  retryAttempts: 0, // By itself the client would ask again, and what was shown would come once more.
});

const ASK = `subscription ($input: GenerateInput!) {
  generation(input: $input) {
    __typename
    ... on GenerationDelta { text }
    ... on GeneratePayload { sessionId triggers { name } }
  }
}`;

// Shows an answer as it comes, and gives what was kept of it.
async function ask(input) {
  for await (const { data, errors } of client.iterate({ query: ASK, variables: { input } })) {
    if (errors) throw errors;
    const { __typename, ...event } = data.generation;
    if (__typename === 'GeneratePayload') return event;
    process.stdout.write(event.text);
  }
  throw new Error('the answer broke off, and nothing was kept');
}

// As ask, again where the server says when.
async function askUntilAnswered(input) {
  for (;;) {
    try {
      return await ask(input);
    } catch (cause) {
      const [error] = Array.isArray(cause) ? cause : [cause];
      const seconds = error.extensions?.details?.retryAfter;
      if (!seconds) throw error;
      console.error(`(${error.message}: again in ${seconds} s)`);
      await sleep(1000 * seconds);
    }
  }
}

let sessionId;
for await (const prompt of createInterface({ input: process.stdin })) {
  if (!prompt.trim()) continue;
  const settings = { includeTriggers: true };
  const session = sessionId ? { sessionId } : { newSession: true };
  try {
    const kept = await askUntilAnswered({ prompt, settings, ...session });
    ({ sessionId } = kept);
    const named = kept.triggers.map(({ name }) => name).join(', ');
    console.log(named ? `\n(with ${named})` : '');
  } catch (error) {
    console.error(`\n(not kept: ${error.message || error.reason || error})`);
  }
}
await client.dispose();
