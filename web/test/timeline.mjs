// A room shows each message once and in order, however it hears of them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changed, KEPT, UNKNOWN } from '../src/chat/room/timeline.ts';

const ada = { id: 'user_1', username: 'ada' };
const message = (number, content = `message ${number}`) => ({ id: `msg_${number}`, number, content, author: ada });
const after = (...changes) => changes.reduce(changed, UNKNOWN);
const opened = (...numbers) => ({
  type: 'opened',
  messages: numbers.map((n) => message(n)),
  hasEarlier: numbers[0] > 1,
});
const heard = (number, content) => ({ type: 'message', message: message(number, content) });
const contents = ({ messages }) => messages.map(({ content }) => content);

test('what is heard twice is there once', () => {
  const timeline = after(opened(1, 2), heard(2), heard(3), heard(3));
  assert.deepEqual(contents(timeline), ['message 1', 'message 2', 'message 3']);
});

test('an acknowledgement may be faster than what was said before it', () => {
  assert.deepEqual(contents(after(opened(1), heard(3), heard(2))), ['message 1', 'message 2', 'message 3']);
});

test('an edit takes the place of the message', () => {
  assert.deepEqual(contents(after(opened(1, 2), heard(1, 'edited'))), ['edited', 'message 2']);
});

test('an edit of what is not loaded leaves no gap', () => {
  const timeline = after(opened(51, 52), heard(3, 'edited'));
  assert.deepEqual(contents(timeline), ['message 51', 'message 52']);
});

test('what was heard counts more than what was loaded from before', () => {
  const earlier = { type: 'earlier', messages: [message(1), message(2, 'as it was')], hasEarlier: false };
  assert.deepEqual(contents(after(opened(2, 3), heard(2, 'edited'), earlier)), ['message 1', 'edited', 'message 3']);
});

test('where all that was loaded is blocked, what comes is shown', () => {
  const timeline = after(opened(51, 52), { type: 'blocked', username: 'ada' }, heard(53));
  assert.deepEqual(contents(timeline), ['message 53']);
  assert.ok(timeline.hasEarlier);
});

test('a long room is shortened at its beginning, which can be loaded again', () => {
  const numbers = Array.from({ length: KEPT + 1 }, (_, index) => index + 1);
  const timeline = after(opened(...numbers), { type: 'shortened' });
  assert.deepEqual(contents(timeline), contents(after(opened(...numbers.slice(1)))));
  assert.ok(timeline.hasEarlier);
});

test('whoever says something is not typing any more', () => {
  const typing = { type: 'typing', member: ada, now: 0 };
  assert.deepEqual(after(opened(1), typing).typing, { ada: 0 });
  assert.deepEqual(after(opened(1), typing, heard(2)).typing, {});
  assert.deepEqual(after(opened(1), typing, { type: 'time', now: 10_000 }).typing, {});
});

test('a member is there once, by username', () => {
  const zoe = { id: 'user_2', username: 'zoe' };
  const joined = (member) => ({ type: 'joined', member });
  const timeline = after(joined(zoe), joined(ada), joined(zoe), { type: 'left', member: ada });
  assert.deepEqual(timeline.members, [zoe]);
});
