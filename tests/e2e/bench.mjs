// What the dashboard costs and how late it is, in a real browser on a real server with windows of one second.
// node bench.mjs [redraw] [ticks] [late] [waterfall] [grows]; all by default.
import { launch, open, settle } from './support/browser.mjs';
import { Server, until } from './support/server.mjs';
import { huge } from './support/traces.mjs';

/** As many ticks as thirty minutes have with windows of ten seconds. */
const HEAP_SECONDS = 180;
const SAMPLES = 60;
const SPANS = 100_000;
const results = [];

/** One line of the table; without a limit it is only told. */
function report(what, value, unit, limit = Infinity) {
  results.push({ what, value, unit, limit });
  console.log(`  ${what}: ${value.toFixed(1)} ${unit}`);
}

function table() {
  const rows = results.map(({ what, value, unit, limit }) => {
    const bound = limit === Infinity ? '' : `≤ ${limit} ${unit}`;
    return [what, `${value.toFixed(1)} ${unit}`, bound, limit === Infinity ? '' : value <= limit ? 'ok' : 'OVER'];
  });
  const all = [['what', 'measured', 'limit', ''], ...rows];
  const widths = all[0].map((_, at) => Math.max(...all.map((row) => row[at].length)));
  for (const row of all) console.log(`| ${row.map((cell, at) => cell.padEnd(widths[at])).join(' | ')} |`);
}

const quantile = (values, q) => [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.ceil(values.length * q) - 1)];
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Reads the browser's own counters, in seconds and bytes; they count from now on. */
async function counting(page) {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send('Performance.enable');
  const read = async () => Object.fromEntries((await cdp.send('Performance.getMetrics')).metrics.map(({ name, value }) => [name, value]));
  const collect = async () => {
    for (let turn = 0; turn < 3; turn += 1) await cdp.send('HeapProfiler.collectGarbage');
    return (await read()).JSHeapUsedSize;
  };
  /** With what typed arrays and the document hold outside of the script's heap. */
  const held = async () => {
    const { usedSize, backingStorageSize = 0, embedderHeapUsedSize = 0 } = await cdp.send('Runtime.getHeapUsage');
    return usedSize + backingStorageSize + embedderHeapUsedSize;
  };
  return { read, collect, held };
}

/** A chart of 100 000 points, drawn anew by a change of width. */
async function redraw(browser, server) {
  const { page, context } = await open(browser, server);
  await page.route('**/prometheus/api/v1/query_range', async (route) => {
    const start = Date.now() / 1000 - 3600;
    const values = Array.from({ length: 100_000 }, (_, n) => [start + n * 0.036, String(100 + 50 * Math.sin(n / 500) + (n % 17))]);
    await route.fulfill({ json: { status: 'success', data: { resultType: 'matrix', result: [{ metric: {}, values }] } } });
  });
  await page.goto(`${server.http}/explore?query=vector(1)`);
  await page.locator('.plot canvas').waitFor();
  await settle(page);
  await wait(1500);
  const turns = 40;
  const took = await page.evaluate(async (turns) => {
    const host = document.querySelector('.plot');
    const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
    const times = [];
    // The chart's observer runs after layout; a second one, made later, runs right behind it.
    let began = 0;
    const behind = new ResizeObserver(() => began && times.push(performance.now() - began));
    behind.observe(host);
    await frame();
    for (let n = 0; n < turns; n += 1) {
      await frame();
      host.style.width = `${700 + (n % 2)}px`;
      host.getBoundingClientRect();
      began = performance.now();
      await frame();
      await frame();
    }
    return times;
  }, turns);
  report(`redraw of 100 000 points, median of ${took.length}`, quantile(took, 0.5), 'ms', 8);
  await context.close();
}

/** A page of live charts: script and all of the main thread for each tick. */
async function ticks(browser, server) {
  const { page, context } = await open(browser, server);
  await page.goto(`${server.http}/services/storefront?from=now-5m`);
  await settle(page);
  await wait(4000);
  const charts = await page.locator('.plot').count();
  const { read } = await counting(page);
  const [before, began] = [await read(), Date.now()];
  await wait(20_000);
  const [after, seconds] = [await read(), (Date.now() - began) / 1000];
  const tick = ((after.TaskDuration - before.TaskDuration) * 1000) / seconds;
  report(`main thread for a tick of a service page: ${charts} live charts, tiles, tables, heatmap`, tick, 'ms');
  report('main thread for a tick of 12 live charts, with all around them', (tick * 12) / charts, 'ms', 80);
  report('script of that', ((after.ScriptDuration - before.ScriptDuration) * 1000) / seconds, 'ms');
  await context.close();
}

