// What differs between the requests inside a box of a heatmap and the others: shares of each attribute's values.
import { type Entry, entriesOf, type Export } from './entries.ts';
import { get } from './fetch.ts';
import { page, searchPath } from './traces.ts';

/** Traces that are looked into on each side, and the largest of them. */
const TRACES = 40;
const SPANS_MAX = 2000;
const AT_ONCE = 6;
const ROWS = 12;
/** Of fewer requests than these, a share says little. */
export const FEW = 5;

export interface Box {
  from: number;
  to: number;
  /** Seconds; the upper one may be infinite. */
  low: number;
  high: number;
}

export interface Row {
  name: string;
  value: string;
  /** Of 1. */
  inside: number;
  outside: number;
}

export function isInside({ at, seconds }: Entry, box: Box): boolean {
  return at >= box.from && at < box.to && seconds >= box.low && seconds < box.high;
}

/** Values that are much more common, or much rarer, inside. A value of a single request says nothing. */
export function differences(inside: Entry[], outside: Entry[]): Row[] {
  const counts = new Map<string, [number, number]>();
  [inside, outside].forEach((entries, side) => {
    for (const pair of entries.flatMap(({ pairs }) => [...pairs])) {
      const known = counts.get(pair) ?? [0, 0];
      known[side === 0 ? 0 : 1] += 1;
      counts.set(pair, known);
    }
  });
  const rows = [...counts].flatMap(([pair, [a, b]]): Row[] => {
    const [name = '', ...value] = pair.split('\n');
    return a + b > 1 ? [{ name, value: value.join('\n'), inside: a / Math.max(inside.length, 1), outside: b / Math.max(outside.length, 1) }] : [];
  });
  const away = ({ inside: a, outside: b }: Row): number => Math.abs(a - b);
  return rows.filter((row) => away(row) >= 0.1).sort((a, b) => away(b) - away(a) || a.name.localeCompare(b.name)).slice(0, ROWS);
}

export interface Compared {
  inside: Entry[];
  outside: Entry[];
  rows: Row[];
}

/** Looks into kept traces of the box, and of the whole range beside it. */
export async function compare(service: string, box: Box, range: { from: number; to: number }, signal: AbortSignal): Promise<Compared> {
  // A trace takes at least as long as any request in it, so the box's bound holds for it too; it may begin a while before.
  const least = box.low > 0 ? { minDuration: `${Math.floor(box.low * 1e6)}us` } : {};
  const early = box.from - 60_000;
  const [near, far] = await Promise.all([
    page(searchPath({ service, ...least }, { from: early, to: box.to }, TRACES), signal),
    page(searchPath({ service }, range, TRACES), signal),
  ]);
  const found = [...near.traces, ...far.traces].filter(({ spanCount }) => spanCount <= SPANS_MAX);
  const ids = [...new Set(found.map(({ traceId }) => traceId))];
  const entries: Entry[] = [];
  const work = async (): Promise<void> => {
    for (let id = ids.pop(); id; id = ids.pop()) entries.push(...entriesOf(await get<Export>(`/api/traces/${id}/otlp`, signal), service));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  const inside = entries.filter((entry) => isInside(entry, box));
  const outside = entries.filter((entry) => !isInside(entry, box));
  return { inside, outside, rows: differences(inside, outside) };
}

export function boxText({ from, to, low, high }: Box): string {
  return [Math.round(from), Math.round(to), low, high].join(',');
}

export function boxOf(text: string): Box | null {
  const [from, to, low, high] = text.split(',').map(Number);
  if (from === undefined || to === undefined || low === undefined || high === undefined) return null;
  return from < to && low < high ? { from, to, low, high } : null;
}
