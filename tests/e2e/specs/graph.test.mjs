// The service graph: drawn, read as a table, narrowed, followed to services and traces, now and then.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fits, isAccessible, isClean, launch, open, settle, shoot } from '../support/browser.mjs';
import { Server, until } from '../support/server.mjs';
import { payments } from '../support/traces.mjs';

let server;
let browser;

before(async () => {
  server = await Server.start({ FASTBREAK_TRACE_WAIT: '1s', FASTBREAK_TRACE_SAMPLES: '1000', FASTBREAK_WINDOW: '1s' });
  browser = await launch();
  await payments(server, 60);
  await until('all calls are drawn', async () => (await (await fetch(`${server.http}/api/service-graph`)).json()).edges.length === 5, 60_000);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const node = (page, name) => page.locator('.node', { has: page.locator('rect') }).and(page.locator(`[aria-label^="${name},"]`));

test('services stand in the order of their calls; nodes and lines lead on', async () => {
  const { page, context, wrongs } = await open(browser, server);
  await page.goto(`${server.http}/graph?from=now-15m`);
  await settle(page);
  assert.equal(await page.locator('.node').count(), 6);
  const x = async (name) => (await node(page, name).boundingBox()).x;
  assert.ok((await x('web')) < (await x('payments')) && (await x('payments')) < (await x('bank.example')));
  await page.getByRole('link', { name: /^web to payments, request: .*errors/ }).focus();
  await page.locator('.note', { hasText: 'web to payments' }).waitFor();
  await page.keyboard.press('Enter');
  await page.locator('h1', { hasText: /^Traces$/ }).waitFor();
  assert.match(page.url(), /service=web&with=payments/);
  await until('its traces', async () => (await page.getByRole('group', { name: 'Traces' }).locator('tbody tr').count()) === 60);
  await page.goBack();
  await node(page, 'payments').click();
  await page.locator('h1', { hasText: 'payments' }).waitFor();
  await isClean(page, wrongs, 'graph');
  await context.close();
});

test('the graph is a table, and may be only what is around one service', async () => {
  const { page, context, wrongs } = await open(browser, server);
  await page.goto(`${server.http}/graph?from=now-15m`);
  await settle(page);
  await page.getByLabel('Around which service').selectOption('mailer');
  await until('two are left', async () => (await page.locator('.node').count()) === 2);
  await page.getByRole('link', { name: /^payments to mailer/ }).focus();
  await page.keyboard.press('v');
  const rows = page.getByRole('group', { name: 'Calls' }).locator('tbody tr');
  assert.equal(await rows.count(), 1);
  assert.match(page.url(), /around=mailer&view=table/);
  await page.goBack();
  await until('all are back', async () => (await rows.count()) + (await page.locator('.node').count()) > 4);
  await isAccessible(page, 'graph');
  await isClean(page, wrongs, 'graph');
  await context.close();
});

test('another time has another graph, and a phone shows it too', async () => {
  const { page, context, wrongs } = await open(browser, server, { size: 'phone', theme: 'dark' });
  await page.goto(`${server.http}/graph?from=now-2h&to=now-1h`);
  await page.getByText('No service called another in this time.').waitFor();
  await isAccessible(page, 'empty graph');
  await page.goto(`${server.http}/graph?from=now-15m`);
  await page.locator('.node').first().waitFor();
  await fits(page, 'graph');
  await shoot(page, 'graph-phone-dark');
  await page.getByRole('button', { name: 'Table' }).tap();
  await fits(page, 'graph table');
  await isAccessible(page, 'graph table');
  await isClean(page, wrongs, 'phone');
  await context.close();
});
