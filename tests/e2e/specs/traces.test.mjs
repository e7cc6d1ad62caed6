// Traces: searched, opened, walked by keyboard, on the phone too.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fits, isAccessible, isClean, launch, open, settle, shoot } from '../support/browser.mjs';
import { Server, until } from '../support/server.mjs';
import { huge, payments } from '../support/traces.mjs';

let server;
let browser;
let ids;
let big;

before(async () => {
  server = await Server.start({ FASTBREAK_TRACE_WAIT: '1s', FASTBREAK_TRACE_SAMPLES: '1000', FASTBREAK_WINDOW: '1s' });
  browser = await launch();
  ids = await payments(server, 120);
  big = await huge(Date.now() - 5000, 5000).send(server);
  const kept = async (query) => (await (await fetch(`${server.http}/api/traces?limit=1000&${query}`)).json()).traces;
  await until('all are kept', async () => (await kept('service=web')).length === 120 && (await kept('service=batch'))[0]?.spanCount === 5000, 60_000);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

test('traces are found by what they are, page by page, and the address says which', async () => {
  const { page, context, wrongs } = await open(browser, server);
  await page.goto(`${server.http}/traces?from=now-15m`);
  await settle(page);
  const rows = page.getByRole('group', { name: 'Traces' }).locator('tbody tr');
  assert.equal(await rows.count(), 100);
  await page.getByRole('button', { name: 'Show more' }).click();
  await until('all are there', async () => (await rows.count()) === 121);
  await page.getByLabel('Service').fill('payments');
  await page.getByLabel('At least').fill('500ms');
  await page.keyboard.press('Enter');
  await until('only slow ones', async () => (await rows.count()) === 15);
  assert.match(page.url(), /service=payments&minDuration=500ms/);
  await page.getByLabel('Attributes').fill('app.card=amex cloud.region=eu');
  await page.keyboard.press('Enter');
  await page.getByText('No kept trace is like that').waitFor();
  await shoot(page, 'traces-none-wide-light');
  await page.goBack();
  await until('the search before', async () => (await rows.count()) === 15);
  await page.getByLabel('At least').fill('soon');
  await page.keyboard.press('Enter');
  await page.getByText('minDuration must be a duration such as 250ms or 2s').waitFor();
  assert.equal(await page.getByLabel('At least').getAttribute('aria-invalid'), 'true');
  assert.equal(wrongs.filter((wrong) => !wrong.includes('400')).length, 0);
  await context.close();
});

test('a dot opens its trace, by mouse and by keyboard, and the dots are a table', async () => {
  const { page, context, wrongs } = await open(browser, server);
  await page.goto(`${server.http}/traces?from=now-15m&service=web&error=true`);
  const dots = page.getByRole('img', { name: /traces by time and duration/ });
  await dots.waitFor();
  await dots.focus();
  await page.keyboard.press('Home');
  await page.keyboard.press('ArrowRight');
  assert.match(await page.locator('.scatter ~ [aria-live]').textContent(), /web POST \/pay · .* ms · .* failed/);
  await page.keyboard.press('v');
  await page.getByRole('group', { name: 'Durations, table' }).waitFor();
  await page.getByRole('button', { name: 'Table' }).click();
  await dots.focus();
  await page.keyboard.press('End');
  await page.keyboard.press('Enter');
  await page.locator('h1', { hasText: /^Trace$/ }).waitFor();
  await page.locator('.span').first().waitFor();
  await isClean(page, wrongs, 'scatter');
  await context.close();
});

test('a trace is walked by keyboard alone: folded, opened, read, left', async () => {
  const { page, context, wrongs } = await open(browser, server);
  await page.goto(`${server.http}/traces/${ids.error}`);
  const tree = page.getByRole('tree');
  await tree.waitFor();
  await tree.focus();
  const items = page.getByRole('treeitem');
  const current = async () => page.locator(`#${await tree.getAttribute('aria-activedescendant')}`).getAttribute('aria-label');
  assert.equal(await items.count(), 6);
  await page.keyboard.press('End');
  assert.match(await current(), /^payments POST bank .* failed/);
  await page.keyboard.press('ArrowLeft');
  assert.match(await current(), /^payments POST \/charge/);
  await page.keyboard.press('ArrowLeft');
  assert.equal(await items.count(), 4);
  assert.equal(await page.locator('.span[aria-expanded=false]').count(), 1);
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('End');
  await page.keyboard.press('Enter');
  await page.getByRole('region', { name: 'Span', exact: true }).getByText('the bank answered 402', { exact: true }).waitFor();
  assert.match(page.url(), /span=[0-9a-f]{16}/);
  await isAccessible(page, 'span');
  await shoot(page, 'span-wide-light');
  await page.keyboard.press('Escape');
  assert.equal(new URL(page.url()).searchParams.get('span'), null);
  assert.equal(await page.evaluate(() => document.activeElement.className), 'spans', 'the focus is back');
  await page.keyboard.press('Home');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('+');
  assert.match(page.url(), /zoom=/);
  await page.reload();
  await page.getByRole('button', { name: 'Whole trace' }).click();
  assert.doesNotMatch(page.url(), /zoom=/);
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'OTLP/JSON' }).click()]);
  assert.equal(download.suggestedFilename(), `trace-${ids.error}.json`);
  await isClean(page, wrongs, 'trace');
  await context.close();
});

