// PromQL: over a range, and now.
import { call } from './fetch.ts';
import { type Range, stepOf } from './range.ts';

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

export async function queryRange(query: string, range: Range, signal?: AbortSignal, step = stepOf(range)): Promise<Series[]> {
  const start = Math.floor(range.from / step) * step;
  const form = { query, start: String(start / 1000), end: String(range.to / 1000), step: String(step / 1000) };
  const path = '/prometheus/api/v1/query_range';
  const { data } = await call<Wire>('POST', path, signal ? { form, signal } : { form });
  return data.data.result.map(({ metric, values }) => ({
    labels: metric,
    points: (values ?? []).map(([at, value]) => [at * 1000, Number(value)]),
  }));
}

export async function queryNow(query: string, signal?: AbortSignal): Promise<Row[]> {
  const form = { query };
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
