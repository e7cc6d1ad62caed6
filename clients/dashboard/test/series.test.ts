// Lines, tables and cells are made of samples without losing or inventing any.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cellsOf } from '../src/components/chart/cells.ts';
import { align, summary } from '../src/components/chart/align.ts';
import { build, unitOf } from '../src/data/build.ts';
import { changed, fieldsOf, idFrom, lacks, newRule, parts, withThreshold } from '../src/data/rule.ts';
import { textsOf, written } from '../src/data/receivers.ts';
import { nameOf, quoted } from '../src/data/query.ts';

test('lines with different times share a column of times', () => {
  const lines = [
    { name: 'a', points: [[0, 1], [10_000, 2]] as [number, number][] },
    { name: 'b', points: [[10_000, 5]] as [number, number][] },
  ];
  assert.deepEqual(align(lines, 10_000), [[0, 10], [1, 2], [undefined, 5]]);
});

test('a line is broken where it was silent, and nowhere else', () => {
  const a = { name: 'a', points: [[0, 1], [10_000, 1], [100_000, 1]] as [number, number][] };
  const b = { name: 'b', points: Array.from({ length: 11 }, (_, n) => [n * 10_000, 1] as [number, number]) };
  const [, left, right] = align([a, b], 10_000);
  assert.equal(left?.filter((value) => value === null).length, 1);
  assert.ok(right?.every((value) => value === 1));
  const [times, alone] = align([a], 10_000);
  assert.deepEqual([times, alone], [[0, 10, 20, 100], [1, 1, null, 1]], 'nor by a line over a time that no line has');
});

test('a summary tells last, least, most and mean', () => {
  const line = { name: 'a', points: [[0, 3], [1, 1], [2, 2]] as [number, number][] };
  assert.deepEqual(summary(line), { name: 'a', last: 2, least: 1, most: 3, mean: 2 });
  assert.equal(summary({ name: 'b', points: [] }).last, null);
});

test('cumulative buckets become cells, and their sum stays', () => {
  const series = [
    { labels: { le: '+Inf' }, points: [[0, 10]] as [number, number][] },
    { labels: { le: '0.1' }, points: [[0, 4]] as [number, number][] },
    { labels: { le: '0.5' }, points: [[0, 10]] as [number, number][] },
  ];
  const cells = cellsOf(series, { from: 0, to: 60_000 }, 60_000);
  assert.deepEqual(cells.bounds, [0.1, 0.5]);
  assert.deepEqual(cells.counts, [[4, 6], [0, 0]]);
  assert.equal(cells.most, 6);
});

test('a metric is asked for by its kind', () => {
  const metric = (kind: string, unit: string) => ({ name: 'a.b', prometheusName: 'a_b', kind, unit, temporality: 'cumulative', description: '', series: 1 });
  assert.equal(build(metric('histogram', 's'), 'p99', 'none'), 'histogram_quantile(0.99, sum (rate({__name__="a_b"}[5m])))');
  assert.equal(build(metric('counter', '1'), '', 'route'), 'sum by (route) (rate({__name__="a_b"}[5m]))');
  assert.equal(build(metric('gauge', 'By'), '', ''), 'avg by (service_name) ({__name__="a_b"})');
  assert.equal(unitOf(metric('counter', 'By'), 'rate'), 'By/s');
});

test('text in PromQL cannot end its quotes', () => {
  assert.equal(quoted('a"b\\c'), '"a\\"b\\\\c"');
  assert.equal(nameOf({ __name__: 'x', a: '1' }), 'x a=1');
});

test('a condition is taken apart where it can be', () => {
  assert.deepEqual(parts('p95ResponseTime > threshold'), { expression: 'p95ResponseTime', operator: '>' });
  assert.deepEqual(parts('sum(rate(a[5m])) >= threshold'), { expression: 'sum(rate(a[5m]))', operator: '>=' });
  assert.equal(parts('threshold < a'), null);
  assert.equal(parts('a > 5'), null);
});

test('where a rule ends moves along with its threshold', () => {
  const start = { ...newRule(''), threshold: 1000, recoveryThreshold: 800 };
  assert.deepEqual(withThreshold(start, 1500, start), { ...start, threshold: 1500, recoveryThreshold: 1200 });
  assert.equal(withThreshold({ ...start, threshold: 1500, recoveryThreshold: 1200 }, 500, start).recoveryThreshold, 400);
  assert.equal(withThreshold(newRule(''), 9, newRule('')).recoveryThreshold, undefined);
  assert.equal(lacks({ ...newRule('up == 0'), name: 'a' }), null);
  assert.match(lacks({ ...newRule('up == threshold'), name: 'a', threshold: NaN }) ?? '', /number/);
});

test('only what was changed is called so, and only what is edited is sent', () => {
  const before = newRule('');
  assert.deepEqual(changed(before, { ...before, threshold: 9 }), ['threshold']);
  const told = { ...before, revision: 3, health: {}, alerts: {}, thresholds: [1] };
  assert.deepEqual(Object.keys(fieldsOf(told)).includes('revision'), false);
  assert.equal('thresholds' in fieldsOf(told), true, 'a field that the page does not know is kept');
  assert.equal(lacks(before), 'Give the rule a name.');
  assert.equal(idFrom('  High p95, checkout! '), 'high_p95_checkout');
});

test('a receiver keeps what the form does not know, and secrets that were not typed', () => {
  const before = { id: 'm', kind: 'email', settings: { host: 'a', recipients: ['x@y'], tls: 'required' }, secrets: { password: { set: true, last4: null } }, enabled: true, origin: 'api', revision: 1, lastDelivery: null };
  assert.deepEqual(textsOf(before), { host: 'a', recipients: 'x@y', tls: 'required' });
  const sent = written('email', { host: 'b', port: '25', recipients: 'x@y, z@y ,' }, before);
  assert.deepEqual(sent, { settings: { host: 'b', port: 25, recipients: ['x@y', 'z@y'], tls: 'required' }, secrets: {} });
  assert.deepEqual(written('slack', { webhookUrl: ' https ' }, null), { settings: {}, secrets: { webhookUrl: 'https' } });
});
