// What a newcomer does at /chat, in two browsers, while the server is restarted in the middle.
//
//   node e2e/chat.mjs BASE_URL
//
// When it prints RESTART, whoever runs the server ends it, starts it again at the same address with the same data, and
// writes a line to the standard input of this program. It needs a server where anonymous callers may do at least 10
// things a minute, and the built-in companion.

import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { expectAccessible, openBrowser, openPage } from './browser.mjs';

export const PASSWORD = 'a long passphrase';
/** How long something may take before it counts as never, in milliseconds. */
const PATIENCE = 30_000;

export async function register(page, username) {
  await page.goto('/chat');
  await page.getByRole('button', { name: 'Register', exact: true }).click();
  await page.getByLabel('Username').fill(username);
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByLabel('I am 18 or older.').check();
  await page.getByRole('button', { name: 'Make an account' }).click();
  await page.getByRole('heading', { name: '#lobby' }).waitFor();
  await live(page);
}

export async function logIn(page, username) {
  await page.goto('/chat');
  await page.getByLabel('Username').fill(username);
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Enter' }).click();
  await live(page);
}

export async function logOut(page) {
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.getByRole('button', { name: 'Enter' }).waitFor();
}

/** Waits until the page hears what is said. */
export async function live(page) {
  await page
    .getByRole('status')
    .filter({ hasText: /^Live$/ })
    .waitFor({ timeout: PATIENCE });
}

/** Goes to `Rooms`, `Companion`, `Triggers`, `Profile`, `Keys` or `Webhooks`. */
export async function go(page, panel) {
  await page.getByRole('navigation', { name: 'Panels' }).getByRole('link', { name: panel }).click();
}

