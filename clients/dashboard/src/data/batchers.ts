// What batchers do, as PromQL over what the SDK sends.
import { each, percent, rate, type Scope, selector } from './targets.ts';

export const BATCHER = 'fastbreak_batch_name';
const RESULT = 'fastbreak_batch_result';
const EVERYWHERE: Scope = { service: '', name: '' };

export interface BatchQueries {
  items: string;
  byResult: string;
  calls: string;
  saved: string;
  perCall: string;
  wait: string;
  coalesced: string;
  retries: string;
  away: string;
  queued: string;
  active: string;
}

/** In a scope, by `by`. */
export function batchQueries(scope: Scope = EVERYWHERE, by = ''): BatchQueries {
  const of = (metric: string, extra = ''): string => selector(`fastbreak.batch.${metric}`, BATCHER, scope, extra);
  const grown = (metric: string, extra = ''): string => rate(of(metric, extra), by);
  const now = (metric: string): string => `sum${by ? ` by (${by})` : ''}(${of(metric)})`;
  const results = by ? `${by}, ${RESULT}` : RESULT;
  return {
    items: grown('items'),
    byResult: rate(of('items'), results),
    calls: grown('calls'),
    saved: grown('calls_saved'),
    perCall: each(grown('sent_items'), grown('calls')),
    wait: each(grown('wait_time'), grown('sent_items')),
    coalesced: percent(grown('items', `${RESULT}="coalesced"`), grown('items')),
    retries: grown('retries'),
    away: grown('items', `${RESULT}=~"refused|expired|given_up"`),
    queued: now('queued'),
    active: now('calls_active'),
  };
}
