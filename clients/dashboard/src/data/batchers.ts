// What batchers do, as PromQL over what the SDK sends.
import { each, percent, quantileOf, rate, type Scope, selector, total } from './targets.ts';

export const BATCHER = 'fastbreak_batch_name';
export const RESULT = 'fastbreak_batch_result';

/** Each in a scope, by `by`. */
export function batchQueries(scope: Scope, by = '') {
  const of = (metric: string, extra = ''): string => selector(`fastbreak.batch.${metric}`, BATCHER, scope, extra);
  const grown = (metric: string, extra = ''): string => rate(of(metric, extra), by);
  const p95 = (metric: string): string => quantileOf(0.95, of(metric), by);
  return {
    items: grown('items'),
    byResult: rate(of('items'), RESULT),
    calls: grown('calls'),
    saved: grown('calls_saved'),
    perCall: each(grown('sent_items'), grown('calls')),
    perCallP95: p95('call.size'),
    wait: each(grown('wait_time'), grown('sent_items')),
    waitP95: p95('call.wait'),
    callP50: quantileOf(0.5, of('call.duration'), by),
    callP95: p95('call.duration'),
    coalesced: percent(grown('items', `${RESULT}="coalesced"`), grown('items')),
    retries: grown('retries'),
    away: grown('items', `${RESULT}=~"refused|expired|given_up"`),
    queued: total(of('queued'), by),
    active: total(of('calls_active'), by),
  };
}
