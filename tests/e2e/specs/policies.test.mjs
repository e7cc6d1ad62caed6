// Policies are read, made, edited beside others, turned off, taken back and brought back.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { but, isAccessible, isClean, launch, open, settle, shoot, well } from '../support/browser.mjs';
import { change, policies, policy } from '../support/policies.mjs';
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

test('without a policy the page says what one is, and the first is made by keyboard', async () => {
  const { page, context, wrongs } = await open(browser, server, { size: 'phone' });
  await page.goto(`${server.http}/policies`);
  await page.getByText('There is no policy yet.').waitFor();
  await shoot(page, 'policies-none-phone-light');
  await well(page, wrongs, 'no policies');
  await page.getByRole('link', { name: 'New policy' }).focus();
  await page.keyboard.press('Enter');
  await page.getByLabel('Name', { exact: true }).focus();
  await page.keyboard.type('Short baskets');
  assert.equal(await page.getByLabel('Id', { exact: true }).inputValue(), 'short_baskets');
  await page.getByLabel('Key space').focus();
  await page.keyboard.type('baskets');
  await page.getByLabel('Fresh in memory for').focus();
  await page.keyboard.type('90s');
  await page.getByText('An entry is fresh in memory for 90 s.').waitFor();
  await page.getByText('Memory holds at most 64 MiB. default').waitFor();
  await page.getByLabel('Your name').focus();
  await page.keyboard.type('Ada');
  await page.keyboard.press('Tab');
  await page.keyboard.type('baskets change often');
  await page.locator('button.primary:enabled', { hasText: 'Create' }).waitFor();
  await page.keyboard.press('Enter');
  await page.getByText('revision 1 by Ada').waitFor();
  assert.match(page.url(), /\/policies\/short_baskets$/);
  const { author, reason, cache, selector } = await policy(server, 'short_baskets');
  assert.deepEqual([author, reason, cache.l1Ttl, selector.target], ['Ada', 'baskets change often', '1m30s', 'baskets']);
  await shoot(page, 'policy-made-phone-light');
  await well(page, wrongs, 'a policy was made');
  await context.close();
});

test('the server names what is wrong at its field, and says what changes before it is saved', async () => {
  await policies(server);
  const { page, context, wrongs } = await open(browser, server);
  await page.goto(`${server.http}/policies/prices`);
  await settle(page);
  await page.getByLabel('Items in a batch, at most').fill('0');
  await page.getByText('must be 1 to 100000, not 0').waitFor();
  await page.getByText('Limits', { exact: true }).first().click();
  await page.getByLabel('A call may take').first().fill('soon');
  await page.getByText(/must be a span of time/).waitFor();
  assert.equal(await page.getByLabel('A call may take').first().getAttribute('aria-invalid'), 'true');
  assert.ok(await page.getByRole('button', { name: 'Save' }).isDisabled());
  await shoot(page, 'policy-wrong-wide-light');
  await well(page, but(wrongs, 400), 'a policy that is wrong');
  await page.getByLabel('A call may take').first().fill('');
  await page.getByLabel('Items in a batch, at most').fill('200');
  await page.getByLabel('Bytes in a batch, at most').fill('512 KiB');
  const changes = page.getByRole('list', { name: 'What changes' });
  await changes.getByText('200').waitFor();
  assert.deepEqual((await changes.locator('li').allInnerTexts()).map((line) => line.replace('\n', ' ')), ['Bytes in a batch, at most 1 MiB (default) → 512 KiB', 'Items in a batch, at most 100 → 200']);
  await page.getByLabel('Your name').fill('Linus');
  await page.getByLabel('Why').fill('fewer calls');
  await shoot(page, 'policy-changes-wide-light');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Prices is saved as revision 2.').waitFor();
  await page.getByRole('region', { name: 'History' }).getByText('“fewer calls”').waitFor();
  await page.getByText(/^Linus, /).first().waitFor();
  assert.equal((await policy(server, 'prices')).batch.maxBytes, 524_288);
  await context.close();
});

