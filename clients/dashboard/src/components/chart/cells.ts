// Cumulative buckets over time as the cells of a heatmap.
import type { Series } from '../../data/query.ts';

export interface Cells {
  times: number[];
  /** Upper bounds, rising; the last may be infinite. */
  bounds: number[];
  /** By time, then by bound. */
  counts: number[][];
  most: number;
  step: number;
}

/** Over `[from, to]` in steps, empty where nothing was measured. */
export function cellsOf(series: Series[], { from, to }: { from: number; to: number }, step: number): Cells {
  const bound = (one: Series): number => (one.labels['le'] === '+Inf' ? Infinity : Number(one.labels['le']));
  const sorted = [...series].sort((a, b) => bound(a) - bound(b));
  const start = Math.floor(from / step) * step;
  const times = Array.from({ length: Math.floor((to - start) / step) + 1 }, (_, n) => start + n * step);
  const columns = new Map(times.map((at, index) => [at, index]));
  const counts = times.map(() => new Array<number>(sorted.length).fill(0));
  sorted.forEach((one, y) => {
    for (const [at, value] of one.points) {
      const column = counts[columns.get(at) ?? -1];
      if (column) column[y] = value;
    }
  });
  let most = 0;
  for (const column of counts) {
    // From the top down: each cumulative count less the one below it.
    for (let y = column.length - 1; y > 0; y -= 1) column[y] = Math.max((column[y] ?? 0) - (column[y - 1] ?? 0), 0);
    for (const count of column) most = Math.max(most, count);
  }
  const used = sorted.findLastIndex((_, y) => counts.some((column) => (column[y] ?? 0) > 0)) + 1;
  const bounds = sorted.slice(0, used).map(bound);
  return { times, bounds, counts: counts.map((column) => column.slice(0, used)), most, step };
}

/** From barely seen to full; the square root lets rare durations be seen beside common ones. */
export function depth(count: number, most: number): number {
  return most > 0 ? 0.08 + 0.92 * Math.sqrt(count / most) : 0;
}
