// Which spans of a trace have a row: not those in a folded one, not those that are too short.
import type { Path } from './critical.ts';
import type { Tree } from './tree.ts';

export interface Wanted {
  folded: Uint8Array;
  /** Nanoseconds; a shorter span is left out, unless it failed or has a longer one below it. */
  least: number;
  /** Only what the trace waited for. */
  path: Path | null;
}

export function rowsOf(tree: Tree, { folded, least, path }: Wanted): Uint32Array {
  const rows = new Uint32Array(tree.count);
  let [count, p] = [0, 0];
  while (p < tree.count) {
    const isShort = tree.longest[p]! < least && !tree.failedBelow[p];
    if (isShort) {
      p += tree.size[p]!;
      continue;
    }
    const isOff = path !== null && path.time[p] === 0 && !waitsBelow(tree, path, p);
    if (!isOff) rows[count++] = p;
    p += isOff || folded[p] ? tree.size[p]! : 1;
  }
  return rows.slice(0, count);
}

/** Pieces are in the order of the tree, so those below a span are together. */
function waitsBelow(tree: Tree, path: Path, p: number): boolean {
  return path.first[p + tree.size[p]!]! > path.first[p]!;
}

/** The row of a span, or of the nearest one above it that has a row. */
export function rowAt(rows: Uint32Array, p: number): number {
  let [low, high] = [0, rows.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (rows[middle]! <= p) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Opens whatever hides `p`. */
export function reveal(tree: Tree, folded: Uint8Array, p: number): void {
  for (let up = tree.parent[p]!; up >= 0; up = tree.parent[up]!) folded[up] = 0;
}

/** The next failed span after `p`, from the beginning after the last; -1 when none failed. */
export function nextFailed(tree: Tree, p: number): number {
  const after = tree.failed.indexOf(1, p + 1);
  return after >= 0 ? after : tree.failed.indexOf(1);
}
