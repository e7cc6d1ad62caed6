// The lines of a chart: a range query, continued by the live value of the same expression.
import { type ReadonlySignal, useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { ApiError, words } from './fetch.ts';
import { connections, subscribe, type Update } from './live.ts';
import { type Labels, queryRange, type Series } from './query.ts';
import { compares, isLive, range, stepOf } from './range.ts';
import { useSignalEffect } from '@preact/signals';

/** An expression of a chart, and how its lines are called. */
export interface Expression {
  query: string;
  name?: string | ((labels: Labels) => string);
  color?: string;
  dash?: boolean;
}

export interface Line {
  name: string;
  color?: string;
  dash?: boolean;
  /** Of the range before, moved to this one. */
  before?: boolean;
  points: [number, number][];
}

export interface Lines {
  lines: Line[];
  total: number;
  step: number;
  loading: boolean;
  error: ApiError | null;
}

/** Lines that a chart shows; the largest are. */
export const LINES_MAX = 20;

function nameFor(expression: Expression, labels: Labels): string {
  const { name } = expression;
  if (typeof name === 'string') return name;
  if (name) return name(labels);
  return Object.values(labels).join(' ') || 'value';
}

function lineOf(expression: Expression, series: Series): Line {
  const line: Line = { name: nameFor(expression, series.labels), points: series.points };
  if (expression.color) line.color = expression.color;
  if (expression.dash) line.dash = true;
  return line;
}

const peak = (line: Line): number => line.points.reduce((most, [, value]) => Math.max(most, value), 0);

async function load(expressions: Expression[], signal: AbortSignal): Promise<{ lines: Line[]; total: number; step: number }> {
  const current = range.peek();
  const step = stepOf(current);
  const ask = async (moved: number): Promise<Line[]> => {
    const at = { from: current.from - moved, to: current.to - moved };
    const answers = await Promise.all(expressions.map(async (e) => (await queryRange(e.query, at, signal, step)).map((s) => lineOf(e, s))));
    return answers.flat();
  };
  const found = await ask(0);
  const largest = found.length > LINES_MAX ? [...found].sort((a, b) => peak(b) - peak(a)).slice(0, LINES_MAX) : found;
  // Of one expression by name, so that a name has the same colour in every chart beside it.
  const lines = expressions.length === 1 ? [...largest].sort((a, b) => a.name.localeCompare(b.name)) : largest;
  if (!compares.peek()) return { lines, total: found.length, step };
  const moved = Math.ceil((current.to - current.from) / step) * step;
  const names = new Set(lines.map((line) => line.name));
  const before = (await ask(moved)).filter((line) => names.has(line.name));
  const shifted = before.map((line): Line => ({ ...line, before: true, points: line.points.map(([at, v]) => [at + moved, v]) }));
  return { lines: [...lines, ...shifted], total: found.length, step };
}

/** Puts a live value at the end of a line: in place of the last while its step runs. */
export function extend(points: [number, number][], at: number, value: number, step: number, from: number): [number, number][] {
  const last = points.at(-1);
  if (last && at < last[0]) return points;
  if (last && at === last[0]) return [...points.slice(0, -1), [at, value]];
  const settled = points.at(-2);
  const kept = last && settled && at - settled[0] < step * 1.5 ? points.slice(0, -1) : points;
  const first = kept.findIndex(([t]) => t >= from);
  return [...(first > 0 ? kept.slice(first) : kept), [at, value]];
}

export function useLines(expressions: Expression[]): ReadonlySignal<Lines> {
  const key = expressions.map((e) => e.query).join('\n');
  const lines = useSignal<Lines>({ lines: [], total: 0, step: 10_000, loading: true, error: null });
  const wanted = useSignal(expressions);
  if (wanted.peek().map((e) => e.query).join('\n') !== key) wanted.value = expressions;

  useSignalEffect(() => {
    const current = wanted.value;
    void [range.value, compares.value, connections.value];
    const abort = new AbortController();
    lines.value = { ...lines.peek(), loading: true };
    load(current, abort.signal)
      .then((loaded) => {
        if (!abort.signal.aborted) lines.value = { ...loaded, loading: false, error: null };
      })
      .catch((error: unknown) => {
        if (abort.signal.aborted) return;
        lines.value = { ...lines.peek(), loading: false, error: error instanceof ApiError ? error : new ApiError(0, words(error)) };
      });
    return () => abort.abort();
  });

  const live = isLive.value;
  useEffect(() => {
    if (!live) return;
    const ends = expressions.map((expression) => subscribe(`query:${expression.query}`, (update) => grow(lines, expression, update)));
    return () => ends.forEach((end) => end());
  }, [key, live]);
  return lines;
}

function grow(lines: { peek(): Lines; value: Lines }, expression: Expression, update: Update): void {
  const known = lines.peek();
  if (known.loading) return;
  const next = [...known.lines];
  const width = range.peek().to - range.peek().from;
  for (const [text, item] of Object.entries(update.items)) {
    if (!Array.isArray(item) || text.startsWith('$')) continue;
    const [at, value] = item as [number, number];
    const name = nameFor(expression, JSON.parse(text) as Labels);
    const found = next.findIndex((line) => line.name === name && !line.before);
    const line = next[found];
    if (line) next[found] = { ...line, points: extend(line.points, at, value, known.step, at - width) };
    else if (next.length < LINES_MAX) next.push({ ...lineOf(expression, { labels: JSON.parse(text) as Labels, points: [[at, value]] }) });
  }
  lines.value = { ...known, lines: next };
}
