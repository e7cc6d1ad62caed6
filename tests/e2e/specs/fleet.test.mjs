// Instances that watch: what each runs and refuses; a rollout that goes on, pauses and goes back; overrides; invalidations.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { isAccessible, isClean, launch, open, settle, shoot, well } from '../support/browser.mjs';
import { watching } from '../support/instances.mjs';
import { policies, policy, put } from '../support/policies.mjs';
import { Server, until } from '../support/server.mjs';
import { caches } from '../support/targets.mjs';

let server;
let browser;
const ends = [];

before(async () => {
  server = await Server.start();
  await policies(server);
  browser = await launch();
  for (let n = 1; n <= 8; n += 1) ends.push(watching(server, { service: 'shop', instance: `shop-${n}`, labels: { region: n % 2 ? 'eu' : 'us' } }));
  ends.push(watching(server, { service: 'shop', instance: 'shop-old', version: '0.9.0', refuses: (id) => (id === 'users' ? 'grace is not known to this version' : '') }));
});

after(async () => {
  await browser?.close();
  ends.forEach((end) => end());
  await server?.stop();
});

test('each instance is shown with what it runs, and one that refuses with its reason', async () => {
  const { page, context, wrongs } = await open(browser, server);
  await page.goto(`${server.http}/policies/users`);
  const fleet = page.getByRole('region', { name: 'Instances' });
  await fleet.getByText('8 of 9 run what they are to, 1 refused it.').waitFor();
  await fleet.getByText('grace is not known to this version').waitFor();
  assert.match(await fleet.getByRole('row').nth(1).innerText(), /shop-old/, 'what needs a look comes first');
  const lost = watching(server, { service: 'shop', instance: 'shop-lost' });
  await fleet.getByText('9 of 10 run').waitFor();
  lost();
  await fleet.getByText('1 away').waitFor();
  await settle(page);
  await shoot(page, 'fleet-wide-light');
  await well(page, wrongs, 'fleet');
  await context.close();
});

test('an edit is rolled out in stages, paused, promoted and rolled back', async () => {
  const { page, context, wrongs } = await open(browser, server);
  await page.goto(`${server.http}/policies/users`);
  await page.getByLabel('Fresh in memory for').fill('4m');
  await page.getByRole('button', { name: 'In stages' }).click();
  await page.getByLabel('% of instances').fill('few, 100');
  await page.locator('button.primary:enabled', { hasText: 'Start the rollout' }).click();
  await page.getByRole('alert').getByText(/stages\[0\]\.percent/).waitFor();
  await page.getByLabel('% of instances').fill('30, 100');
  await page.getByLabel('Your name').fill('Ada');
  await page.getByLabel('Why').fill('more hits');
  await shoot(page, 'rollout-plan-wide-light');
  await well(page, wrongs.filter((wrong) => !wrong.includes('400')), 'a plan');
  await page.locator('button.primary:enabled', { hasText: 'Start the rollout' }).click();
  await page.getByText('Revision 3 is rolled out in stages.').waitFor();
  const rollout = page.getByRole('region', { name: 'Rollout' });
  await rollout.getByText('revision 2 → 3, goes on').waitFor();
  await rollout.getByText(/^[1-7] of [89] instances have it/).waitFor();
  await rollout.getByRole('listitem').filter({ hasText: '30%' }).waitFor();
  await rollout.getByText('Hit ratio').waitFor();
  await rollout.getByRole('button', { name: 'Pause' }).click();
  await rollout.getByText('revision 2 → 3, is paused').waitFor();
  await settle(page);
  await shoot(page, 'rollout-wide-light');
  await isAccessible(page, 'a rollout');
  await rollout.getByRole('button', { name: 'Resume' }).click();
  await rollout.getByText('revision 2 → 3, goes on').waitFor();
  await rollout.getByRole('button', { name: 'To the next stage' }).click();
  await page.getByRole('region', { name: 'Instances' }).getByText(/revision 3 on [89]/).waitFor();
  page.once('dialog', (asked) => void asked.accept());
  await rollout.getByRole('button', { name: 'Roll back' }).click();
  await rollout.getByText('revision 2 → 3, was rolled back').waitFor();
  await until('it is as it was', async () => (await policy(server, 'users')).cache.l1Ttl === '2m');
  await until('the form shows it', async () => (await page.getByLabel('Fresh in memory for').inputValue()) === '2m');
  await isClean(page, wrongs.filter((wrong) => !wrong.includes('400')), 'a rollout');
  await context.close();
});

test('an override is shown with its end, and ended', async () => {
  await put(server, '/api/overrides', { policyId: 'users', adjustment: { ttlFactor: 2, serveStale: '5m' }, lease: '2m' }, 'Grace', 'the database is slow');
  const { page, context, wrongs } = await open(browser, server, { size: 'phone', theme: 'dark' });
  await page.goto(`${server.http}/policies/users`);
  const overrides = page.getByRole('region', { name: 'Overrides' });
  await overrides.getByText('lives × 2, serves stale for 5 min').waitFor();
  await overrides.getByText('the database is slow').waitFor();
  await page.getByRole('region', { name: 'Instances' }).getByText('overridden').first().waitFor();
  await settle(page);
  await shoot(page, 'override-phone-dark');
  await well(page, wrongs, 'an override');
  await overrides.getByRole('button', { name: 'End it' }).tap();
  await overrides.getByText('none now').waitFor();
  await isClean(page, wrongs, 'an override that ended');
  await context.close();
});

test('entries are made invalid, and the page tells when nobody reads an old one', async () => {
  ends.push(await caches(server));
  const deaf = watching(server, { service: 'shop', instance: 'shop-deaf', isDeaf: true });
  ends.push(deaf);
  await until('it is heard', async () => (await (await fetch(`${server.http}/api/fleet`)).json()).some(({ instance }) => instance === 'shop-deaf'));
  const { page, context, wrongs } = await open(browser, server);
  await page.goto(`${server.http}/cache?service=shop&name=users&from=now-5m`);
  const panel = page.getByRole('region', { name: 'Invalidations' });
  await panel.getByRole('button', { name: 'Make entries invalid' }).click();
  assert.equal(await panel.getByLabel('Key space').inputValue(), 'users');
  await panel.getByLabel('Which, between commas').fill('user-7, user-9');
  await panel.getByLabel('Your name').fill('Ada');
  await panel.getByLabel('Why').fill('they moved');
  await panel.getByRole('button', { name: 'Make invalid', exact: true }).click();
  await panel.getByText('keys user-7, user-9 of users, shop').waitFor();
  await panel.getByText(/9 have it, waits for shop\/shop-deaf/).waitFor();
  deaf();
  await panel.getByText(/^everywhere after/).waitFor();
  await panel.getByText(/they moved/).waitFor();
  await settle(page);
  await shoot(page, 'invalidations-wide-light');
  await well(page, wrongs, 'invalidations');
  await context.close();
});
