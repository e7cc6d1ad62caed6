// Traces that a chart's points lead to.
import { call } from './fetch.ts';
import type { Range } from './range.ts';

export interface Point {
  /** Milliseconds. */
  at: number;
  value: number;
  trace: string;
  span: string;
}

interface Wire {
  data: { exemplars: { labels: Record<string, string>; timestamp: number; value: string }[] }[];
}

/** More points than these would hide the lines; the greatest are shown. */
const SHOWN = 80;

export async function exemplars(queries: string[], { from, to }: Range, signal: AbortSignal): Promise<Point[]> {
  const ask = async (query: string): Promise<Wire> => {
    const form = { query, start: String(from / 1000), end: String(to / 1000) };
    return (await call<Wire>('POST', '/prometheus/api/v1/query_exemplars', { form, signal })).data;
  };
  const answers = await Promise.all(queries.map(ask));
  const all = answers.flatMap(({ data }) => data.flatMap(({ exemplars: found }) => found));
  const points = all.map(({ labels, timestamp, value }): Point => ({ at: timestamp * 1000, value: Number(value), trace: labels['trace_id'] ?? '', span: labels['span_id'] ?? '' }));
  return points.filter(({ trace }) => trace).sort((a, b) => b.value - a.value).slice(0, SHOWN);
}
