// Keys are loaded ahead: by whom, what came of it, and who has not answered; nobody to ask is told in words.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { but, fits, isClean, launch, open, settle, shoot, well } from '../support/browser.mjs';
import { watching } from '../support/instances.mjs';
import { policies } from '../support/policies.mjs';
import { Server, until } from '../support/server.mjs';
import { caches } from '../support/targets.mjs';

let server;
let browser;
let answerNow;
const ends = [];
const asked = [];

before(async () => {
  server = await Server.start();
  await policies(server);
  browser = await launch();
  ends.push(await caches(server));
});

after(async () => {
  await browser?.close();
  await Promise.all(ends.map((end) => end()));
  await server?.stop();
});

const heard = (instance) => until(`${instance} is heard`, async () => (await (await fetch(`${server.http}/api/fleet`)).json()).some((one) => one.instance === instance));

/** As if it came out of the clipboard: the browser types ten thousand lines for minutes. */
const paste = (field, text) => field.evaluate((input, pasted) => {
  input.value = pasted;
  input.dispatchEvent(new InputEvent('input', { bubbles: true, inputType: 'insertFromPaste' }));
}, text);

test('without an instance there is nobody to load keys', async () => {
  const { page, context, wrongs } = await open(browser, server);
  await page.goto(`${server.http}/cache?service=shop&name=users&from=now-5m`);
  const panel = page.getByRole('region', { name: 'Warming' });
  await panel.getByText('One instance of each service loads the keys').waitFor();
  await panel.getByRole('button', { name: 'Load keys ahead' }).click();
  assert.equal(await panel.getByLabel('Service').inputValue(), 'shop');
  assert.equal(await panel.getByLabel('Key space').inputValue(), 'users');
  assert.ok(await panel.getByRole('button', { name: 'Load them' }).isDisabled());
  await panel.getByLabel('Keys, one a line').fill('user-7');
  await panel.getByRole('button', { name: 'Load them' }).click();
  await panel.getByRole('alert').getByText('No instance of “shop” is connected: there is nobody to load keys.').waitFor();
  await panel.getByLabel('Service').fill('');
  await panel.getByLabel('Key space').fill('x'.repeat(300));
  await panel.getByRole('button', { name: 'Load them' }).click();
  await panel.getByText(/^must be 1 to \d+, not 300$/).waitFor();
  assert.equal(await panel.getByLabel('Key space').getAttribute('aria-invalid'), 'true');
  await well(page, but(but(wrongs, 404), 400), 'nobody to load keys');
  await context.close();
});

test('keys are counted as they are typed, loaded, and each instance is followed until it has answered', async () => {
  const later = new Promise((resolve) => (answerNow = resolve));
  ends.push(watching(server, { service: 'shop', instance: 'shop-1', warms: async (keySpace, keys) => {
    asked.push([keySpace, keys]);
    return keySpace === 'users' ? [keys.length - 1, 1] : [0, keys.length];
  } }));
  ends.push(watching(server, { service: 'shop-eu', instance: 'eu-1', warms: async (_, keys) => later.then(() => [keys.length, 0]) }));
  await Promise.all(['shop-1', 'eu-1'].map(heard));
  const { page, context, wrongs } = await open(browser, server);
  await page.goto(`${server.http}/cache?from=now-5m`);
  const panel = page.getByRole('region', { name: 'Warming' });
  await panel.getByRole('button', { name: 'Load keys ahead' }).focus();
  await page.keyboard.press('Enter');
  await page.keyboard.press('Tab');
  await page.keyboard.type('shop*');
  await page.keyboard.press('Tab');
  await page.keyboard.type('users');
  await page.keyboard.press('Tab');
  await page.keyboard.type('user-7\nuser,8\nuser-7\n');
  await panel.getByText('2 of at most 10,000 keys').waitFor();
  const keys = panel.getByLabel('Keys, one a line');
  await paste(keys, Array.from({ length: 10_002 }, (_, n) => n).join('\n'));
  await panel.getByText('2 too many').waitFor();
  assert.ok(await panel.getByRole('button', { name: 'Load them' }).isDisabled());
  await paste(keys, 'user-7\nuser,8\nuser-9');
  await keys.focus();
  await settle(page);
  await shoot(page, 'warming-form-wide-light');
  await well(page, wrongs, 'a warming');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await panel.getByText('3 keys of users: 1 of 2 instances have answered.').waitFor();
  await panel.getByText('loads, or has not answered yet').waitFor();
  assert.match(await panel.getByRole('row', { name: /^shop-1/ }).innerText(), /2\s+1\s+its source did not give all/);
  assert.deepEqual(asked[0], ['users', ['user-7', 'user,8', 'user-9']]);
  answerNow();
  await panel.getByText('3 keys of users: 2 of 2 instances have answered.').waitFor();
  assert.match(await panel.getByRole('row', { name: /^eu-1/ }).innerText(), /3\s+0\s+loaded/);
  await settle(page);
  await shoot(page, 'warming-wide-light');
  await well(page, wrongs, 'a warming that is done');
  await page.reload();
  await panel.getByText('3 keys of users: 2 of 2 instances have answered.').waitFor();
  await context.close();
});

test('a key space that nobody has is told in words', async () => {
  for (const [size, theme] of [['wide', 'dark'], ['phone', 'light'], ['phone', 'dark']]) {
    const { page, context, wrongs } = await open(browser, server, { size, theme });
    await page.goto(`${server.http}/cache?service=shop&name=users&from=now-5m`);
    const panel = page.getByRole('region', { name: 'Warming' });
    await panel.getByRole('button', { name: 'Load keys ahead' }).click();
    await panel.getByLabel('Key space').fill('nothing');
    await panel.getByLabel('Keys, one a line').fill('a\nb');
    await settle(page);
    await shoot(page, `warming-form-${size}-${theme}`);
    await panel.getByRole('button', { name: 'Load them' }).click();
    await panel.getByText('no such key space, or its source gave none').waitFor();
    await panel.getByText('2 keys of nothing: the instance has answered.').waitFor();
    await settle(page);
    await shoot(page, `warming-${size}-${theme}`);
    await well(page, wrongs, `a key space that nobody has, ${size} ${theme}`);
    await page.setViewportSize({ width: 360, height: 740 });
    // Charts are drawn anew a moment later.
    await until('it fits 360 px', () => page.evaluate(() => document.documentElement.scrollWidth <= 360));
    await fits(page, 'a warming at 360 px');
    await context.close();
  }
});

test('an instance of the Rust SDK loads what its source has', async () => {
  ends.push(server.demo());
  await until('the shop is heard', async () => (await (await fetch(`${server.http}/api/fleet?service=inventory`)).json()).some(({ connected }) => connected));
  const { page, context, wrongs } = await open(browser, server);
  await page.goto(`${server.http}/cache?from=now-5m`);
  const panel = page.getByRole('region', { name: 'Warming' });
  await panel.getByRole('button', { name: 'Load keys ahead' }).click();
  await panel.getByLabel('Service').fill('inventory');
  await panel.getByLabel('Key space').fill('products');
  await panel.getByLabel('Keys, one a line').fill('7\n9\nnot a number');
  await panel.getByRole('button', { name: 'Load them' }).click();
  await panel.getByText('3 keys of products: the instance has answered.').waitFor();
  assert.match(await panel.getByRole('row', { name: /inventory/ }).innerText(), /2\s+1\s+its source did not give all/);
  await isClean(page, wrongs, 'a warming of the shop');
  await context.close();
});
