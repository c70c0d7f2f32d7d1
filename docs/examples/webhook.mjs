// Receives webhooks, verifies them and prints each event once.
//
//   npm install standardwebhooks
//   WEBHOOK_SECRET=whsec_… node webhook.mjs [PORT]

import { createServer } from 'node:http';
import { Webhook, WebhookVerificationError } from 'standardwebhooks';

const secret = process.env.WEBHOOK_SECRET;
const port = Number(process.argv[2] ?? 8787);
if (!secret) {
  console.error('usage: WEBHOOK_SECRET=… node webhook.mjs [PORT]');
  process.exit(1);
}

// What begins with whsec_ the library takes as it is. Of any other secret the UTF-8 bytes are the key.
const webhook = secret.startsWith('whsec_')
  ? new Webhook(secret)
  : new Webhook(Buffer.from(secret), { format: 'raw' });

// What has been dealt with. Keep it where you keep what you do with an event, and write both in one transaction.
const seen = new Set();

function handle({ type, data }) {
  console.log(`${type} ${JSON.stringify(data)}`);
}

async function receive(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  // The bytes as they came: JSON that was read and written again may have another signature.
  const event = webhook.verify(Buffer.concat(chunks), request.headers);
  const id = request.headers['webhook-id'];
  if (seen.has(id)) return;
  handle(event);
  seen.add(id);
}

createServer(async (request, response) => {
  try {
    await receive(request);
    response.writeHead(204); // Only now: what is answered with 2xx is not sent again.
  } catch (error) {
    console.error(`refused: ${error.message}`);
    response.writeHead(error instanceof WebhookVerificationError ? 400 : 500);
  }
  response.end();
}).listen(port, '127.0.0.1', () => console.log(`listening on ${port}`));
