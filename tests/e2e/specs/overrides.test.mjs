// A policy is changed for a while by hand: tried, put, renewed, ended; and what ended is told.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { but, fits, isClean, launch, open, settle, shoot, well } from '../support/browser.mjs';
import { policies, put } from '../support/policies.mjs';
import { Server, until } from '../support/server.mjs';

let server;
let browser;

before(async () => {
  server = await Server.start();
  await policies(server);
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const running = async (policy) => (await fetch(`${server.http}/api/overrides?policy=${policy}`)).json();
const ended = async (policy) => (await fetch(`${server.http}/api/policies/${policy}/ended-overrides`)).json();
const end = (id, author, reason) => fetch(`${server.http}/api/overrides/${id}?${new URLSearchParams({ author, reason })}`, { method: 'DELETE' });

test('an override is tried before it is put, by keyboard, then renewed and ended', async () => {
  const { page, context, wrongs } = await open(browser, server);
  await page.goto(`${server.http}/policies/users`);
  const panel = page.getByRole('region', { name: 'Overrides' });
  await panel.getByText('none now').waitFor();
  await panel.getByRole('button', { name: 'Change for a while' }).focus();
  await page.keyboard.press('Enter');
  await panel.getByText('Say what is to change.').waitFor();
  await page.keyboard.press('Tab');
  await page.keyboard.type('0');
  await panel.getByText('must be 0.001 to 1000, not 0').waitFor();
  assert.equal(await panel.getByLabel('Lives ×').getAttribute('aria-invalid'), 'true');
  await panel.getByLabel('Serve stale for').fill('soon');
  await panel.getByText(/must be a span of time/).waitFor();
  await panel.getByLabel('Serve stale for').fill('5m');
  await panel.getByLabel('Lives ×').fill('3');
  await panel.getByLabel('How long').fill('2h');
  await panel.getByText(/must be .* to 1h, not 2h/).waitFor();
  assert.ok(await panel.getByRole('button', { name: 'Put it in force' }).isDisabled());
  await settle(page);
  await shoot(page, 'override-wrong-wide-light');
  await well(page, but(wrongs, 400), 'an override that is wrong');
  await panel.getByLabel('How long').fill('1m');
  const changes = panel.getByRole('list', { name: 'What would be in force' });
  assert.match(await changes.getByRole('listitem').filter({ hasText: 'Fresh in memory for' }).innerText(), /2 min\s*→\s*6 min/);
  assert.match(await changes.getByRole('listitem').filter({ hasText: 'Served when loading fails' }).innerText(), /→\s*5 min/);
  await panel.getByText('Say why.').waitFor();
  assert.deepEqual(await running('users'), [], 'nothing is put yet');
  await panel.getByLabel('Your name').fill('Ada');
  await panel.getByLabel('Why').fill('the database is slow');
  await settle(page);
  await shoot(page, 'override-form-wide-light');
  await well(page, but(wrongs, 400), 'an override that is tried');
  await page.keyboard.press('Enter');
  await panel.getByText('lives × 3, serves stale for 5 min').waitFor();
  await panel.getByText('Ada: the database is slow').waitFor();
  assert.equal(await panel.getByLabel('Why').count(), 0, 'the form is folded away');
  const [first] = await running('users');
  assert.deepEqual([first.author, first.reason, first.lease], ['Ada', 'the database is slow', '1m']);
  await panel.getByRole('button', { name: 'Renew' }).click();
  await page.getByText('The override is renewed.').waitFor();
  const [second] = await running('users');
  assert.ok(second.id === first.id && second.expiresAt > first.expiresAt, 'it ends later');
  assert.deepEqual([second.reason, second.adjustment], [first.reason, first.adjustment]);
  await panel.getByRole('button', { name: 'End it' }).click();
  const over = panel.getByRole('list', { name: 'Overrides that ended' });
  await over.getByText('Ada: ended by hand').waitFor();
  await over.getByText('Ada: the database is slow').waitFor();
  await panel.getByText('none now').waitFor();
  assert.deepEqual(await running('users'), []);
  await isClean(page, but(wrongs, 400), 'an override by hand');
  await context.close();
});

test('of a batcher the rate and the concurrency are shrunk, within the bounds of its policy', async () => {
  const { page, context, wrongs } = await open(browser, server, { size: 'phone', theme: 'dark' });
  await page.goto(`${server.http}/policies/prices`);
  const panel = page.getByRole('region', { name: 'Overrides' });
  await panel.getByRole('button', { name: 'Change for a while' }).tap();
  await panel.getByLabel('Rate ×').fill('0.001');
  await panel.getByLabel('Batches at once ×').fill('0.5');
  const changes = panel.getByRole('list', { name: 'What would be in force' });
  await changes.getByRole('listitem').filter({ hasText: 'Batches at once' }).getByText('1', { exact: true }).waitFor();
  assert.match(await changes.getByRole('listitem').filter({ hasText: 'Calls a second' }).innerText(), /50\s*→\s*1$/, 'not below its bound');
  await settle(page);
  await shoot(page, 'override-form-phone-dark');
  await well(page, wrongs, 'an override of a batcher');
  await page.setViewportSize({ width: 360, height: 740 });
  await fits(page, 'an override at 360 px');
  await panel.getByLabel('Batches at once ×').fill('');
  await panel.getByLabel('Rate ×').fill('1');
  await panel.getByText('Nothing would change: it is so already, or at its bounds.').waitFor();
  await isClean(page, wrongs, 'an override of a batcher');
  await context.close();
});

test('those that ended are told, the newest first, and folded away when there are many', async () => {
  for (const n of [1, 2, 3, 4]) {
    const { id } = await put(server, '/api/overrides', { policyId: 'everything', adjustment: { ttlFactor: n + 1 }, lease: '10m' }, 'Grace', `try ${n}`);
    await end(id, 'Linus', n === 4 ? 'it is fast again' : '');
  }
  await put(server, '/api/overrides', { policyId: 'everything', adjustment: { serveStale: '9m' }, lease: '5s' }, 'Grace', 'for a moment');
  await until('its lease is over', async () => (await ended('everything')).length === 5);
  await put(server, '/api/overrides', { policyId: 'everything', adjustment: { ttlFactor: 2 }, lease: '30m' }, 'Grace', 'the night is long');
  for (const [size, theme] of [['wide', 'light'], ['wide', 'dark'], ['phone', 'light'], ['phone', 'dark']]) {
    const { page, context, wrongs } = await open(browser, server, { size, theme });
    await page.goto(`${server.http}/policies/everything`);
    const panel = page.getByRole('region', { name: 'Overrides' });
    const [newest, before] = [panel.getByRole('list', { name: 'Overrides that ended', exact: true }), panel.getByRole('list', { name: 'Overrides that ended before' })];
    await newest.getByText('its lease is over').waitFor();
    await newest.getByText('Linus: it is fast again').waitFor();
    assert.ok(!(await before.isVisible()), 'the others are folded away');
    await panel.getByText('3 before them').click();
    await before.getByText('ended by Linus').first().waitFor();
    assert.match(await before.getByRole('listitem').first().innerText(), /lives × 4[\s\S]*Grace: try 3/);
    await settle(page);
    await shoot(page, `overrides-ended-${size}-${theme}`);
    await well(page, wrongs, `ended overrides, ${size} ${theme}`);
    await context.close();
  }
});
