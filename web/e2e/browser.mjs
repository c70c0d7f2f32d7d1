// Opens Chromium and watches what pages do: errors in the console, requests to elsewhere, violations of their policy.

import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const candidates = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** A browser without a window. `CHROMIUM` says where the program is, if it is not where Debian has it. */
export function openBrowser() {
  const executablePath = candidates.find((path) => path && existsSync(path));
  if (!executablePath) throw new Error('no Chromium found: apt-get install chromium, or set CHROMIUM');
  const args = ['--disable-dev-shm-usage'];
  if (process.getuid?.() === 0) args.push('--no-sandbox');
  return chromium.launch({ executablePath, args });
}

/**
 * A browser context with a page that is watched. `options` are those of `browser.newContext`.
 *
 * `watch.problems` grows with all that a page of ours must not do. While `watch.isOffline` is true, messages about
 * lost connections are none: browsers log them whatever a page does.
 */
export async function openPage(browser, base, options = {}) {
  const origin = new URL(base).origin;
  const context = await browser.newContext({ baseURL: base, ...options });
  const watch = { problems: [], isOffline: false };
  await context.exposeBinding('reportViolation', (_, text) => {
    watch.problems.push(`policy: ${text}`);
  });
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', ({ effectiveDirective, blockedURI, sourceFile, lineNumber }) =>
      window.reportViolation(`${effectiveDirective} refused ${blockedURI || 'inline'} (${sourceFile}:${lineNumber})`),
    );
  });
  context.on('request', (request) => {
    const url = new URL(request.url());
    const isOurs = url.origin === origin || ['blob:', 'data:', 'about:'].includes(url.protocol);
    if (!isOurs) watch.problems.push(`request to elsewhere: ${url}`);
  });
  const page = await context.newPage();
  page.on('websocket', (socket) => {
    if (new URL(socket.url()).host !== new URL(base).host) watch.problems.push(`socket to elsewhere: ${socket.url()}`);
  });
  page.on('console', (message) => {
    if (!['error', 'warning'].includes(message.type())) return;
    const isLost = /ERR_|WebSocket connection|Failed to load resource/.test(message.text());
    if (!(watch.isOffline && isLost)) watch.problems.push(`console: ${message.text()} (${message.location().url})`);
  });
  page.on('pageerror', (error) => watch.problems.push(`uncaught: ${error}`));
  return { context, page, watch };
}

/** Violations of the accessibility rules (WCAG 2.2 A and AA and the best practices) in what the page shows now. */
export async function violations(page) {
  // By the debugger, so that the page's policy does not stop it.
  await page.evaluate(`typeof axe === 'undefined' && (() => { ${axeSource} })()`);
  const found = await page.evaluate(async () => (await window.axe.run(document)).violations);
  return found.flatMap(({ id, help, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id} (${help}) at ${target.join(' ')}: ${failureSummary}`),
  );
}

/** The same in light and in dark; throws if there are any. */
export async function expectAccessible(page, what) {
  for (const colorScheme of ['light', 'dark']) {
    // Without motion, or colours would be judged on their way from one scheme to the other.
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    const found = await violations(page);
    if (found.length) throw new Error(`${what} in ${colorScheme}:\n${found.join('\n')}`);
  }
}
