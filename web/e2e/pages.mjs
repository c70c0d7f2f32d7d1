// Walks through the landing page, the explorer and the REST reference as a reader does.
//
//     node e2e/pages.mjs http://127.0.0.1:8080
//
// The server must be one without rate limits, and is left with two members and a few messages more.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { openBrowser, openPage, violations } from './browser.mjs';

const base = process.argv[2];
if (!base) throw new Error('usage: node e2e/pages.mjs BASE_URL');

const PHONE = { width: 360, height: 780 };
// What axe finds in the tools that no setting and no style can change.
const KNOWN = [
  // GraphiQL: its tabs hold the button that closes them.
  /^nested-interactive .*(graphiql-tab|li:nth-child)/,
  // Its explorer: the list of kinds of operations below the fields has no label.
  /^select-name .* at select:/,
  // Scalar: the cards of examples are regions, all of the same name.
  /^landmark-unique .*scalar-refs/,
];

const browser = await openBrowser();
try {
  const [reader, writer] = [await register(), await register()];
  await landingPage();
  await explorer(reader, writer);
  await restReference(reader);
} finally {
  await browser.close();
}
console.log('pages: all is well');

// ---- The pages.

async function landingPage() {
  const { context, page, watch } = await openPage(browser, base);
  await page.addInitScript(() => {
    window.moved = 0;
    const add = (list) => list.getEntries().forEach(({ value }) => (window.moved += value));
    new PerformanceObserver(add).observe({ type: 'layout-shift', buffered: true });
  });
  await page.goto('/');
  await page.locator('#status.up').waitFor();
  for (const id of ['rooms', 'members', 'online', 'messages']) {
    assert.match(await page.locator(`#${id}`).innerText(), /^[\d,]+$/, id);
  }
  await expectReadable(page, 'landing page');
  assert.equal(await page.evaluate(() => window.moved), 0, 'nothing moves when the status comes');
  await expectWellMade(page, 'landing page');

  const links = await page.locator('main a, nav a, footer a').evaluateAll((all) => all.map((a) => a.href));
  for (const link of new Set(links)) {
    const response = await context.request.get(link, { headers: { accept: 'text/html,*/*;q=0.8' } });
    assert.equal(response.status(), 200, link);
  }
  for (const [path, name] of [['/', 'Start'], ['/graphql', 'GraphQL'], ['/docs', 'REST']]) {
    await page.goto(path);
    assert.equal(await page.locator('nav[aria-label=Pages] [aria-current=page]').innerText(), name);
  }
  expectNoProblems(watch);

  watch.isOffline = true;
  await page.route('**/graphql', (route) => (route.request().method() === 'POST' ? route.abort() : route.continue()));
  await page.goto('/');
  await page.getByText('The server cannot be reached.').waitFor();
  await context.close();
}

async function explorer(reader, writer) {
  const { context, page, watch } = await openPage(browser, base);
  await page.goto('/graphql');
  await select(page, 'WatchRoom');
  await run(page);
  await answer(page, 'not logged in');

  await select(page, 'LogIn');
  const variables = page.locator('.graphiql-editor-tool .monaco-editor:visible');
  await variables.click();
  await page.keyboard.press('ControlOrMeta+A');
  await page.keyboard.insertText(JSON.stringify({ input: reader }));
  await page.keyboard.press('ControlOrMeta+Shift+End'); // What the editor has closed by itself.
  await page.keyboard.press('Delete');
  await run(page);
  await answer(page, `"username": "${reader.username}"`);

  await select(page, 'MyProfile');
  await run(page);
  await answer(page, `"displayName": "${reader.username}"`);

  await select(page, 'Triggers');
  await run(page);
  await answer(page, '"hasNextPage": false');

  await select(page, 'SendMessage');
  await run(page);
  await answer(page, '"content": "Hello everyone!"');

  await select(page, 'WatchRoom');
  await run(page);
  await answer(page, '"__typename": "MemberJoined"');
  const content = `hello${randomUUID().slice(0, 8)}`;
  await send(writer, content);
  await answer(page, content);
  await page.getByRole('button', { name: /^Stop/ }).click();

  await page.getByRole('button', { name: 'Show GraphiQL Explorer' }).click();
  await page.locator('.graphiql-explorer-root').getByText('roomChanged').first().waitFor();
  await expectReadable(page, 'explorer with its fields');
  await page.getByRole('button', { name: 'Show Documentation Explorer' }).click();
  await page.locator('.graphiql-doc-explorer').getByText('Mutation', { exact: true }).waitFor();

  await expectReadable(page, 'explorer with the schema');
  await expectWellMade(page, 'explorer');
  await expectNotKept(page, reader.password);
  expectNoProblems(watch);
  await context.close();
}

