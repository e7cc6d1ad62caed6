// A trace becomes a tree in columns; rows, folds and the critical path follow from it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { byService, criticalPath } from '../src/data/critical.ts';
import { nextFailed, reveal, rowAt, rowsOf } from '../src/data/rows.ts';
import { idOf, placeOf, treeOf, type TraceView } from '../src/data/tree.ts';
import { attributesOf, attributeText, searchPath } from '../src/data/traces.ts';

type Span = [parent: number | null, from: number, to: number, failed?: boolean];

function view(spans: Span[]): TraceView {
  const trace = { traceId: 'ab', startedAt: '', startNanos: '0', durationMs: 1, rootService: 'a', rootOperation: 'o', services: ['a'], spanCount: spans.length, errorCount: 0, reasons: [] };
  return {
    trace, startNanos: '0', services: ['a', 'b'], operations: ['o'],
    spans: {
      id: spans.map((_, n) => (n + 1).toString(16).padStart(16, '0')),
      parent: spans.map(([parent]) => parent), parentId: spans.map(() => null),
      service: spans.map((_, n) => n % 2), operation: spans.map(() => 0), kind: spans.map(() => 'server'),
      status: spans.map(([, , , failed]) => (failed ? 'error' : 'unset')),
      startNanos: spans.map(([, from]) => from), durationNanos: spans.map(([, from, to]) => to - from),
    },
  };
}

const SHOP: Span[] = [[null, 0, 100], [0, 5, 40], [1, 10, 30], [0, 50, 90, true], [3, 55, 56]];

test('the tree is in the order in which it is read', () => {
  const tree = treeOf(view([[2, 20, 30], [null, 0, 100], [1, 10, 50]]));
  assert.deepEqual([...tree.parent], [-1, 0, 1]);
  assert.deepEqual([...tree.depth], [0, 1, 2]);
  assert.deepEqual([...tree.size], [3, 2, 1]);
  assert.equal(idOf(tree, 2), '0000000000000001');
  assert.equal(placeOf(tree, '0000000000000001'), 2);
  assert.equal(placeOf(tree, 'nonsense'), -1);
});

test('siblings know their place and their number', () => {
  const tree = treeOf(view(SHOP));
  assert.deepEqual([...tree.position], [1, 1, 1, 2, 1]);
  assert.deepEqual([...tree.siblings], [1, 2, 1, 2, 1]);
});

test('a circle and a span that is its own parent are shown, each once', () => {
  const tree = treeOf(view([[1, 0, 5], [0, 1, 4], [2, 2, 3]]));
  assert.equal(tree.count, 3);
  assert.equal(new Set(tree.ids).size, 3);
  assert.equal(tree.parent.filter((parent) => parent < 0).length, 2);
  let places = 0;
  for (let p = 0; p < tree.count; p += tree.size[p] ?? 1) places += 1;
  assert.equal(places, 2);
});

test('a chain of fifty thousand does not end in a stack overflow', () => {
  const tree = treeOf(view(Array.from({ length: 50_000 }, (_, n): Span => [n === 0 ? null : n - 1, n, 100_000 - n])));
  assert.equal(tree.deepest, 49_999);
  assert.equal(criticalPath(tree).time[49_999], 2);
});

test('the critical path covers the longest root once, from its start to its end', () => {
  const tree = treeOf(view(SHOP));
  const path = criticalPath(tree);
  assert.equal(path.time.reduce((sum, time) => sum + time, 0), 100);
  assert.deepEqual([...path.time], [25, 15, 20, 39, 1]);
  assert.deepEqual(byService(tree, path).map(({ service, time }) => [service, time]), [[1, 54], [0, 46]].sort((a, b) => (b[1] ?? 0) - (a[1] ?? 0)));
});

test('what runs beside is not waited for, nor what begins after the end', () => {
  const path = criticalPath(treeOf(view([[null, 0, 100], [0, 0, 90], [0, 10, 80], [0, 120, 150]])));
  assert.deepEqual([...path.time], [10, 90, 0, 0]);
});

test('rows leave out what is folded and what is short, never what failed', () => {
  const tree = treeOf(view(SHOP));
  const folded = new Uint8Array(tree.count);
  const all = { folded, least: 0, path: null };
  assert.deepEqual([...rowsOf(tree, all)], [0, 1, 2, 3, 4]);
  folded[1] = 1;
  assert.deepEqual([...rowsOf(tree, all)], [0, 1, 3, 4]);
  assert.equal(rowAt(rowsOf(tree, all), 2), 1);
  reveal(tree, folded, 2);
  assert.deepEqual([...rowsOf(tree, all)], [0, 1, 2, 3, 4]);
  assert.deepEqual([...rowsOf(tree, { ...all, least: 41 })], [0, 3]);
  assert.deepEqual([...rowsOf(treeOf(view([[null, 0, 100], [0, 0, 90], [0, 10, 80]])), { ...all, path: criticalPath(treeOf(view([[null, 0, 100], [0, 0, 90], [0, 10, 80]]))) })], [0, 1]);
  assert.equal(nextFailed(tree, 0), 3);
  assert.equal(nextFailed(tree, 3), 3);
});

test('attributes are read and written with their blanks', () => {
  assert.deepEqual(attributesOf('a=b  "x" c.d="e f" g='), ['a=b', 'c.d=e f', 'g=']);
  assert.deepEqual(attributesOf(attributeText('k', 'two words')), ['k=two words']);
  const path = searchPath({ service: 'a b', attribute: 'x=1 y=2' }, { from: 1000, to: null }, 5);
  assert.equal(path, '/api/traces?service=a+b&attribute=x%3D1&attribute=y%3D2&from=1&limit=5');
});
