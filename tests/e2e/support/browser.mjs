// Chromium, and what a page may not do: write errors, break the policy, ask anybody else.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const PLACES = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export const OUT = join(import.meta.dirname, '..', 'out');
export const SIZES = { wide: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };
mkdirSync(OUT, { recursive: true });

export async function launch(more = []) {
  const executablePath = PLACES.find((place) => place && existsSync(place));
  assert.ok(executablePath, 'Chromium is not installed; `make deps` installs it');
  return chromium.launch({ executablePath, args: [...FLAGS, ...more] });
}

/** A page that notes whatever it does wrong. */
export async function open(browser, server, { size = 'wide', theme = 'light' } = {}) {
  const isPhone = size === 'phone';
  const context = await browser.newContext({ viewport: SIZES[size], colorScheme: theme, hasTouch: isPhone, isMobile: isPhone, locale: 'en-GB', timezoneId: 'UTC' });
  const page = await context.newPage();
  const wrongs = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) wrongs.push(`console: ${message.text()} ${message.location().url}`);
  });
  page.on('pageerror', (error) => wrongs.push(`error: ${error.stack ?? error}`));
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.protocol.startsWith('http') && url.host !== new URL(server.http).host) wrongs.push(`asked ${request.url()}`);
  });
  await page.addInitScript(() => {
    window.reports = [];
    document.addEventListener('securitypolicyviolation', (event) => window.reports.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
  return { page, context, wrongs };
}

/** Nothing went wrong so far. */
export async function isClean(page, wrongs, where) {
  assert.deepEqual(wrongs, [], where);
  assert.deepEqual(await page.evaluate(() => window.reports ?? []), [], `${where}: policy reports`);
}

/** No violation of WCAG 2.2 AA or of good practice that axe can find. */
export async function isAccessible(page, where) {
  const cdp = await page.context().newCDPSession(page);
  // Put in by the debugger: the page's policy forbids text as script, as it should.
  await cdp.send('Runtime.evaluate', { expression: axe });
  const { result } = await cdp.send('Runtime.evaluate', {
    expression: `axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })
      .then(({ violations }) => JSON.stringify(violations.map((v) => v.id + ': ' + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160) + ' ' + (n.any[0]?.message ?? n.all[0]?.message ?? '')).join(' | '))))`,
    awaitPromise: true,
    returnByValue: true,
  });
  await cdp.detach();
  assert.deepEqual(JSON.parse(result.value), [], `${where}: axe`);
}

/** Nothing is wider than the screen. */
export async function fits(page, where) {
  const { inside, outside } = await page.evaluate(() => ({ inside: document.documentElement.scrollWidth, outside: document.documentElement.clientWidth }));
  assert.ok(inside <= outside, `${where}: ${inside} px on a screen of ${outside}`);
  // A pixel is what rounding makes.
  const cut = await page.evaluate(() => [...document.querySelectorAll('main .scroll')].filter((box) => box.scrollWidth > box.clientWidth + 1).map((box) => `${box.getAttribute('aria-label')} by ${box.scrollWidth - box.clientWidth} px`));
  assert.deepEqual(cut, [], `${where}: tables are cut off`);
}

export async function shoot(page, name) {
  await page.screenshot({ path: join(OUT, `${name}.png`), fullPage: true });
}

/** Waits until what is asked for is there and drawn. */
export async function settle(page) {
  await page.locator('main').waitFor();
  await page.waitForLoadState('load');
  const busy = page.locator('main .loading, main .plot-empty .muted');
  for (let turn = 0; turn < 100 && (await busy.count()) > 0; turn += 1) await page.waitForTimeout(50);
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
}

/** `wrongs` without what the browser itself says of a refusal that was meant. */
export const but = (wrongs, status) => wrongs.filter((wrong) => !wrong.includes(`status of ${status}`));

/** A page that is clean, fits its window, and is accessible. */
export async function well(page, wrongs, where) {
  await isClean(page, wrongs, where);
  await fits(page, where);
  await isAccessible(page, where);
}
