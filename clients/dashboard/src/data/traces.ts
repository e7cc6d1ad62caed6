// Kept traces: what is asked for, as the address and the server write it.
import { call, type Schemas } from './fetch.ts';
import { isLive, range } from './range.ts';
import { param } from './url.ts';

export type Found = Schemas['FoundView'];

/** Parameters of the search, called in the address as the server calls them. */
export const WISHES = ['service', 'with', 'operation', 'minDuration', 'maxDuration', 'error', 'attribute', 'order'] as const;
export type Wish = (typeof WISHES)[number];
export type Wishes = Partial<Record<Wish, string>>;

/** Why a trace was kept, in the order in which they matter. */
export const REASONS: Record<string, string> = {
  error: 'a span failed',
  slow: 'among the slowest of its operation',
  exemplar: 'a chart points to it',
  rule: 'it has an attribute that is always kept',
  sample: 'an ordinary one, to compare with',
};

/** Traces of a page. */
const LIMIT = 100;

export interface Page {
  traces: Found[];
  next: string | null;
}

export function wishes(): Wishes {
  const given = WISHES.map((name): [Wish, string] => [name, param(name)]);
  return Object.fromEntries(given.filter(([, text]) => text !== ''));
}

/** `a=b "c d"=e f="g h"` as its pairs: text with blanks stands in quotes. */
export function attributesOf(text: string): string[] {
  return [...text.matchAll(/([^\s=]+)=(?:"([^"]*)"|(\S*))/g)].map(([, name, quoted, plain]) => `${name}=${quoted ?? plain ?? ''}`);
}

/** Pairs as the field shows them. */
export function attributeText(name: string, value: string): string {
  return `${name}=${/\s/.test(value) ? `"${value}"` : value}`;
}

export function searchPath(given: Wishes, span: { from: number; to: number | null }, limit = LIMIT): string {
  const query = new URLSearchParams();
  for (const [name, text] of Object.entries(given)) {
    if (name === 'attribute') attributesOf(text).forEach((pair) => query.append('attribute', pair));
    else query.set(name, text.trim());
  }
  query.set('from', String(span.from / 1000));
  if (span.to !== null) query.set('to', String(span.to / 1000));
  query.set('limit', String(limit));
  return `/api/traces?${query}`;
}

export async function page(path: string, signal?: AbortSignal): Promise<Page> {
  const { data, next } = await call<Schemas['TracesView']>('GET', path, signal ? { signal } : {});
  return { traces: data.traces, next };
}

/** Traces of the page's range. */
export function search(given: Wishes, signal?: AbortSignal, limit = LIMIT): Promise<Page> {
  const { from, to } = range.peek();
  return page(searchPath(given, { from, to: isLive.peek() ? null : to }, limit), signal);
}

export function traceHref(id: string): string {
  return `/traces/${id}`;
}

export function titleOf(trace: Found): string {
  return [trace.rootService, trace.rootOperation].filter(Boolean).join(' ') || 'its root has not come';
}
