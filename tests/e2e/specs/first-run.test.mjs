// The first run: the page says how to begin, lights up when something arrives, and says why when it is refused.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { isAccessible, isClean, launch, open, settle, shoot } from '../support/browser.mjs';
import { Server, until } from '../support/server.mjs';

let server;
let browser;

before(async () => {
  server = await Server.start();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

test('the first run lights up within two seconds of the first export', async () => {
  const { page, wrongs } = await open(browser, server);
  await page.goto(server.http);
  await settle(page);
  await page.getByRole('heading', { name: 'Nothing has been sent yet' }).waitFor();
  await page.locator('.checklist .done', { hasText: 'The server listens' }).waitFor();
  assert.equal(await page.locator('.checklist .done').count(), 1);
  await isAccessible(page, 'first run');
  await shoot(page, 'first-run');

  const refused = await fetch(`${server.otlp}/v1/metrics`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"resourceMetrics":' });
  assert.equal(refused.status, 400);
  await page.locator('.problem', { hasText: 'The last refusal' }).waitFor();
  await shoot(page, 'first-run-refused');

  const sent = await server.send('my-service', 'my.queue', 3);
  assert.equal(sent.status, 200);
  const took = await until('the overview is there', async () => (await page.locator('.tiles').count()) > 0, 5000);
  assert.ok(took <= 2000, `lit up after ${took} ms`);
  await page.getByRole('link', { name: 'my-service' }).first().waitFor();
  console.log(`first run lit up ${took} ms after the first export was acknowledged`);
  await isClean(page, wrongs, 'first run');
});
