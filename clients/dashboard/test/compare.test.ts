// What differs in a box: requests are read out of whole traces, shares are counted, boxes are kept in the address.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { boxFrom, areaOf } from '../src/components/chart/area.ts';
import { boxOf, boxText, differences, isInside } from '../src/data/compare.ts';
import { type Entry, entriesOf, type Export } from '../src/data/entries.ts';

type Sent = [service: string, id: string, parent: string, from: number, to: number, attributes: Record<string, string>];

function exported(spans: Sent[]): Export {
  const pairs = (of: Record<string, string>): { key: string; value: { stringValue: string } }[] => Object.entries(of).map(([key, stringValue]) => ({ key, value: { stringValue } }));
  return {
    resourceSpans: spans.map(([service, spanId, parentSpanId, from, to, attributes]) => ({
      resource: { attributes: pairs({ 'service.name': service }) },
      scopeSpans: [{ spans: [{ traceId: 't', spanId, parentSpanId, kind: 2, name: `of ${service}`, startTimeUnixNano: `${from}000000`, endTimeUnixNano: `${to}000000`, attributes: pairs(attributes), status: {} }] }],
    })),
  };
}

test('a request is the span that it came in with, and carries what all below it carry', () => {
  const trace = exported([
    ['web', 'a', '', 0, 100, { route: '/' }],
    ['pay', 'b', 'a', 10, 90, { card: 'amex' }],
    ['pay', 'c', 'b', 20, 30, { table: 'accounts' }],
  ]);
  const [pay, ...more] = entriesOf(trace, 'pay');
  assert.equal(more.length, 0);
  assert.equal(pay?.seconds, 0.08);
  assert.deepEqual([...(pay?.pairs ?? [])].sort(), ['card\namex', 'operation\nof pay', 'service.name\npay', 'table\naccounts']);
  assert.ok(entriesOf(trace, 'web')[0]?.pairs.has('card\namex'));
  assert.deepEqual(entriesOf(trace, 'nobody'), []);
});

test('spans that are their own ancestors end', () => {
  assert.equal(entriesOf(exported([['web', 'a', 'b', 0, 1, {}], ['pay', 'b', 'a', 0, 1, {}]]), 'web').length, 1);
});

const entry = (...pairs: string[]): Entry => ({ traceId: 't', at: 5, seconds: 1, failed: false, pairs: new Set(pairs) });

test('shares differ, and what is everywhere or only once does not count', () => {
  const inside = [entry('card\namex', 'zone\na', 'id\n1'), entry('card\namex', 'zone\na', 'id\n2')];
  const outside = [entry('card\nvisa', 'zone\na', 'id\n3'), entry('card\namex', 'zone\na', 'id\n4'), entry('card\nvisa', 'zone\na'), entry('card\nvisa', 'zone\na')];
  assert.deepEqual(differences(inside, outside), [
    { name: 'card', value: 'amex', inside: 1, outside: 0.25 },
    { name: 'card', value: 'visa', inside: 0, outside: 0.75 },
  ]);
  assert.deepEqual(differences([], []), []);
});

test('a box is kept in the address, without an upper bound too', () => {
  for (const box of [{ from: 1, to: 2, low: 0, high: 0.5 }, { from: 1, to: 2, low: 0.25, high: Infinity }]) assert.deepEqual(boxOf(boxText(box)), box);
  for (const bad of ['', '1', '2,1,0,1', '1,2,3,3', 'a,b,c,d']) assert.equal(boxOf(bad), null, bad);
  assert.ok(isInside(entry(), { from: 5, to: 6, low: 1, high: 2 }));
  assert.ok(!isInside(entry(), { from: 5, to: 6, low: 0, high: 1 }));
});

test('cells make a box, and a box finds its cells again', () => {
  const cells = { times: [10, 20, 30, 40], bounds: [1, 2, Infinity], counts: [], most: 1, step: 10 };
  const box = boxFrom([[2, 2], [1, 1]], cells);
  assert.deepEqual(box, { from: 10, to: 30, low: 1, high: Infinity });
  assert.deepEqual(areaOf(box, cells), [[1, 1], [2, 2]]);
  assert.equal(areaOf({ ...box, from: 500, to: 600 }, cells), null);
});
