// A policy as JSON: its fields by path, what two of them differ in, whom it is for.
import type { ApiError, Schemas } from './fetch.ts';

export type Policy = Schemas['Policy'];
export type StoredPolicy = Schemas['PolicyView'];
export type PolicyRevision = Schemas['PolicyRevisionView'];
export type Change = Schemas['PolicyChange'];
export type Kind = 'cache' | 'batch';
type Members = Record<string, unknown>;

/** What the server adds to what was written. */
const TOLD = new Set(['revision', 'author', 'reason', 'createdAt', 'updatedAt']);

export function written(policy: Policy | StoredPolicy): Policy {
  return Object.fromEntries(Object.entries(policy).filter(([name]) => !TOLD.has(name))) as unknown as Policy;
}

export const kindOf = (policy: Policy): Kind => (policy.batch ? 'batch' : 'cache');

export function newPolicy(kind: Kind, service: string, target: string): Policy {
  const selector = { ...(service ? { service } : {}), ...(target ? { target } : {}) };
  return { id: '', name: '', selector, enabled: true, [kind]: {} };
}

export function read(from: object, path: string[]): unknown {
  return path.reduce<unknown>((at, name) => (at as Members | null | undefined)?.[name], from);
}

/** With another value at `path`; undefined takes it away, and what is then empty below a part of the whole too. */
export function write<T extends object>(to: T, path: string[], value: unknown): T {
  return put(to as unknown as Members, path, value, 0) as unknown as T;
}

function put(at: Members, [name = '', ...rest]: string[], value: unknown, depth: number): Members {
  const next = rest.length > 0 ? put((at[name] as Members | null) ?? {}, rest, value, depth + 1) : value;
  const isEmpty = next === undefined || (rest.length > 0 && depth > 0 && Object.keys(next as Members).length === 0);
  const { [name]: _, ...others } = at;
  return isEmpty ? others : { ...at, [name]: next };
}

/** Every value with its path, as JSON; what is not set and what is empty is not there. */
function leaves(at: unknown, path: string[] = []): [string, string[], unknown][] {
  if (at === null || at === undefined) return [];
  if (typeof at !== 'object') return [[JSON.stringify(path), path, at]];
  return Object.entries(at).flatMap(([name, member]) => leaves(member, [...path, name]));
}

export function isSame(one: Policy, other: Policy): boolean {
  const text = (policy: Policy): string => leaves(policy).map(([key, , value]) => `${key}=${JSON.stringify(value)}`).sort().join('\n');
  return text(one) === text(other) && kindOf(one) === kindOf(other);
}

export interface Merged {
  policy: Policy;
  /** Paths that both changed, each to something else. */
  clashes: string[];
}

/** What `mine` changed since `base`, on top of `theirs`. */
export function merge(base: Policy, mine: Policy, theirs: Policy): Merged {
  const [was, is] = [new Map(leaves(base).map(([key, , value]) => [key, value])), new Map(leaves(mine).map(([key, , value]) => [key, value]))];
  const changed = [...leaves(base), ...leaves(mine)].filter(([key], n, all) => was.get(key) !== is.get(key) && all.findIndex((one) => one[0] === key) === n);
  const clashes: string[] = [];
  let policy = theirs;
  for (const [key, path] of changed) {
    const other = read(theirs, path);
    if (other !== was.get(key) && other !== is.get(key)) clashes.push(path.join('.'));
    policy = write(policy, path, is.get(key));
  }
  return { policy, clashes };
}

/** What a reader of numbers expects, for people. */
const EXPECTED: Record<string, string> = { u32: 'a whole number', u64: 'a whole number', f64: 'a number' };

/** `invalid value: string "soon", expected a span of time` is `must be a span of time`. */
function plain(what: string): string {
  const expected = /^invalid (?:type|value): .*, expected (.*?)(?: at line \d+ column \d+)?$/s.exec(what)?.[1];
  return expected ? `must be ${EXPECTED[expected] ?? expected}` : what;
}

/** Mistakes by field, out of a refusal's words: `field: what; field: what`. */
export function faultsOf(error: ApiError): Record<string, string> {
  if (error.status !== 400) return {};
  const parts = error.message.split(/; (?=[a-z][\w.[\]]*: )/);
  const pairs = parts.map((part) => /^([\w.[\]]+): (.*)$/s.exec(part));
  return Object.fromEntries(pairs.flatMap((pair) => (pair?.[1] && pair[2] ? [[pair[1], plain(pair[2])]] : [])));
}

/** Whether `text` is as `pattern`, in which a `*` stands for any characters; an empty pattern meets everything. */
export function glob(pattern: string, text: string): boolean {
  const escaped = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return pattern === '' || new RegExp(`^${escaped.join('.*')}$`, 's').test(text);
}

/** The policies that may be for a cache or batcher of a service, the nearest first: the longest name counts. */
export function candidates<P extends Policy>(policies: P[], kind: Kind, service: string, target: string): P[] {
  const isFor = (p: P): boolean => kindOf(p) === kind && p.enabled !== false && glob(p.selector?.service ?? '', service) && glob(p.selector?.target ?? '', target);
  const length = (p: P): number => (p.selector?.target ?? '').length;
  return policies.filter(isFor).sort((a, b) => length(b) - length(a));
}

const WHAT: Record<Kind, [string, string]> = { cache: ['key space', 'every key space'], batch: ['batcher', 'every batcher'] };

/** `key space users* of checkout, with region=eu`. */
export function isForWords(policy: Policy): string {
  const { service, target, labels } = policy.selector ?? {};
  const [one, every] = WHAT[kindOf(policy)];
  const pairs = Object.entries(labels ?? {}).map(([name, value]) => `${name}=${value}`);
  return `${target ? `${one} ${target}` : every} of ${service || 'every service'}${pairs.length > 0 ? `, with ${pairs.join(', ')}` : ''}`;
}
