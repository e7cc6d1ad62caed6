// Warmings: keys that instances load before they are asked for, and what came of it.
import { ApiError, call, type Schemas } from './fetch.ts';
import { count } from './format.ts';
import type { Scope } from './targets.ts';
import { span } from './time.ts';

export type Warming = Schemas['WarmingView'];
export type Warmed = Schemas['WarmedView'];

export const KEYS_MAX = 10_000;
/** An instance that was away is told no more after so long. */
const TOLD_MS = 300_000;

export interface WarmWanted {
  service: string;
  keySpace: string;
  /** One a line: a key may have commas in it. */
  keys: string;
}

/** Each once. */
export function keysOf(text: string): string[] {
  return [...new Set(text.split('\n').map((one) => one.trim()).filter(Boolean))];
}

/** `12 of at most 10,000 keys`. */
export function countWords(keys: number): string {
  return `${count(keys)} of at most ${count(KEYS_MAX)} keys`;
}

/** Nobody to load them is told as such, not as something that is missing. */
function inWords(error: unknown, service: string): unknown {
  const isNobody = error instanceof ApiError && error.isMissing && error.message.startsWith('there is no instance');
  if (!isNobody) return error;
  return new ApiError(error.status, `No instance of ${service ? `“${service}”` : 'any service'} is connected: there is nobody to load keys.`);
}

export async function warm({ service, keySpace, keys }: WarmWanted): Promise<Warming> {
  const body = { service: service.trim(), keySpace: keySpace.trim(), keys: keysOf(keys) };
  try {
    return (await call<Warming>('POST', '/api/warmings', { body })).data;
  } catch (error) {
    throw inWords(error, body.service);
  }
}

/** Whether it loaded keys of what a page shows. */
export const isOf = ({ keySpace, instances }: Warming, { service, name }: Scope): boolean =>
  (!name || name === keySpace) && (!service || instances.some((one) => one.service === service));

export type WarmState = 'waits' | 'loaded' | 'some' | 'none';

export function stateOf({ done, loaded, failed }: Warmed): WarmState {
  if (!done) return 'waits';
  if (failed === 0) return 'loaded';
  return loaded > 0 ? 'some' : 'none';
}

/** What an instance says, in words; `ms` is how long ago it was asked. */
export function warmedWords(one: Warmed, ms: number): string {
  const words: Record<WarmState, string> = {
    waits: ms < TOLD_MS ? 'loads, or has not answered yet' : `no answer for ${span(ms)}: it may be away`,
    loaded: 'loaded',
    some: 'its source did not give all',
    none: 'no such key space, or its source gave none',
  };
  return words[stateOf(one)];
}

/** `1 of 2 instances have answered`. */
export function answeredWords(instances: Warmed[]): string {
  const done = instances.filter((one) => one.done).length;
  return instances.length === 1 ? (done === 1 ? 'the instance has answered' : 'the instance has not answered yet') : `${done} of ${instances.length} instances have answered`;
}
