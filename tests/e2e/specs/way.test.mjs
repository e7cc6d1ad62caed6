// Ways through the dashboard: by keyboard, back and forward, after a restart.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { isClean, launch, open, settle, shoot } from '../support/browser.mjs';
import { alerts, hook } from '../support/alerts.mjs';
import { Server, until } from '../support/server.mjs';

let server;
let browser;
let closeShop;
let receiver;

before(async () => {
  receiver = await hook();
  server = await Server.start(receiver.environment);
  closeShop = server.demo();
  browser = await launch();
  await until('the shop is open', async () => (await (await fetch(`${server.http}/api/services`)).json()).services.length > 2, 60_000);
  await alerts(server, receiver);
});

after(async () => {
  await browser?.close();
  await closeShop?.();
  await server?.stop();
  receiver?.close();
});

const focused = (page) => page.evaluate(() => document.activeElement?.textContent?.trim() ?? '');

test('by keyboard alone from a firing alert to its chart, acknowledgement and history', async () => {
  const { page, context, wrongs } = await open(browser, server);
  await page.goto(server.http);
  await settle(page);
  await page.keyboard.press('g');
  await page.keyboard.press('a');
  await page.locator('h1', { hasText: 'Alerts' }).waitFor();
  await page.locator('.alert').first().waitFor();
  await page.keyboard.press('j');
  assert.equal(await focused(page), 'High response time');
  await page.keyboard.press('Enter');
  const plot = page.locator('.plot').first();
  await plot.waitFor();
  await plot.focus();
  await page.keyboard.press('End');
  await page.keyboard.press('ArrowLeft');
  assert.match(await page.locator('[aria-live=polite].sr').first().textContent(), /High response time [\d.]+ ms/);
  assert.match(await plot.getAttribute('aria-label'), /now .* ms, from .* to .* ms/);
  await page.getByLabel('Your name').focus();
  await page.keyboard.type('Ada');
  await page.keyboard.press('Tab');
  await page.keyboard.type('looking at it');
  await page.keyboard.press('Enter');
  await page.getByText('Acknowledged by Ada').waitFor();
  await page.getByText('looking at it').waitFor();
  await page.keyboard.press('Control+k');
  await page.keyboard.type('alerts');
  await page.keyboard.press('Enter');
  await page.locator('h1', { hasText: 'Alerts' }).waitFor();
  await page.getByRole('link', { name: 'History' }).focus();
  await page.keyboard.press('Enter');
  await page.locator('h1', { hasText: 'Alert history' }).waitFor();
  await page.getByText('was critical').first().waitFor();
  await isClean(page, wrongs, 'by keyboard');
  await context.close();
});

test('back and forward restore page, range and choice', async () => {
  const { page, context } = await open(browser, server);
  await page.goto(`${server.http}/services?from=now-15m`);
  await page.getByRole('link', { name: 'checkout' }).first().click();
  await page.locator('h1', { hasText: 'checkout' }).waitFor();
  assert.equal(new URL(page.url()).search, '?from=now-15m', 'the range is kept');
  await page.getByRole('button', { name: 'Last 15 min' }).click();
  await page.getByRole('button', { name: '3 h', exact: true }).click();
  assert.equal(new URL(page.url()).search, '?from=now-3h');
  await page.goBack();
  await page.getByRole('button', { name: 'Last 15 min' }).waitFor();
  await page.goBack();
  await page.locator('h1', { hasText: 'Services' }).waitFor();
  await page.goForward();
  await page.locator('h1', { hasText: 'checkout' }).waitFor();
  const copied = page.url();
  const other = await context.newPage();
  await other.goto(copied);
  await other.getByRole('button', { name: 'Last 15 min' }).waitFor();
  await context.close();
});

test('a drag on a chart zooms, and a double click goes back out', async () => {
  const { page, context } = await open(browser, server);
  await page.goto(`${server.http}/?from=now-15m`);
  await settle(page);
  const box = await page.locator('.plot .u-over').first().boundingBox();
  await page.mouse.move(box.x + box.width * 0.3, box.y + 40);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.7, box.y + 60, { steps: 8 });
  await page.mouse.up();
  await until('the range is absolute', () => /from=20\d\d-/.test(page.url()));
  assert.equal(await page.locator('.live').textContent(), 'past');
  const span = () => {
    const { searchParams } = new URL(page.url());
    return Date.parse(searchParams.get('to')) - Date.parse(searchParams.get('from'));
  };
  const zoomed = span();
  assert.ok(zoomed > 300_000 && zoomed < 420_000, `${zoomed} ms`);
  await page.keyboard.press('t');
  await page.keyboard.press('z');
  await until('the range is wider', () => span() > zoomed * 1.9);
  await context.close();
});

