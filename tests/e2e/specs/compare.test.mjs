// From a chart to the traces behind it: points, a box on the heatmap, an alert.
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
  const rule = { id: 'slow_pay', name: 'Paying is slow', condition: 'max by (service_name) ({"e2e.pay"}) > threshold', threshold: 1, severity: 'warning', cooldownMinutes: 5, notificationChannels: [] };
  await fetch(`${server.http}/api/alerts/rules`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(rule) });
  await server.send('web', 'e2e.pay', 9);
  const kept = async () => (await (await fetch(`${server.http}/api/traces?limit=1000&service=web`)).json()).traces.length;
  await until('all are kept', async () => (await kept()) === 60, 60_000);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

test('a box on the heatmap says what its requests have in common, and leads to their traces', async () => {
  const { page, context, wrongs } = await open(browser, server);
  await page.goto(`${server.http}/services/web?from=now-5m`);
  const heat = page.locator('.heatmap');
  await heat.waitFor();
  await settle(page);
  const box = await heat.boundingBox();
  await page.mouse.move(box.x + box.width * 0.4, box.y + 4);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width - 4, box.y + 28, { steps: 6 });
  await page.mouse.up();
  const rows = page.getByRole('group', { name: 'What differs' }).locator('tbody tr');
  await rows.first().waitFor();
  assert.match(await rows.first().textContent(), /app\.card (amex|visa)/);
  assert.match(page.url(), /box=\d+%2C\d+%2C0\.5/);
  await isAccessible(page, 'compare');
  await shoot(page, 'compare-wide-light');
  const copied = page.url();
  await page.getByRole('link', { name: 'amex' }).click();
  await page.locator('h1', { hasText: /^Traces$/ }).waitFor();
  assert.match(page.url(), /attribute=app\.card%3Damex/);
  await page.goto(copied);
  await page.locator('.examples a').first().click();
  await page.locator('h1', { hasText: /^Trace$/ }).waitFor();
  await isClean(page, wrongs, 'compare');
  await context.close();
});

test('a box is drawn by keyboard too, and taken away', async () => {
  const { page, context, wrongs } = await open(browser, server);
  await page.goto(`${server.http}/services/web?from=now-5m`);
  const heat = page.locator('.heatmap');
  await heat.waitFor();
  await settle(page);
  await heat.focus();
  for (let n = 0; n < 20; n += 1) await page.keyboard.press('ArrowUp');
  for (let n = 0; n < 20; n += 1) await page.keyboard.press('Shift+ArrowLeft');
  await page.keyboard.press('Enter');
  await page.getByRole('region', { name: 'What differs in the box' }).waitFor();
  await page.getByRole('button', { name: 'Close the comparison' }).click();
  assert.doesNotMatch(page.url(), /box=/);
  await isClean(page, wrongs, 'box by keyboard');
  await context.close();
});

test('a point of a chart is a trace', async () => {
  const { page, context, wrongs } = await open(browser, server);
  const exemplars = page.waitForResponse(/query_exemplars/);
  await page.goto(`${server.http}/services/web?from=now-5m`);
  await exemplars;
  await settle(page);
  const plot = page.getByRole('region', { name: 'Durations', exact: true }).locator('.plot');
  const over = await plot.locator('.u-over').boundingBox();
  // Where diamonds are, their colour is.
  const spot = async () =>
    plot.locator('canvas').evaluate((canvas) => {
      const { data, width } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      const probe = document.createElement('i');
      probe.style.color = 'var(--c3)';
      document.body.append(probe);
      const [r, g, b] = getComputedStyle(probe).color.match(/\d+/g).map(Number);
      probe.remove();
      const box = canvas.getBoundingClientRect();
      for (let at = 0; at < data.length; at += 4) if (data[at] === r && data[at + 1] === g && data[at + 2] === b) return { x: box.x + ((at / 4) % width) / devicePixelRatio, y: box.y + Math.floor(at / 4 / width) / devicePixelRatio };
      return null;
    });
  let found = null;
  await until('a diamond is drawn', async () => (found = await spot()) !== null);
  assert.ok(found.y < over.y + over.height);
  await page.mouse.click(found.x, found.y + 2);
  await page.locator('h1', { hasText: /^Trace$/ }).waitFor();
  await page.locator('.span.open').waitFor();
  assert.match(page.url(), /span=[0-9a-f]{16}/);
  await isClean(page, wrongs, 'point');
  await context.close();
});

test('an alert and a service lead to their traces', async () => {
  const { page, context, wrongs } = await open(browser, server, { size: 'phone' });
  await page.goto(`${server.http}/alerts`);
  await page.getByRole('link', { name: 'Paying is slow' }).first().tap();
  await page.getByRole('link', { name: 'Traces', exact: true }).tap();
  await page.locator('h1', { hasText: /^Traces$/ }).waitFor();
  assert.match(page.url(), /service=web&from=20/);
  await page.goto(`${server.http}/services/web?from=now-5m`);
  await page.getByRole('group', { name: 'Traces of web' }).waitFor();
  await fits(page, 'service');
  await page.getByRole('link', { name: 'All its traces' }).tap();
  await page.locator('h1', { hasText: /^Traces$/ }).waitFor();
  await isClean(page, wrongs, 'links');
  await context.close();
});
