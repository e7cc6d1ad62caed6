// The service graph: who stands where, what an edge says and leads to.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { around, edgeTraces, type Graph, graphPath, loadOf } from '../src/data/graph.ts';
import { layersOf, layout } from '../src/data/layout.ts';

const links = (text: string): { from: string; to: string }[] => text.split(' ').map((pair) => ({ from: pair[0] ?? '', to: pair[1] ?? '' }));
const size = { layer: 100, between: 50 };

test('who is called stands after all who call it', () => {
  const layers = layersOf([...'abcd'], links('ab bc ac cd'));
  assert.deepEqual([...'abcd'].map((name) => layers.get(name)), [0, 1, 2, 3]);
});

test('circles and those who call themselves end', () => {
  const layers = layersOf([...'abc'], links('ab bc ca aa'));
  assert.deepEqual([...'abc'].map((name) => layers.get(name)), [0, 1, 2]);
  const drawn = layout([...'abc'], links('ab bc ca aa'), size);
  assert.deepEqual(drawn.ways.map((way) => way.length), [2, 2, 3, 0]);
  assert.ok((drawn.ways[2]?.[0]?.x ?? 0) > (drawn.ways[2]?.at(-1)?.x ?? 0), 'the way back leads back');
});

test('no two stand on the same place, and all stand within the drawing', () => {
  const names = Array.from({ length: 60 }, (_, n) => `s${n}`);
  const many = names.flatMap((from, n) => [3, 7, 11].map((by) => ({ from, to: names[(n * by + by) % names.length] ?? from })));
  const { nodes, width, height } = layout(names, many, size);
  const places = [...nodes.values()];
  assert.equal(places.length, 60);
  for (const [n, a] of places.entries()) {
    assert.ok(a.x > 0 && a.x < width && a.y > 0 && a.y < height);
    for (const b of places.slice(n + 1)) assert.ok(a.x !== b.x || Math.abs(a.y - b.y) >= 49.9, 'they lie upon each other');
  }
});

test('nothing is drawn of nothing', () => {
  assert.deepEqual(layout([], [], size).ways, []);
});

const edge = (client: string, server: string, ratePerSecond: number, errorRate: number, p95Ms: number | null): Graph['edges'][number] => ({ client, server, connection: 'request', requests: 1, ratePerSecond, errorRate, p50Ms: null, p95Ms });
const GRAPH: Graph = {
  at: '', minutes: 5,
  nodes: [{ name: 'web', kind: 'service' }, { name: 'pay', kind: 'service' }, { name: 'pg', kind: 'database' }],
  edges: [edge('web', 'pay', 3, 0, 10), edge('pay', 'pg', 6, 0.5, 20), edge('web', 'pg', 2, 0, null)],
};

test('a node sums what its callers send', () => {
  assert.deepEqual(loadOf('pg', GRAPH.edges), { rate: 8, errors: 0.375, p95: 20 });
  assert.deepEqual(loadOf('web', GRAPH.edges), { rate: 0, errors: 0, p95: null });
});

test('an edge leads to traces with every end that sends spans', () => {
  assert.equal(edgeTraces(GRAPH.edges[0]!, GRAPH.nodes), '/traces?service=web&with=pay');
  assert.equal(edgeTraces(GRAPH.edges[1]!, GRAPH.nodes), '/traces?service=pay');
});

test('around one node are its neighbours', () => {
  assert.deepEqual(around(GRAPH, 'pay').nodes.map(({ name }) => name), ['web', 'pay', 'pg']);
  assert.equal(around(GRAPH, 'pay').edges.length, 2);
  assert.equal(around(GRAPH, '').edges.length, 3);
});

test('the range of the page is asked for, now or in the past', () => {
  assert.equal(graphPath({ from: 0, to: 900_000 }, true), '/api/service-graph?minutes=15');
  assert.equal(graphPath({ from: 0, to: 900_000 }, false), '/api/service-graph?minutes=15&at=900');
  assert.equal(graphPath({ from: 0, to: 1000 }, true), '/api/service-graph?minutes=1');
});
