// Caches and batchers: all of them, one of them, the policy that is for it, and what to do where there is none.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fits, isClean, launch, open, settle, shoot, well } from '../support/browser.mjs';
import { policies } from '../support/policies.mjs';
import { Server, until } from '../support/server.mjs';
import { batchers, caches } from '../support/targets.mjs';

let server;
let browser;
const ends = [];

before(async () => {
  server = await Server.start();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  ends.forEach((end) => end());
  await server?.stop();
});

const cells = (page, name) => page.getByRole('row').filter({ has: page.getByRole('link', { name, exact: true }) }).locator('th, td').allInnerTexts();

for (const [path, words, metric] of [['/batch', 'No batcher has reported yet', 'fastbreak.batch.items'], ['/cache', 'No cache has reported yet', 'fastbreak.cache.requests']]) {
  test(`${path} says how the first appears`, async () => {
    const { page, context, wrongs } = await open(browser, server, { size: 'phone' });
    await page.goto(server.http + path);
    await page.getByText(words).waitFor();
    await page.getByText(metric).waitFor();
    await page.getByText(server.grpc).waitFor();
    await shoot(page, `${path.slice(1)}-none-phone-light`);
    await well(page, wrongs, path);
    await context.close();
  });
}

test('batchers are compared, one is looked at, and its policy is a key away', async () => {
  await policies(server);
  ends.push(await batchers(server));
  const { page, context, wrongs } = await open(browser, server);
  await page.goto(`${server.http}/batch?from=now-5m`);
  await page.getByRole('link', { name: 'prices', exact: true }).first().waitFor();
  const [, service, items, perCall, wait, , shared, , , , runs] = await cells(page, 'prices');
  assert.equal(service, 'shop');
  assert.match(items, /^(1(\.\d+)?k|[89]\d\d)\/s$/);
  assert.deepEqual([perCall, wait, shared], ['18', '8.5 ms', '24%']);
  assert.match(runs, /prices/);
  assert.match((await cells(page, 'mails')).at(-1), /its code/);
  await settle(page);
  await shoot(page, 'batch-wide-light');
  await well(page, wrongs, 'batchers');
  await page.keyboard.press('j');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'prices of shop' }).waitFor();
  await page.getByText('runs prices, revision 1').waitFor();
  await settle(page);
  await until('all charts are drawn', async () => (await page.locator('.plot').count()) === 9);
  await shoot(page, 'batch-one-wide-light');
  await well(page, wrongs, 'one batcher');
  await page.getByRole('link', { name: 'Edit the policy' }).focus();
  await page.keyboard.press('Enter');
  await page.locator('h1', { hasText: 'Policy prices' }).waitFor();
  await page.goBack();
  await page.goBack();
  await page.getByRole('link', { name: 'mails', exact: true }).click();
  await page.getByRole('link', { name: 'Edit the policy' }).waitFor({ state: 'detached' });
  await page.getByText('no policy is for it').waitFor();
  await page.getByRole('link', { name: 'Make a policy for it' }).click();
  await page.locator('h1', { hasText: 'New policy' }).waitFor();
  assert.equal(await page.getByLabel('Batcher', { exact: true }).inputValue(), 'mails');
  assert.equal(await page.getByLabel('Service', { exact: true }).inputValue(), 'mailer');
  await isClean(page, wrongs, 'from batchers to policies');
  await context.close();
});

test('key spaces are compared, and one says what another life would do', async () => {
  ends.push(await caches(server));
  const { page, context, wrongs } = await open(browser, server);
  await page.goto(`${server.http}/cache?from=now-5m`);
  await page.getByRole('link', { name: 'users', exact: true }).first().waitFor();
  const [, service, , hits, p95, , , , , , runs] = await cells(page, 'users');
  assert.deepEqual([service, hits], ['shop', '90%']);
  assert.match(p95, /ms$/);
  assert.match(runs, /users 2/);
  assert.equal((await cells(page, 'templates'))[3], '70%');
  await settle(page);
  await shoot(page, 'cache-wide-light');
  await well(page, wrongs, 'caches');
  await page.getByRole('link', { name: 'users', exact: true }).first().click();
  await page.getByText('2 min → 4 min: +12 points, +18 MiB').waitFor();
  await page.getByText('32 MiB → 64 MiB: no effect').waitFor();
  await page.getByText('runs users, revision 2').waitFor();
  await settle(page);
  await until('all charts are drawn', async () => (await page.locator('.plot').count()) === 11);
  await page.getByText('Nothing is written behind.').waitFor();
  const levels = page.getByRole('region', { name: 'Hit ratio by level' });
  for (const line of ['either level', 'memory', 'Redis, of what memory missed']) await levels.getByText(line, { exact: true }).waitFor();
  await shoot(page, 'cache-one-wide-light');
  await well(page, wrongs, 'one cache');
  await page.getByRole('link', { name: 'Edit the policy' }).click();
  await page.locator('h1', { hasText: 'Policy users' }).waitFor();
  await isClean(page, wrongs, 'from caches to policies');
  await context.close();
});

for (const [path, words] of [['/cache?service=shop&name=users', 'runs users'], ['/cache?service=mailer&name=templates', 'Too few reads were watched']]) {
  test(`${path} fits a phone, by night`, async () => {
    const { page, context, wrongs } = await open(browser, server, { size: 'phone', theme: 'dark' });
    await page.goto(`${server.http}${path}&from=now-5m`);
    await page.getByText(words).first().waitFor();
    await settle(page);
    await shoot(page, `${path.replace(/\W+/g, '-').slice(1)}-phone-dark`);
    await well(page, wrongs, path);
    await context.close();
  });
}

test('batchers fit a phone, by night', async () => {
  const { page, context, wrongs } = await open(browser, server, { size: 'phone', theme: 'dark' });
  await page.goto(`${server.http}/batch?service=shop&name=prices&from=now-5m`);
  await page.getByText('runs prices, revision').waitFor();
  await settle(page);
  await shoot(page, 'batch-one-phone-dark');
  await well(page, wrongs, 'batchers on a phone');
  await context.close();
});
