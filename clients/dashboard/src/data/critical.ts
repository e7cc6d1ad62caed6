// The critical path: what the trace waited for at each moment, read back from the end of its longest root.
import type { Tree } from './tree.ts';

export interface Path {
  /** Nanoseconds that the trace waited for the span itself. */
  time: Float64Array;
  /** Pieces by span: those of `p` are from `first[p]` to `first[p + 1]`. */
  first: Uint32Array;
  from: Float64Array;
  to: Float64Array;
}

interface Piece {
  p: number;
  from: number;
  to: number;
}

function children(tree: Tree, p: number): number[] {
  const found: number[] = [];
  for (let child = p + 1; child < p + tree.size[p]!; child += tree.size[child]!) found.push(child);
  return found;
}

/** One span up to `until`: its own pieces, and each child that it waited for, with when the waiting ended. */
function waits(tree: Tree, p: number, until: number, pieces: Piece[]): [number, number][] {
  const ends = (child: number): number => Math.min(tree.start[child]! + tree.duration[child]!, tree.start[p]! + tree.duration[p]!);
  const waited: [number, number][] = [];
  let at = until;
  for (const child of children(tree, p).sort((a, b) => ends(b) - ends(a))) {
    const [from, end] = [Math.max(tree.start[child]!, tree.start[p]!), ends(child)];
    // What ended later ran beside what was waited for; what began after the end was not waited for at all.
    if (end > at || from >= end) continue;
    if (at > end) pieces.push({ p, from: end, to: at });
    waited.push([child, end]);
    at = from;
  }
  if (at > tree.start[p]!) pieces.push({ p, from: tree.start[p]!, to: at });
  return waited;
}

export function criticalPath(tree: Tree): Path {
  const pieces: Piece[] = [];
  let root = 0;
  for (let p = 0; p < tree.count; p += tree.size[p]!) if (tree.duration[p]! > tree.duration[root]!) root = p;
  const open: [number, number][] = tree.count > 0 ? [[root, tree.start[root]! + tree.duration[root]!]] : [];
  for (let next = open.pop(); next; next = open.pop()) open.push(...waits(tree, next[0], next[1], pieces));
  pieces.sort((a, b) => a.p - b.p || a.from - b.from);
  const path: Path = { time: new Float64Array(tree.count), first: new Uint32Array(tree.count + 1), from: new Float64Array(pieces.length), to: new Float64Array(pieces.length) };
  pieces.forEach(({ p, from, to }, n) => {
    path.time[p]! += to - from;
    path.first[p + 1]! += 1;
    path.from[n] = from;
    path.to[n] = to;
  });
  for (let p = 0; p < tree.count; p += 1) path.first[p + 1]! += path.first[p]!;
  return path;
}

/** Spans, and what the trace waited for each service, most first. */
export function byService(tree: Tree, path: Path): { service: number; spans: number; time: number }[] {
  const sums = tree.services.map((_, service) => ({ service, spans: 0, time: 0 }));
  for (let p = 0; p < tree.count; p += 1) {
    const sum = sums[tree.service[p]!];
    if (!sum) continue;
    sum.spans += 1;
    sum.time += path.time[p]!;
  }
  return sums.sort((a, b) => b.time - a.time || b.spans - a.spans);
}
