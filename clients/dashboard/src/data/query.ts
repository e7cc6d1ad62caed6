// PromQL: over a range, and now.
import { type Answer, call } from './fetch.ts';
import { type Range, stepOf, windowMs } from './range.ts';

export type Labels = Record<string, string>;

export interface Series {
  labels: Labels;
  /** [milliseconds, value] */
  points: [number, number][];
}

export interface Row {
  labels: Labels;
  value: number;
}

interface Wire {
  status: string;
  data: { resultType: string; result: { metric: Labels; values?: [number, string][]; value?: [number, string] }[] };
}

const asked = new Map<string, Promise<Answer<Wire>>>();

/** Charts that ask the same at once share the answer. */
async function shared(path: string, form: Record<string, string>, signal?: AbortSignal): Promise<Answer<Wire>> {
  const key = Object.values(form).join('\n');
  const known = asked.get(key) ?? call<Wire>('POST', path, { form }).finally(() => asked.delete(key));
  asked.set(key, known);
  const answer = await known;
  signal?.throwIfAborted();
  return answer;
}

/** The last moment before the window that is open: that one would count as full. */
const beforeOpen = (): number => Math.floor(Date.now() / windowMs.peek()) * windowMs.peek() - 1;

export async function queryRange(query: string, range: Range, signal?: AbortSignal, step = stepOf(range)): Promise<Series[]> {
  const start = Math.floor(range.from / step) * step;
  const end = Math.max(Math.min(range.to, beforeOpen()), start);
  const form = { query, start: String(start / 1000), end: String(end / 1000), step: String(step / 1000) };
  const path = '/prometheus/api/v1/query_range';
  const { data } = await shared(path, form, signal);
  return data.data.result.map(({ metric, values }) => ({
    labels: metric,
    points: (values ?? []).map(([at, value]) => [at * 1000, Number(value)]),
  }));
}

/** What there is now, as it was sent. */
export function queryNow(query: string, signal?: AbortSignal): Promise<Row[]> {
  return queryAt({ query }, signal);
}

/** Rates and what is made of them, over windows that are full. */
export function queryRates(query: string, signal?: AbortSignal): Promise<Row[]> {
  return queryAt({ query, time: String(beforeOpen() / 1000) }, signal);
}

async function queryAt(form: Record<string, string>, signal?: AbortSignal): Promise<Row[]> {
  const { data } = await call<Wire>('POST', '/prometheus/api/v1/query', signal ? { form, signal } : { form });
  const { resultType, result } = data.data;
  if (resultType === 'scalar') return [{ labels: {}, value: Number((result as unknown as [number, string])[1]) }];
  return result.flatMap(({ metric, value }) => (value ? [{ labels: metric, value: Number(value[1]) }] : []));
}

/** Text between quotes of PromQL. */
export function quoted(text: string): string {
  return `"${text.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n')}"`;
}

export function nameOf(labels: Labels, fallback = 'value'): string {
  const { __name__: name, ...rest } = labels;
  const pairs = Object.entries(rest);
  if (pairs.length === 1 && !name) return pairs[0]?.[1] ?? fallback;
  const text = pairs.map(([label, value]) => `${label}=${value}`).join(' ');
  return [name, text].filter(Boolean).join(' ') || fallback;
}