test('a chart is a table on demand, and the palette finds a metric', async () => {
  const { page, context } = await open(browser, server);
  await page.goto(`${server.http}/services/storefront?from=now-5m`);
  await settle(page);
  await page.locator('.plot').first().focus();
  await page.keyboard.press('v');
  await page.getByRole('group', { name: /, table$/ }).first().waitFor();
  await until('the table has rows', async () => (await page.getByRole('group', { name: /, table$/ }).first().locator('tbody tr').count()) > 1, 30_000);
  await page.keyboard.press('Escape');
  await page.keyboard.press('/');
  await page.keyboard.type('cache.requests');
  await page.getByRole('option', { name: /fastbreak.cache.requests/ }).waitFor();
  await shoot(page, 'palette-wide-light');
  await page.keyboard.press('Enter');
  await page.locator('h1', { hasText: 'Explore' }).waitFor();
  assert.match(page.url(), /metric=fastbreak\.cache\.requests/);
  await page.locator('main').focus();
  await page.keyboard.press('?');
  await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor();
  await shoot(page, 'help-wide-light');
  await context.close();
});

test('a rule is edited on one screen: dragged, backtested, saved', async () => {
  const { page, context, wrongs } = await open(browser, server);
  await page.goto(`${server.http}/alerts/rules/slow_pages?from=now-5m`);
  const handle = page.getByRole('slider', { name: 'Threshold' });
  await handle.waitFor();
  const before = Number(await page.getByLabel(/Threshold/).first().inputValue());
  await handle.focus();
  for (let n = 0; n < 5; n += 1) await page.keyboard.press('ArrowUp');
  const raised = Number(await page.getByLabel(/Threshold/).first().inputValue());
  assert.ok(raised > before, `${before} to ${raised}`);
  const box = await handle.boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width / 2, box.y + 60, { steps: 5 });
  await page.mouse.up();
  assert.ok(Number(await page.getByLabel(/Threshold/).first().inputValue()) < raised, 'dragged down');
  await page.getByRole('button', { name: '24 h' }).click();
  await page.getByText('Time firing').waitFor();
  await shoot(page, 'rule-backtest-wide-light');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('is saved').waitFor();
  await page.getByText('revision 2').waitFor();
  await page.getByText(/^threshold 300 → /).waitFor();
  await page.getByRole('button', { name: 'Back to revision 1' }).click();
  await page.getByText('revision 3').waitFor();
  await isClean(page, wrongs, 'rule');
  await context.close();
});

test('an alert is acknowledged from the phone with one touch', async () => {
  const { page, context, wrongs } = await open(browser, server, { size: 'phone' });
  await page.goto(`${server.http}/alerts`);
  await page.getByRole('button', { name: 'Acknowledge Queue is long' }).tap();
  await page.getByText('Queue is long is acknowledged.').waitFor();
  await until('it is taken', async () => (await page.getByRole('button', { name: 'Acknowledge Queue is long' }).count()) === 0);
  await page.getByRole('button', { name: 'Navigation' }).tap();
  await page.getByRole('link', { name: 'System' }).tap();
  await page.locator('h1', { hasText: 'System' }).waitFor();
  await isClean(page, wrongs, 'phone');
  await context.close();
});

test('one socket serves all pages, however fast they are changed', async () => {
  const { page, context, wrongs } = await open(browser, server);
  const sockets = [];
  let closed = 0;
  page.on('websocket', (socket) => {
    sockets.push(socket);
    socket.on('close', () => (closed += 1));
  });
  await page.goto(`${server.http}/services/storefront`);
  await page.locator('.live.live').waitFor();
  for (const keys of ['go', 'gs', 'gm', 'gy', 'go', 'ga', 'go', 'gs', 'go']) for (const key of keys) await page.keyboard.press(key);
  await page.locator('h1', { hasText: 'Overview' }).waitFor();
  await settle(page);
  const frames = [];
  sockets[0].on('framereceived', ({ payload }) => frames.push(JSON.parse(payload)));
  await until('what is shown is told again', () => frames.some(({ topic }) => topic?.startsWith('query:')), 25_000);
  assert.deepEqual([sockets.length, closed], [1, 0]);
  await isClean(page, wrongs, 'many pages');
  await context.close();
});

test('a page that cannot have alerts says so', async () => {
  const { page, context } = await open(browser, server);
  await page.route(/\/api\/(alerts|silences|receivers|deliveries)/, (route) => route.fulfill({ status: 404, contentType: 'application/problem+json', body: '{"detail":"there is nothing at this path"}' }));
  for (const [path, words] of [['/alerts', 'Alerts are not available'], ['/alerts/rules', 'Rules are not available'], ['/silences', 'Silences are not available'], ['/receivers', 'Receivers are not available']]) {
    await page.goto(server.http + path);
    await page.getByText(words).first().waitFor();
  }
  await context.close();
});

test('the page comes back by itself after the server was restarted', async () => {
  const { page, context } = await open(browser, server);
  await page.goto(server.http);
  await page.locator('.live.live').waitFor();
  await server.down();
  await page.locator('.live.reconnecting').waitFor();
  await server.up();
  const took = await until('live again', async () => (await page.locator('.live.live').count()) > 0, 10_000);
  assert.ok(took <= 3500, `live again ${took} ms after the server was ready`);
  console.log(`live again ${took} ms after the server was ready`);
  await context.close();
});