test('of a long trace only what is seen is drawn; short spans are hidden, failed ones are found', async () => {
  const { page, context, wrongs } = await open(browser, server);
  await page.goto(`${server.http}/traces/${big}`);
  const tree = page.getByRole('tree');
  await tree.waitFor();
  await tree.focus();
  assert.ok((await page.locator('.span').count()) < 60);
  await page.keyboard.press('End');
  await until('the end', async () => (await page.locator('.span.active').getAttribute('aria-posinset')) === '98');
  await page.keyboard.press('Home');
  await page.keyboard.press('e');
  await until('the first failed one', async () => /failed/.test(await page.locator('.span.active').getAttribute('aria-label')));
  await page.getByLabel('Hide spans under a share').selectOption('1');
  await page.getByText(/of 5000 spans/).waitFor();
  await page.getByRole('button', { name: 'Critical path' }).click();
  assert.match(page.url(), /hide=1&path=1/);
  const box = await page.locator('.minimap').boundingBox();
  await page.mouse.move(box.x + box.width * 0.25, box.y + 20);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.5, box.y + 20, { steps: 5 });
  await page.mouse.up();
  await until('zoomed', () => /zoom=0\.2/.test(page.url()));
  await isAccessible(page, 'long trace');
  await isClean(page, wrongs, 'long trace');
  await context.close();
});

test('on the phone a span is a sheet from below', async () => {
  const { page, context, wrongs } = await open(browser, server, { size: 'phone', theme: 'dark' });
  await page.goto(`${server.http}/traces/${ids.slow}`);
  await page.locator('.span').nth(2).tap();
  await page.getByRole('region', { name: 'Span', exact: true }).getByText('Attributes').waitFor();
  await fits(page, 'span');
  await isAccessible(page, 'span');
  await shoot(page, 'span-phone-dark');
  await page.getByRole('button', { name: 'Close the span' }).tap();
  await isClean(page, wrongs, 'phone');
  await context.close();
});

test('a trace that is not kept says why', async () => {
  const { page, context } = await open(browser, server);
  await page.goto(`${server.http}/traces/${'0'.repeat(31)}1`);
  await page.getByText('No such trace is kept.').waitFor();
  await isAccessible(page, 'no trace');
  await page.keyboard.press('Control+k');
  await page.keyboard.type(ids.slow);
  await page.keyboard.press('Enter');
  await page.locator('.span').first().waitFor();
  assert.match(page.url(), new RegExp(ids.slow));
  await context.close();
});
