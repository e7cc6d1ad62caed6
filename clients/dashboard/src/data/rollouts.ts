// Rollouts: a policy in stages, guarded by measurements of those who have it against the others.
import type { Schemas } from './fetch.ts';
import type { operations } from './schema.d.ts';
import { type Kind, kindOf, type Policy } from './policy.ts';
import { quoted } from './query.ts';

export type Rollout = Schemas['RolloutView'];
export type Guard = Schemas['RolloutGuard'];
export type Stage = Schemas['RolloutStage'];
export type Reading = Schemas['GuardReading'];
export type Move = operations['moveRollout']['parameters']['path']['move'];
export type Limit = 'minRatio' | 'maxRatio' | 'minValue' | 'maxValue';

/** A guard as it is written in the form. */
export interface Draft {
  name: string;
  query: string;
  limit: Limit;
  value: string;
  isOn: boolean;
}

export interface Plan {
  percents: string;
  bake: string;
  action: 'rollBack' | 'pause';
  guards: Draft[];
}

const NAMES: Record<Kind, string> = { cache: 'fastbreak_cache_name', batch: 'fastbreak_batch_name' };

/** `, fastbreak_cache_name=~"users.*"` of a policy's selector. */
function targetMatcher(policy: Policy): string {
  const { target } = policy.selector ?? {};
  const name = NAMES[kindOf(policy)];
  if (!target) return '';
  const pattern = target.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&')).join('.*');
  return target.includes('*') ? `, ${name}=~${quoted(pattern)}` : `, ${name}=${quoted(target)}`;
}

/** What is worth a guard, by kind: `$group` is where instances are chosen. */
export function proposals(policy: Policy): Draft[] {
  const of = (metric: string, extra = ''): string => `rate({${quoted(metric)}, $group${extra}}[1m])`;
  const here = targetMatcher(policy);
  const p95 = (metric: string, extra = ''): string => `histogram_quantile(0.95, sum(${of(metric, extra)}))`;
  const share = (metric: string, extra: string): string => `sum(${of(metric, here + extra)}) / sum(${of(metric, here)})`;
  const draft = (name: string, limit: Limit, value: string, query: string, isOn = true): Draft => ({ name, limit, value, query, isOn });
  const request = draft('Request p95', 'maxRatio', '1.5', p95('http.server.request.duration'), false);
  if (kindOf(policy) === 'cache') {
    return [
      draft('Hit ratio', 'minRatio', '0.9', share('fastbreak.cache.requests', ', fastbreak_cache_result="hit"')),
      draft('Load p95', 'maxRatio', '1.5', p95('fastbreak.cache.load.duration', here), false),
      request,
    ];
  }
  return [
    draft('Items without an answer', 'maxValue', '0.05', share('fastbreak.batch.items', ', fastbreak_batch_result!~"done|coalesced"')),
    draft('Wait p95', 'maxRatio', '2', p95('fastbreak.batch.call.wait', here), false),
    draft('Call p95', 'maxRatio', '1.5', p95('fastbreak.batch.call.duration', here), false),
    request,
  ];
}

export const newPlan = (policy: Policy): Plan => ({ percents: '1, 10, 50, 100', bake: '10m', action: 'rollBack', guards: proposals(policy) });

/** The stages and guards to send; numbers that are none go as they are, and the server says what is wrong with them. */
export function planned({ percents, bake, action, guards }: Plan): { stages: unknown[]; guards: unknown[] } {
  const number = (text: string): number | string => (text.trim() !== '' && Number.isFinite(Number(text)) ? Number(text) : text);
  const stages = percents.split(',').map((one) => one.replace('%', '').trim()).filter(Boolean).map((percent) => ({ percent: number(percent), bake: bake.trim() || '0s' }));
  return { stages, guards: guards.filter(({ isOn }) => isOn).map(({ name, query, limit, value }) => ({ name, query, [limit]: number(value), action })) };
}

const LIMITS: Record<Limit, string> = { minRatio: 'at least × others', maxRatio: 'at most × others', minValue: 'at least', maxValue: 'at most' };
export const limitWords = (limit: Limit): string => LIMITS[limit];

/** `at least 0.9 × others`. */
export function guardWords(guard: Guard): string {
  const all = (Object.keys(LIMITS) as Limit[]).flatMap((limit) => {
    const value = guard[limit];
    return value === undefined || value === null ? [] : [LIMITS[limit].includes('×') ? LIMITS[limit].replace('×', `${value} ×`) : `${LIMITS[limit]} ${value}`];
  });
  return all.join(', ');
}

const STATES: Record<Rollout['state'], string> = { running: 'goes on', paused: 'is paused', done: 'is done', rolled_back: 'was rolled back' };
export const stateWords = (state: Rollout['state']): string => STATES[state];
export const isOpen = ({ state }: Rollout): boolean => state === 'running' || state === 'paused';