/** From the moment a service sends a value to the moment it is on the page. */
async function late(browser, server) {
  const { page, context } = await open(browser, server);
  const query = 'sum({"bench.value"})';
  await server.send('bench', 'bench.value', 1);
  await page.goto(`${server.http}/explore?from=now-5m&query=${encodeURIComponent(query)}`);
  await page.locator('.legend b').waitFor();
  await page.evaluate(() => {
    window.seen = {};
    const legend = document.querySelector('.legend');
    const look = () => (window.seen[legend.querySelector('b')?.textContent ?? ''] ??= Date.now());
    new MutationObserver(look).observe(legend, { subtree: true, characterData: true, childList: true });
  });
  const times = [];
  for (let n = 0; n < SAMPLES; n += 1) {
    const value = 101 + n;
    const began = Date.now();
    await server.send('bench', 'bench.value', value);
    await until(`${value} is shown`, () => page.evaluate((text) => window.seen[text] !== undefined, String(value)), 10_000);
    times.push((await page.evaluate((text) => window.seen[text], String(value))) - began);
    await wait(Math.max(0, 1000 - (Date.now() - began)) + Math.random() * 400);
  }
  report(`sample to pixel, p95 of ${SAMPLES}`, quantile(times, 0.95), 'ms', 1500);
  report('sample to pixel, median', quantile(times, 0.5), 'ms');
  await context.close();
}

/** A trace of a hundred thousand spans: opened, held, scrolled. */
async function waterfall(browser, server) {
  const id = await huge(Date.now() - 20_000, SPANS).send(server);
  const path = `${server.http}/api/traces/${id}`;
  const isWhole = async () => (await (await fetch(`${server.http}/api/traces?service=batch`)).json()).traces.some(({ traceId, spanCount }) => traceId === id && spanCount === SPANS);
  await until('the trace is kept', isWhole, 120_000);
  const asked = Date.now();
  const { length } = await (await fetch(path)).text();
  report(`API: ${SPANS} spans in ${(length / 2 ** 20).toFixed(1)} MiB of JSON`, Date.now() - asked, 'ms');
  const { page, context } = await open(browser, server);
  await page.goto(`${server.http}/traces`);
  await settle(page);
  const { read, collect, held } = await counting(page);
  const began = Date.now();
  // As a link of the list does it: the page is there, the trace is not.
  await page.evaluate((to) => {
    const link = document.createElement('a');
    link.href = to;
    document.querySelector('main').append(link);
    link.click();
  }, `/traces/${id}`);
  await page.locator('.span').first().waitFor();
  report(`${SPANS} spans on screen`, Date.now() - began, 'ms', 2000);
  await settle(page);
  report('heap with typed arrays and document, garbage and all', (await held()) / 2 ** 20, 'MiB', 150);
  await collect();
  report('without garbage', (await held()) / 2 ** 20, 'MiB');
  const start = await read();
  const frames = await page.evaluate(async () => {
    const host = document.querySelector('.spans');
    const times = [];
    for (let n = 0; n < 300; n += 1) {
      host.scrollTop += n % 3 ? 130 : 2600;
      const at = performance.now();
      await new Promise((resolve) => requestAnimationFrame(resolve));
      times.push(performance.now() - at);
    }
    return times;
  });
  report(`a scrolled frame, p95 of ${frames.length}`, quantile(frames.slice(5), 0.95), 'ms');
  const end = await read();
  report('main thread for a scrolled frame', ((end.TaskDuration - start.TaskDuration) * 1000) / frames.length, 'ms', 16);
  report('script of that', ((end.ScriptDuration - start.ScriptDuration) * 1000) / frames.length, 'ms');
  await context.close();
}

/** A page left open. */
async function grows(browser, server) {
  const { page, context } = await open(browser, server);
  await page.goto(`${server.http}/?from=now-1m`);
  await settle(page);
  // Until the range is full the charts have points to gain.
  await wait(75_000);
  const { collect } = await counting(page);
  const before = await collect();
  await wait(HEAP_SECONDS * 1000);
  const after = await collect();
  report(`heap after ${HEAP_SECONDS} ticks more, over ${(before / 2 ** 20).toFixed(1)} MiB`, (after / before - 1) * 100, '%', 10);
  await context.close();
}

const server = await Server.start({ FASTBREAK_WINDOW: '1s', FASTBREAK_TRACE_WAIT: '1s' });
const closeShop = server.demo(20);
const browser = await launch();
try {
  await until('the shop is open', async () => (await (await fetch(`${server.http}/api/services`)).json()).services.length > 4, 60_000);
  const wanted = process.argv.slice(2);
  const benches = [redraw, ticks, late, waterfall, grows].filter(({ name }) => wanted.length === 0 || wanted.includes(name));
  for (const bench of benches) await bench(browser, server);
} finally {
  await browser.close();
  await closeShop();
  await server.stop();
}
table();
process.exitCode = results.every(({ value, limit }) => value <= limit) ? 0 : 1;