async function restReference(reader) {
  const { context, page, watch } = await openPage(browser, base);
  const api = `${base}/v1`;
  await context.request.post(`${api}/auth/login`, { data: reader });
  const made = await context.request.post(`${api}/keys`, { data: { name: 'reader', scopes: ['profile:read'] } });
  const { key } = await made.json();

  await page.goto('/docs#tag/ai/POST/ai/generate');
  const generate = page.locator('section[id$="/POST/ai/generate"]');
  await generate.getByText('Hello Bambi').waitFor();
  await generate.getByText('AI generated response text').waitFor();

  await page.goto('/docs#tag/me/GET/me');
  await page.reload();
  await page.getByRole('button', { name: 'Test Request (get /me)', exact: true }).click();
  const dialog = page.getByRole('dialog');
  const byCookie = await sendRequest(page, dialog);
  assert.match(byCookie.cookie, /bambisleep_session=/);
  assert.equal(byCookie.authorization, undefined);
  await dialog.getByText(`"${reader.username}"`).waitFor();

  await context.clearCookies();
  await dialog.getByPlaceholder('Token').fill(key);
  const byKey = await sendRequest(page, dialog);
  assert.equal(byKey.cookie, undefined);
  assert.equal(byKey.authorization, `Bearer ${key}`);
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'hidden' });

  await expectNotKept(page, key);

  await expectWellMade(page, 'REST reference');
  expectNoProblems(watch);

  watch.isOffline = true;
  await page.route('**/v1/openapi.json', (route) => route.abort());
  await page.reload();
  await page.getByRole('alert').getByText('could not be loaded').waitFor();
  await context.close();
}

// ---- Steps.

// The headers of the request that the dialog sent, which was answered with 200, as the dialog says too.
async function sendRequest(page, dialog) {
  const [response] = await Promise.all([
    page.waitForResponse(`${base}/v1/me`),
    dialog.locator('[data-addressbar-action=send]:visible').click(),
  ]);
  assert.equal(response.status(), 200);
  await dialog.getByText('200 OK').waitFor();
  return response.request().allHeaders();
}

async function select(page, tab) {
  await page.getByRole('tab', { name: tab }).click();
  await page.locator('.graphiql-query-editor').getByText(tab).first().waitFor();
}

async function run(page) {
  await page.getByRole('button', { name: /^Execute/ }).click();
}

// Waits for the answer to say this. Monaco writes spaces as ones that do not break.
async function answer(page, text) {
  await page.waitForFunction(
    (wanted) => document.querySelector('.graphiql-response .view-lines')?.textContent.replaceAll('\u00a0', ' ').includes(wanted),
    text,
  );
}

async function register() {
  const account = { username: `m${randomUUID().slice(0, 12)}`, password: 'a long passphrase' };
  const response = await post('/v1/auth/register', { ...account, ofAge: true });
  assert.equal(response.status, 200);
  return account;
}

async function send({ username, password }, content) {
  const login = await post('/v1/auth/login', { username, password });
  const cookie = login.headers.getSetCookie()[0].split(';')[0];
  const response = await post('/v1/chat/messages', { content }, { cookie });
  assert.equal(response.status, 200);
}

function post(path, body, headers = {}) {
  return fetch(base + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
}

// ---- What holds for each page.

function expectNoProblems(watch) {
  assert.deepEqual(watch.problems, []);
}

// What was typed in is gone with the page.
async function expectNotKept(page, secret) {
  const kept = await page.evaluate(() => JSON.stringify(localStorage) + JSON.stringify(sessionStorage));
  assert.ok(!kept.includes(secret), 'a secret is kept in the browser');
}

async function expectReadable(page, what) {
  for (const colorScheme of ['light', 'dark']) {
    // Without motion, or colours would be judged on their way from one scheme to the other.
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    const found = await violations(page);
    const unknown = found.filter((violation) => !KNOWN.some((known) => known.test(violation)));
    assert.deepEqual(unknown, [], `${what} in ${colorScheme}`);
  }
}

async function expectWellMade(page, what) {
  await expectReadable(page, what);
  const before = page.viewportSize();
  await page.setViewportSize(PHONE);
  await page.waitForFunction((width) => document.documentElement.scrollWidth <= width, PHONE.width);
  await page.setViewportSize(before);
  await page.goto(new URL(page.url()).pathname);
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.className), 'skip', `${what} begins with a way past the bar`);
}
