// Areas of a heatmap: cells, and the times and durations that they stand for.
import type { Box } from '../../data/compare.ts';
import type { Cells } from './cells.ts';

/** A column and a row. */
export type At = [number, number];
/** From one cell to another, in any direction. */
export type Area = [At, At];

/** Left, right, lowest, highest. */
export function sides([[a, c], [b, d]]: Area): [number, number, number, number] {
  return [Math.min(a, b), Math.max(a, b), Math.min(c, d), Math.max(c, d)];
}

/** The cell that an arrow key leads to; the newest of the lowest at first. */
export function moved(key: string, from: At | null, cells: Cells): At | null {
  const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[key];
  if (!by) return null;
  const [x, y] = from ?? [cells.times.length, 0];
  const clamp = (value: number, most: number): number => Math.min(Math.max(value, 0), most - 1);
  return [clamp(x + (by[0] ?? 0), cells.times.length), clamp(y + (by[1] ?? 0), cells.bounds.length)];
}

/** The times and durations of an area. */
export function boxFrom(area: Area, cells: Cells): Box {
  const [left, right, low, high] = sides(area);
  // A cell tells of the step that ends at its time.
  return { from: (cells.times[left] ?? 0) - cells.step, to: cells.times[right] ?? 0, low: cells.bounds[low - 1] ?? 0, high: cells.bounds[high] ?? Infinity };
}

/** The area of a box, as far as it is in sight. */
export function areaOf({ from, to, low, high }: Box, cells: Cells): Area | null {
  const left = cells.times.findIndex((at) => at - cells.step >= from - cells.step / 2);
  const right = cells.times.findLastIndex((at) => at <= to + cells.step / 2);
  const bottom = cells.bounds.findIndex((bound) => bound > low);
  const top = cells.bounds.findLastIndex((bound) => bound <= high);
  return left < 0 || right < left || bottom < 0 || top < bottom ? null : [[left, bottom], [right, top]];
}
