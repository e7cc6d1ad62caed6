// Every page, on a desk and on a phone, by day and by night: it works, fits, is accessible and says nothing on the console.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fits, isAccessible, isClean, launch, open, settle, shoot } from '../support/browser.mjs';
import { alerts, hook } from '../support/alerts.mjs';
import { policies } from '../support/policies.mjs';
import { Server, until } from '../support/server.mjs';
import { batchers, caches } from '../support/targets.mjs';
import { payments } from '../support/traces.mjs';

const PAGES = [
  ['overview', '/', 'Overview'],
  ['start', '/start?language=collector', 'Send data'],
  ['services', '/services', 'Services'],
  ['service', '/services/storefront', 'storefront'],
  ['service-ai', '/services/recommender?compare=1', 'recommender'],
  ['explore', '/explore?metric=http.server.request.duration&by=http_route', 'Explore'],
  ['explore-empty', '/explore', 'Explore'],
  ['service-compare', '/services/web?box=BOX', 'web'],
  ['traces', '/traces', 'Traces'],
  ['traces-table', '/traces?error=true&order=slowest&view=table', 'Traces'],
  ['traces-none', '/traces?service=nobody&attribute=a%3Db', 'Traces'],
  ['trace', '/traces/TRACE', 'Trace'],
  ['trace-path', '/traces/TRACE?path=1&hide=1&zoom=0.1-0.9', 'Trace'],
  ['graph', '/graph', 'Service graph'],
  ['graph-table', '/graph?view=table&around=storefront', 'Service graph'],
  ['alerts', '/alerts', 'Alerts'],
  ['alert', '/alerts/ID', 'Alert'],
  ['history', '/alerts/history', 'Alert history'],
  ['rules', '/alerts/rules', 'Rules'],
  ['rule', '/alerts/rules/high_response_time', 'Rule high_response_time'],
  ['rule-new', '/alerts/rules/new', 'New rule'],
  ['silences', '/silences', 'Silences'],
  ['silence-new', '/silences?new=%7B%22service_name%22%3A%22storefront%22%7D', 'Silences'],
  ['receivers', '/receivers', 'Receivers'],
  ['receiver-new', '/receivers?edit=new', 'Receivers'],
  ['receiver-edit', '/receivers?edit=on-call', 'Receivers'],
  ['policies', '/policies', 'Policies'],
  ['policy', '/policies/users', 'Policy users'],
  ['policy-new', '/policies/new?kind=batch&target=mails', 'New policy'],
  ['cache', '/cache', 'Cache'],
  ['cache-one', '/cache?service=shop&name=users', 'Cache'],
  ['batch', '/batch', 'Batching'],
  ['batch-one', '/batch?service=shop&name=prices', 'Batching'],
  ['system', '/system', 'System'],
  ['not-found', '/nothing/here', 'Not found'],
];

let server;
let browser;
let closeShop;
let closeTargets;
let receiver;
let alert;
let trace;

before(async () => {
  receiver = await hook();
  server = await Server.start({ ...receiver.environment, FASTBREAK_TRACE_WAIT: '1s', FASTBREAK_TRACE_SAMPLES: '1000' });
  closeShop = server.demo();
  browser = await launch();
  const seen = async (query) => {
    const answer = await fetch(`${server.http}/prometheus/api/v1/query?query=${encodeURIComponent(query)}`);
    return (await answer.json()).data.result.length > 0;
  };
  await until('the shop is open', () => seen('histogram_quantile(0.95, sum(rate(gen_ai_client_operation_duration_seconds[1m])))'), 60_000);
  await policies(server);
  closeTargets = [await batchers(server), await caches(server)];
  alert = await alerts(server, receiver);
  trace = (await payments(server, 60)).error;
  await until('there is a minute to see', async () => (await seen('sum(http_server_active_requests offset 40s)')), 90_000);
});

after(async () => {
  await browser?.close();
  closeTargets?.forEach((close) => close());
  await closeShop?.();
  await server?.stop();
  receiver?.close();
});

for (const size of ['wide', 'phone']) {
  for (const theme of ['light', 'dark']) {
    test(`every page is well: ${size}, ${theme}`, async (t) => {
      const { page, context, wrongs } = await open(browser, server, { size, theme });
      for (const [name, path, title] of PAGES) {
        await t.test(name, async () => {
          const range = `${path.includes('?') ? '&' : '?'}from=now-5m`;
          const box = `${Date.now() - 300_000},${Date.now()},0.5,2.5`;
          await page.goto(server.http + path.replace('ID', alert).replace('TRACE', trace).replace('BOX', box) + range);
          await settle(page);
          assert.equal(await page.locator('h1').textContent(), title);
          await shoot(page, `${name}-${size}-${theme}`);
          await isClean(page, wrongs, path);
          await fits(page, path);
          await isAccessible(page, path);
        });
      }
      await context.close();
    });
  }
}

test('the page is sent compressed, kept by its hash, and asked for anew by its name', async () => {
  const page = await fetch(server.http, { headers: { 'accept-encoding': 'br' } });
  assert.equal(page.headers.get('cache-control'), 'no-cache');
  assert.equal(page.headers.get('content-encoding'), 'br');
  const again = await fetch(server.http, { headers: { 'accept-encoding': 'br', 'if-none-match': page.headers.get('etag') } });
  assert.equal(again.status, 304);
  const [asset] = (await page.text()).match(/\/assets\/[^"]+\.js/);
  const script = await fetch(server.http + asset, { headers: { 'accept-encoding': 'gzip' } });
  assert.equal(script.headers.get('cache-control'), 'public, max-age=31536000, immutable');
  assert.equal(script.headers.get('content-encoding'), 'gzip');
  assert.match(script.headers.get('content-security-policy'), /trusted-types 'none'/);
});
