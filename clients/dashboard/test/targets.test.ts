// Caches and batchers: which policy they run, and what a miss-ratio curve says.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { batchQueries } from '../src/data/batchers.ts';
import { curvePoints, steps } from '../src/data/curve.ts';
import { lineOf, runningOf, selector } from '../src/data/targets.ts';

const row = (labels: Record<string, string>, value: number) => ({ labels, value });

test('a curve says what twice and half of what is now would do', () => {
  const at = (change: string, factor: string) => ({ fastbreak_cache_curve_change: change, fastbreak_cache_curve_factor: factor });
  const hits = [row(at('ttl', '2'), 0.82), row(at('ttl', '0.5'), 0.583), row(at('ttl', '1'), 0.7), row(at('capacity', '1'), 0.1)];
  const usage = [row(at('ttl', '1'), 20 * 2 ** 20), row(at('ttl', '2'), 38 * 2 ** 20)];
  const points = curvePoints('ttl', hits, usage, 60);
  assert.deepEqual(points.map(({ factor, label, bytes }) => [factor, label, bytes]), [[0.5, '30 s', null], [1, '60 s', 20 * 2 ** 20], [2, '2 min', 38 * 2 ** 20]]);
  assert.deepEqual(steps(points), ['60 s → 2 min: +12 points, +18 MiB', '60 s → 30 s: −12 points']);
  assert.deepEqual(steps(curvePoints('ttl', hits, usage, null))[0], '1 × → 2 ×: +12 points, +18 MiB');
  const flat = (factor: string, ratio: number) => row(at('capacity', factor), ratio);
  assert.deepEqual(steps(curvePoints('capacity', [flat('1', 0.7), flat('2', 0.7)], [], 2 ** 25)), ['32 MiB → 64 MiB: no effect']);
  assert.deepEqual(steps(points.slice(0, 1)), [], 'nothing without what is now');
});

test('the newest revision in force is told, and that some run another', () => {
  const of = (id: string, revision: number) => row({ fastbreak_policy_id: id }, revision);
  assert.equal(runningOf([]), null);
  assert.deepEqual(runningOf([of('a', 2), of('a', 2)]), { id: 'a', revision: 2, isMixed: false });
  assert.deepEqual(runningOf([of('a', 2), of('a', 3)]), { id: 'a', revision: 3, isMixed: true });
});

test('queries are of one target or of all, and names are quoted', () => {
  assert.equal(selector('m', 'n', { service: '', name: '' }), '{"m"}');
  assert.equal(selector('m', 'n', { service: 'a"b', name: 'c' }, 'x="1"'), '{"m", service_name="a\\"b", n="c", x="1"}');
  assert.equal(batchQueries({ service: '', name: '' }, 'n').calls, 'sum by (n)(rate({"fastbreak.batch.calls"}[1m]))');
  const name = (isOne: boolean) => lineOf('n', isOne)('q', 'wait').name;
  assert.equal(name(true), 'wait');
  assert.equal((name(false) as (labels: Record<string, string>) => string)({ n: 'prices', service_name: 'shop' }), 'prices of shop');
});
