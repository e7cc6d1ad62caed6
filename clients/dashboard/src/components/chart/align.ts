// Lines as uPlot wants them: one column of times, one of values for each line.
import type { Line } from '../../data/series.ts';

export type Columns = [number[], ...(number | null | undefined)[][]];

/** A line is broken where it has no point for longer than so many steps. */
const GAP_STEPS = 3.5;

/** Undefined joins over a time that only another line has; null, which stands a step after the last point, breaks the line. */
export function align(lines: Line[], step: number): Columns {
  const isGap = (before: number, at: number): boolean => at - before > step * GAP_STEPS;
  const times = new Set<number>();
  for (const line of lines) {
    let before = Infinity;
    for (const [at] of line.points) {
      if (isGap(before, at)) times.add(before + step);
      times.add(at);
      before = at;
    }
  }
  const xs = [...times].sort((a, b) => a - b);
  const at = new Map(xs.map((x, index) => [x, index]));
  const columns = lines.map((line) => {
    const column = new Array<number | null | undefined>(xs.length).fill(undefined);
    let before = Infinity;
    const put = (x: number, value: number | null): void => {
      column[at.get(x) ?? 0] = value;
    };
    for (const [x, value] of line.points) {
      if (isGap(before, x)) put(before + step, null);
      put(x, Number.isFinite(value) ? value : null);
      before = x;
    }
    return column;
  });
  return [xs.map((x) => x / 1000), ...columns];
}

export interface Summary {
  name: string;
  last: number | null;
  least: number | null;
  most: number | null;
  mean: number | null;
}

export function summary(line: Line): Summary {
  const values = line.points.map(([, value]) => value).filter(Number.isFinite);
  if (values.length === 0) return { name: line.name, last: null, least: null, most: null, mean: null };
  let [least, most, sum] = [Infinity, -Infinity, 0];
  for (const value of values) {
    least = Math.min(least, value);
    most = Math.max(most, value);
    sum += value;
  }
  return { name: line.name, last: values.at(-1) ?? null, least, most, mean: sum / values.length };
}