test('an edit of a revision that is old by now is told, and nothing of it is lost', async () => {
  const { page, context, wrongs } = await open(browser, server);
  await page.goto(`${server.http}/policies/users`);
  await page.getByLabel('Fresh in memory for').fill('5m');
  await page.getByLabel('Fresh in Redis for').fill('2h');
  await page.getByLabel('Your name').fill('Ada');
  await change(server, 'users', { name: 'All users', cache: { l1Ttl: '3m', l2Ttl: '30m', l1MaxBytes: 33_554_432 } }, 'Grace', 'calmer nights');
  await page.locator('button.primary:enabled', { hasText: 'Save' }).click();
  const stale = page.getByRole('alert');
  await stale.getByText('Grace saved revision 3 meanwhile.').waitFor();
  await stale.getByText('calmer nights').waitFor();
  await stale.getByText('both changed it').waitFor();
  assert.equal(await page.getByLabel('Fresh in Redis for').inputValue(), '2h');
  await shoot(page, 'policy-stale-wide-light');
  await well(page, but(wrongs, 409), 'a stale edit');
  assert.ok(await page.getByRole('button', { name: 'Save' }).isDisabled(), 'it would be refused again');
  await page.getByRole('button', { name: 'Keep my edit, on top of it' }).click();
  assert.equal(await page.getByLabel('Name', { exact: true }).inputValue(), 'All users');
  await page.locator('button.primary:enabled', { hasText: 'Save' }).click();
  await page.getByText('All users is saved as revision 4.').waitFor();
  const { name, cache } = await policy(server, 'users');
  assert.deepEqual([name, cache.l1Ttl, cache.l2Ttl, cache.l1MaxBytes], ['All users', '5m', '2h', 33_554_432]);
  await context.close();
});

test('a policy goes back to what it was once that was seen, and back into being after its end', async () => {
  const { page, context, wrongs } = await open(browser, server, { theme: 'dark' });
  await page.goto(`${server.http}/policies/users`);
  await page.getByRole('button', { name: 'Back to revision 1' }).click();
  const dialog = page.getByRole('dialog', { name: 'Back to revision 1' });
  await dialog.getByText('Served when loading fails').waitFor();
  assert.match(await dialog.getByRole('list', { name: 'What changes' }).innerText(), /Fresh in memory for\s+5 min → 1 min/);
  await shoot(page, 'policy-revert-wide-dark');
  await isAccessible(page, 'revert');
  await dialog.getByRole('button', { name: 'Make it the newest' }).click();
  await page.getByText('revision 5 by').waitFor();
  assert.equal(await page.getByLabel('Fresh in memory for').inputValue(), '1m');
  assert.equal((await policy(server, 'users')).cache.grace, '5m');
  page.once('dialog', (asked) => void asked.accept());
  await page.getByRole('button', { name: 'Delete' }).click();
  await page.locator('h1', { hasText: 'Policies' }).waitFor();
  assert.equal(await page.getByRole('link', { name: 'All users' }).count(), 0);
  await page.goto(`${server.http}/policies/users`);
  await page.getByText('The policy users was deleted.').waitFor();
  await page.getByRole('button', { name: 'Back to revision 4' }).click();
  await page.getByRole('button', { name: 'Make it the newest' }).click();
  await page.getByText('revision 7 by').waitFor();
  assert.equal((await policy(server, 'users')).cache.l1Ttl, '5m');
  await isClean(page, but(wrongs, 404), 'revert');
  await context.close();
});

test('the kill switch acts at once, and leaves an edit as it is', async () => {
  const { page, context, wrongs } = await open(browser, server, { size: 'phone' });
  await page.goto(`${server.http}/policies/users`);
  await page.getByLabel('Fresh in memory for').fill('7m');
  await page.getByRole('button', { name: 'Turn off' }).tap();
  await page.getByText('It is off: instances go back to what is in their code.').waitFor();
  assert.equal(await page.getByLabel('Fresh in memory for').inputValue(), '7m');
  const { enabled, cache, reason } = await policy(server, 'users');
  assert.deepEqual([enabled, cache.l1Ttl, reason], [false, '5m', 'turned off']);
  await well(page, wrongs, 'off');
  await page.goto(`${server.http}/policies`);
  const toggle = page.getByRole('switch', { name: 'All users is on' });
  assert.equal(await toggle.isChecked(), false);
  await toggle.tap();
  await until('it is on', async () => (await policy(server, 'users')).enabled);
  await well(page, wrongs, 'the list');
  await context.close();
});

test('the palette finds a policy', async () => {
  const { page, context } = await open(browser, server);
  await page.goto(`${server.http}/policies`);
  await settle(page);
  await page.keyboard.press('/');
  await page.keyboard.type('all users');
  await page.getByRole('option', { name: 'All users policy' }).waitFor();
  await page.keyboard.press('Enter');
  await page.locator('h1', { hasText: 'Policy users' }).waitFor();
  await context.close();
});