/** Writes and sends a message, without waiting for the server. */
export async function send(page, text) {
  await page.getByRole('textbox', { name: /^Message to #/ }).fill(text);
  await page.getByRole('button', { name: 'Send', exact: true }).click();
}

function messages(page) {
  return page.getByRole('region', { name: 'Messages' }).getByRole('listitem');
}

export function message(page, text) {
  return messages(page).filter({ has: page.getByText(text, { exact: true }) });
}

/** Waits until a message is there and acknowledged. */
export async function sees(page, text) {
  await message(page, text).filter({ hasNotText: 'sending…' }).waitFor({ timeout: PATIENCE });
}

/** The texts of the messages that begin with `prefix`, in order, however often they are there. */
export async function texts(page, prefix) {
  const all = await page.getByRole('region', { name: 'Messages' }).locator('.content').allTextContents();
  return all.filter((text) => text.startsWith(prefix));
}

export async function edit(page, from, to) {
  const item = message(page, from);
  await item.hover();
  await item.getByRole('button', { name: 'Edit' }).click();
  await page.getByLabel('What it is to say').fill(to);
  await page.getByRole('button', { name: 'Save' }).click();
  await message(page, `${to} (edited)`).waitFor();
}

export async function remove(page, text) {
  const item = message(page, text);
  await item.hover();
  await item.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await item.waitFor({ state: 'detached' });
}

/** Has the server take messages while the page hears nothing of that, twice. `during` is to send one. */
export async function losingAnswers(page, during) {
  let lost = 0;
  let resolve;
  const bothLost = new Promise((done) => (resolve = done));
  const lose = async (route) => {
    if (lost === 2 || !route.request().postData()?.includes('sendMessage')) return route.fallback();
    lost += 1;
    await route.fetch();
    await route.abort('connectionreset');
    if (lost === 2) resolve();
  };
  await page.route('**/graphql', lose);
  await during();
  await bothLost;
  await page.unroute('**/graphql', lose);
}

export async function writeTrigger(page, { name, description, content }) {
  await go(page, 'Triggers');
  await page.getByRole('button', { name: 'Write one' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name').fill(name);
  await dialog.getByLabel('Description').fill(description);
  await dialog.getByLabel('Text').fill(content);
  await dialog.getByLabel('Share it').check();
  await dialog.getByRole('button', { name: 'Write it' }).click();
  await page.getByRole('heading', { name, exact: true }).waitFor();
}

export async function activate(page, name) {
  await go(page, 'Triggers');
  await page.getByRole('button', { name: `Read and activate ${name}` }).click();
  await page.getByRole('button', { name: 'I consent, activate it' }).click();
  await page.getByRole('button', { name: `Deactivate ${name}` }).waitFor();
}

export async function pause(page) {
  await page.getByRole('button', { name: 'Pause all my triggers' }).click();
  await page.getByText('Paused.', { exact: true }).waitFor();
}

/** Asks the companion and gives its answer, which has to come as text before it comes as a whole. */
export async function ask(page, prompt) {
  await go(page, 'Companion');
  await page.getByRole('textbox', { name: 'Message to the companion' }).fill(prompt);
  const pieces = countFrames(page, '"GenerationDelta"');
  await page.getByRole('button', { name: 'Ask' }).click();
  await page.getByRole('button', { name: 'Ask' }).waitFor({ timeout: PATIENCE });
  const answer = await page.getByRole('region', { name: 'Conversation' }).getByRole('listitem').last().innerText();
  if (pieces() < 1) throw new Error(`the answer was not streamed: ${answer}`);
  return answer;
}

/**
 * Has answers of companions come in two steps: their text, and the rest when `release` is called, until `hold` is called
 * again. To be called before the page is opened. `asked` is how often a companion was asked.
 */
export async function holdAnswers(page) {
  const steps = { asked: 0 };
  let released;
  steps.hold = () => (released = new Promise((resolve) => (steps.release = resolve)));
  steps.hold();
  await page.routeWebSocket('**/graphql', (socket) => {
    const server = socket.connectToServer();
    socket.onMessage((frame) => {
      if (frame.includes('subscription Generation')) steps.asked += 1;
      server.send(frame);
    });
    let told = Promise.resolve(); // One after the other, as they came.
    server.onMessage((frame) => {
      told = told.then(async () => {
        if (frame.includes('"GeneratePayload"')) await released;
        socket.send(frame);
      });
    });
  });
  return steps;
}

/** An answer is read while it comes; one that is stopped is not asked for again, and its prompt is there to be changed. */
export async function readWhileItComes(browser, base, username) {
  const { page, watch, context } = await openPage(browser, base);
  const steps = await holdAnswers(page);
  await register(page, username);
  await go(page, 'Companion');
  const box = page.getByRole('textbox', { name: 'Message to the companion' });
  const last = page.getByRole('region', { name: 'Conversation' }).getByRole('listitem').last();
  const isComing = async () => {
    await last.filter({ hasText: /^Companion: \w/ }).waitFor();
    await page.getByRole('button', { name: 'Stop' }).waitFor();
  };

  await box.fill('Tell me something.');
  await page.getByRole('button', { name: 'Ask' }).click();
  await isComing();
  steps.release();
  await page.getByRole('button', { name: 'Ask' }).waitFor();

  steps.hold();
  await box.fill('Tell me more.');
  await page.getByRole('button', { name: 'Ask' }).click();
  await isComing();
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.getByRole('button', { name: 'Ask' }).waitFor();
  const kept = await box.inputValue();
  if (kept !== 'Tell me more.') throw new Error(`the prompt is gone: ${kept}`);
  if (steps.asked !== 2) throw new Error(`asked ${steps.asked} times, not 2`);
  if (watch.problems.length) throw new Error(watch.problems.join('\n'));
  await context.close();
}

function countFrames(page, text) {
  const { frames } = sockets.get(page);
  const before = frames.length;
  return () => frames.slice(before).filter((frame) => frame.includes(text)).length;
}

/** What came over the sockets of pages, as text. */
const sockets = new WeakMap();

/** A watched page of one who has just come. */
export async function newcomer(browser, base, username, options) {
  const opened = await openPage(browser, base, options);
  const frames = [];
  sockets.set(opened.page, { frames });
  opened.page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => frames.push(String(payload))));
  await register(opened.page, username);
  return opened;
}

/** How much the first load of the page may be, compressed, in bytes. */
const FIRST_LOAD = 200_000;

async function expectSmall(page) {
  const bytes = await page.evaluate(() =>
    ['navigation', 'resource']
      .flatMap((type) => performance.getEntriesByType(type))
      .reduce((sum, entry) => sum + entry.encodedBodySize, 0),
  );
  // Less than its script would be a measurement of nothing.
  if (bytes < 50_000 || bytes > FIRST_LOAD) throw new Error(`the first load is ${bytes} bytes`);
}

const PANELS = {
  Rooms: '#lobby',
  Companion: 'Companion',
  Triggers: 'Triggers',
  Profile: 'Profile',
  Keys: 'API keys',
  Webhooks: 'Webhooks',
};

export async function scenario(base, restart) {
  const browser = await openBrowser();
  const suffix = Date.now().toString(36);
  const [ada, bob] = [`ada-${suffix}`, `bob-${suffix}`];
  const said = (text) => `${suffix} ${text}`;
  try {
    // The door, then both ways.
    const visitor = await openPage(browser, base);
    await visitor.page.goto('/chat', { waitUntil: 'networkidle' });
    await expectSmall(visitor.page);
    await visitor.page.getByRole('button', { name: 'Register', exact: true }).click();
    await expectAccessible(visitor.page, 'the door');
    await visitor.context.close();
    const one = await newcomer(browser, base, ada);
    const other = await newcomer(browser, base, bob, { viewport: { width: 390, height: 844 }, hasTouch: true });
    await one.page
      .getByRole('complementary', { name: /Here now/ })
      .getByText(bob)
      .waitFor();
    await send(one.page, said('hello, who is here?'));
    await sees(other.page, said('hello, who is here?'));
    await other.page.getByRole('textbox', { name: /^Message to #/ }).pressSequentially(said('me'));
    await one.page.getByText(`${bob} is typing…`).waitFor();
    await other.page.getByRole('button', { name: 'Send', exact: true }).click();
    await sees(one.page, said('me'));

    // Edited, deleted.
    await edit(one.page, said('hello, who is here?'), said('hello!'));
    await message(other.page, `${said('hello!')} (edited)`).waitFor();
    await send(one.page, said('a mistake'));
    await sees(other.page, said('a mistake'));
    await remove(one.page, said('a mistake'));
    await message(other.page, said('a mistake')).waitFor({ state: 'detached' });

    // Restarted, while both send. What Ada writes then waits until the server is back.
    await send(one.page, said('1 before'));
    await send(other.page, said('1 before too'));
    for (const { watch } of [one, other]) watch.isOffline = true;
    const restarted = restart();
    for (let number = 2; number <= 6; number++) {
      await send(one.page, said(`${number} from ada`));
      await send(other.page, said(`${number} from bob`));
    }
    await restarted;
    await send(one.page, said('7 after'));
    await send(other.page, said('7 after too'));
    const expected = ['1 before', '1 before too', '7 after', '7 after too'].map(said);
    for (let number = 2; number <= 6; number++) {
      expected.push(said(`${number} from ada`), said(`${number} from bob`));
    }
    for (const { page, watch } of [one, other]) {
      for (const text of expected) await sees(page, text);
      await live(page);
      watch.isOffline = false;
    }
    const [seen, seenByOther] = [await texts(one.page, `${suffix} `), await texts(other.page, `${suffix} `)];
    const numbered = seen.filter((text) => /^\S+ \d/.test(text));
    if (numbered.length !== expected.length || new Set(numbered).size !== expected.length) {
      throw new Error(`lost or doubled: ${numbered.join(' | ')}`);
    }
    if (seen.join() !== seenByOther.join()) throw new Error(`not alike: ${seen} and ${seenByOther}`);
    const own = numbered.filter((text) => /ada|before$|after$/.test(text));
    if (own.join() !== own.toSorted().join()) throw new Error(`out of order: ${own.join(' | ')}`);

    // The answer to a message is lost, so that it is sent again; then the network is gone for a while.
    one.watch.isOffline = true;
    await losingAnswers(one.page, async () => {
      await send(one.page, said('8 said once'));
      await sees(other.page, said('8 said once'));
    });
    await one.context.setOffline(true);
    await one.page.getByText('Offline', { exact: true }).waitFor();
    await send(one.page, said('9 written offline'));
    await send(other.page, said('9 said meanwhile'));
    await message(one.page, said('9 written offline')).filter({ hasText: 'sending…' }).waitFor();
    await one.context.setOffline(false);
    for (const { page } of [one, other]) {
      for (const text of ['8 said once', '9 written offline', '9 said meanwhile']) {
        await sees(page, said(text));
        if ((await texts(page, said(text))).length !== 1) throw new Error(`doubled: ${text}`);
      }
    }
    await live(one.page);
    one.watch.isOffline = false;

    // The same after a reload, which reads it all anew.
    await one.page.reload();
    await sees(one.page, said('9 said meanwhile'));
    await live(one.page);
    if ((await texts(one.page, `${suffix} `)).join() !== (await texts(other.page, `${suffix} `)).join()) {
      throw new Error('not alike after a reload');
    }

    // Consent: Bob reads what Ada wrote, activates it, pauses.
    const calm = `Calm ${suffix}`;
    await writeTrigger(one.page, { name: calm, description: 'To settle down.', content: 'Breathe in, and out.' });
    await activate(other.page, calm);
    await pause(other.page);
    await other.page.getByText('Active, paused').waitFor();

    // A companion's answer, streamed, and kept.
    const answer = await ask(one.page, said('Good evening, companion! Tell me something.'));
    if (!answer.includes('Companion')) throw new Error(`no answer: ${answer}`);

    await readWhileItComes(browser, base, `cy-${suffix}`);

    // A key and a webhook, whose secrets are shown once.
    await go(one.page, 'Keys');
    await one.page.getByRole('textbox', { name: 'Name' }).fill('reader');
    await one.page.getByLabel('Read rooms').check();
    await one.page.getByRole('button', { name: 'Create' }).click();
    const key = await one.page.getByRole('textbox', { name: 'Your new key' }).inputValue();
    if (!key.startsWith('bsc_')) throw new Error(`not a key: ${key}`);
    await go(one.page, 'Webhooks');
    await one.page.getByLabel('URL').fill('https://hooks.invalid/chat');
    await one.page.getByRole('button', { name: 'Create' }).click();
    const secret = await one.page.getByRole('textbox', { name: 'Your new secret' }).inputValue();
    if (!secret.startsWith('whsec_')) throw new Error(`not a secret: ${secret}`);

    // Everything for everyone: wide and on a phone, light and dark.
    for (const { page } of [one, other]) {
      for (const [panel, heading] of Object.entries(PANELS)) {
        await go(page, panel);
        await page.getByRole('heading', { name: heading, level: 1 }).waitFor();
        await page.getByText('One moment…').first().waitFor({ state: 'hidden' });
        await expectAccessible(page, panel);
      }
    }

    await logOut(one.page);
    for (const { watch } of [one, other]) {
      if (watch.problems.length) throw new Error(watch.problems.join('\n'));
    }
  } finally {
    await browser.close();
  }
}

/** Has whoever runs the server restart it. */
async function restartByHand() {
  const lines = createInterface({ input: process.stdin });
  console.log('RESTART');
  for await (const _ of lines) break;
  process.stdin.destroy(); // It would keep the program from ending.
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [base] = process.argv.slice(2);
  if (!base) {
    console.error('usage: node e2e/chat.mjs BASE_URL');
    process.exit(2);
  }
  await scenario(base, restartByHand);
  console.log('chat: all is well');
}
