// Verifies deliveries as a receiver does: [{"secret", "headers", "body", "verifies"}] on stdin; fails where one is not as said.

import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';
import { Webhook } from 'standardwebhooks';

const receiver = (secret) =>
  secret.startsWith('whsec_') ? new Webhook(secret) : new Webhook(new TextEncoder().encode(secret), { format: 'raw' });

for (const { secret, headers, body, verifies } of JSON.parse(await text(process.stdin))) {
  const webhook = receiver(secret);
  if (verifies) {
    assert.deepEqual(webhook.verify(body, headers), JSON.parse(body));
  } else {
    assert.throws(() => webhook.verify(body, headers), /No matching signature/);
  }
  assert.throws(() => webhook.verify(`${body} `, headers), /No matching signature/);
  assert.throws(() => webhook.verify(body, { ...headers, 'webhook-id': 'evt_other' }), /No matching signature/);
}
