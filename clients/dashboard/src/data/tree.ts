// A trace as columns of numbers, in the order in which its tree is read: a hundred thousand spans, no object for any.
import type { Schemas } from './fetch.ts';

export type TraceView = Schemas['TraceView'];
export const KINDS = ['unspecified', 'internal', 'server', 'client', 'producer', 'consumer'];

/** Span `p` is the `p`-th of each column; its subtree is the `size[p]` spans from it on. */
export interface Tree {
  trace: Schemas['FoundView'];
  services: string[];
  operations: string[];
  count: number;
  ids: BigUint64Array;
  /** The place of the parent, -1 for none. */
  parent: Int32Array;
  depth: Uint16Array;
  size: Uint32Array;
  /** Which of how many siblings. */
  position: Uint32Array;
  siblings: Uint32Array;
  service: Uint16Array;
  operation: Uint32Array;
  kind: Uint8Array;
  failed: Uint8Array;
  failedBelow: Uint8Array;
  /** Nanoseconds from the start of the trace. */
  start: Float64Array;
  duration: Float64Array;
  /** The longest duration of the subtree. */
  longest: Float64Array;
  /** From the start of the first to the end of the last. */
  total: number;
  deepest: number;
  /** Spans whose parent is known by name only. */
  away: number;
}

type Columns = TraceView['spans'];

/** Children of each span in order of start, as one list with a place where each begins. */
function childrenOf({ parent }: Columns, count: number): { first: Uint32Array; list: Uint32Array } {
  const first = new Uint32Array(count + 1);
  const above = (i: number): number => (parent[i] === i ? -1 : (parent[i] ?? -1));
  for (let i = 0; i < count; i += 1) if (above(i) >= 0) first[above(i) + 1]! += 1;
  for (let i = 0; i < count; i += 1) first[i + 1]! += first[i]!;
  const [list, next] = [new Uint32Array(first[count]!), first.slice()];
  for (let i = 0; i < count; i += 1) if (above(i) >= 0) list[next[above(i)]!++] = i;
  return { first, list };
}

/** The order of the tree: parents before children. What no root leads to is a root itself, so that a circle is shown too. */
function walk(columns: Columns, count: number): { order: Uint32Array; roots: number } {
  const { first, list } = childrenOf(columns, count);
  const [order, seen, stack] = [new Uint32Array(count), new Uint8Array(count), new Uint32Array(count + 1)];
  let [at, roots] = [0, 0];
  const from = (root: number): void => {
    let depth = 0;
    stack[depth++] = root;
    seen[root] = 1;
    roots += 1;
    while (depth > 0) {
      const i = stack[--depth]!;
      order[at++] = i;
      for (let child = first[i + 1]! - 1; child >= first[i]!; child -= 1) {
        const one = list[child]!;
        if (seen[one]) continue;
        seen[one] = 1;
        stack[depth++] = one;
      }
    }
  };
  for (let i = 0; i < count; i += 1) if (columns.parent[i] === null || columns.parent[i] === i) from(i);
  for (let i = 0; i < count; i += 1) if (!seen[i]) from(i);
  return { order, roots };
}

export function treeOf({ trace, services, operations, spans }: TraceView): Tree {
  const count = spans.id.length;
  const { order, roots } = walk(spans, count);
  const place = new Int32Array(count);
  for (let p = 0; p < count; p += 1) place[order[p]!] = p;
  const numbers = (): Uint32Array => new Uint32Array(count);
  const tree: Tree = {
    trace, services, operations, count,
    ids: new BigUint64Array(count), parent: new Int32Array(count), depth: new Uint16Array(count), size: numbers().fill(1),
    position: numbers(), siblings: numbers(), service: new Uint16Array(count), operation: numbers(),
    kind: new Uint8Array(count), failed: new Uint8Array(count), failedBelow: new Uint8Array(count),
    start: new Float64Array(count), duration: new Float64Array(count), longest: new Float64Array(count),
    total: 0, deepest: 0, away: 0,
  };
  let rootAt = 0;
  const kinds = new Map(KINDS.map((name, n) => [name, n]));
  for (let p = 0; p < count; p += 1) {
    const i = order[p]!;
    const up = spans.parent[i] ?? -1;
    // A parent that comes later closes a circle: it is cut here.
    const parent = up >= 0 && place[up]! < p ? place[up]! : -1;
    tree.parent[p] = parent;
    tree.depth[p] = parent < 0 ? 0 : Math.min(tree.depth[parent]! + 1, 65_535);
    tree.position[p] = parent < 0 ? (rootAt += 1) : (tree.siblings[parent]! += 1);
    tree.ids[p] = BigInt(`0x${spans.id[i]}`);
    tree.service[p] = spans.service[i]!;
    tree.operation[p] = spans.operation[i]!;
    tree.kind[p] = kinds.get(spans.kind[i]!) ?? 0;
    tree.failed[p] = spans.status[i] === 'error' ? 1 : 0;
    tree.start[p] = spans.startNanos[i]!;
    tree.duration[p] = spans.durationNanos[i]!;
    if (spans.parentId[i]) tree.away += 1;
    tree.total = Math.max(tree.total, tree.start[p]! + tree.duration[p]!);
    tree.deepest = Math.max(tree.deepest, tree.depth[p]!);
  }
  sumUp(tree, roots);
  return tree;
}

/** From the leaves up: sizes, longest durations, failures; `siblings` held how many children each has. */
function sumUp(tree: Tree, roots: number): void {
  const children = tree.siblings.slice();
  for (let p = tree.count - 1; p >= 0; p -= 1) {
    const parent = tree.parent[p]!;
    tree.longest[p] = Math.max(tree.longest[p]!, tree.duration[p]!);
    tree.failedBelow[p]! |= tree.failed[p]!;
    tree.siblings[p] = parent < 0 ? roots : children[parent]!;
    if (parent < 0) continue;
    tree.size[parent]! += tree.size[p]!;
    tree.longest[parent] = Math.max(tree.longest[parent]!, tree.longest[p]!);
    tree.failedBelow[parent]! |= tree.failedBelow[p]!;
  }
}

export function idOf(tree: Tree, p: number): string {
  return tree.ids[p]!.toString(16).padStart(16, '0');
}

/** The place of a span by its id, -1 when it is not there. */
export function placeOf(tree: Tree, id: string): number {
  return /^[0-9a-f]{16}$/.test(id) ? tree.ids.indexOf(BigInt(`0x${id}`)) : -1;
}
