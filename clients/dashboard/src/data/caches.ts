// What caches do, as PromQL over what the SDK sends.
import { percent, quantileOf, rate, type Scope, selector, total } from './targets.ts';

export const CACHE = 'fastbreak_cache_name';
export const CAUSE = 'fastbreak_cache_miss_cause';
export const RESULT = 'fastbreak_cache_result';
export const LEVEL = 'fastbreak_cache_level';
export const REASON = 'fastbreak_cache_reason';

const HIT = `${RESULT}="hit"`;

/** Each in a scope, by `by`. A read is counted once, by what answered it. */
export function cacheQueries(scope: Scope, by = '') {
  const of = (metric: string, extra = ''): string => selector(`fastbreak.cache.${metric}`, CACHE, scope, extra);
  const grown = (metric: string, extra = ''): string => rate(of(metric, extra), by);
  const reads = grown('requests');
  const redis = grown('requests', `${LEVEL}="l2"`);
  return {
    reads,
    hits: percent(grown('requests', HIT), reads),
    memoryHits: percent(grown('requests', `${LEVEL}="l1"`), reads),
    // Nothing where there is no Redis.
    redisHits: `100 * ${redis} / ((${redis} + (${grown('requests', `${RESULT}="miss"`)} or 0 * ${redis})) > 0)`,
    misses: rate(of('misses', `${LEVEL}="l1"`), CAUSE),
    redisMisses: rate(of('misses', `${LEVEL}="l2"`), CAUSE),
    loads: grown('loads'),
    loadsBy: rate(of('loads'), RESULT),
    failed: grown('loads', `${RESULT}="failed"`),
    loadP50: quantileOf(0.5, of('load.duration'), by),
    loadP95: quantileOf(0.95, of('load.duration'), by),
    coalesced: grown('coalesced'),
    bytes: total(of('usage'), by),
    limit: total(of('limit'), by),
    entries: total(of('entries'), by),
    evicted: grown('evictions'),
    invalidated: grown('invalidations'),
    stale: grown('stale'),
    staleBy: rate(of('stale'), REASON),
    failures: rate(of('l2.failures'), REASON),
    writes: rate(of('writes'), RESULT),
    queued: total(of('behind.queued'), by),
  };
}
