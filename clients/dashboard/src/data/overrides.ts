// Overrides: what counts instead of a policy for a while; how one is written and told, and why one ended.
import type { Schemas } from './fetch.ts';
import type { Entry } from './policy-fields.ts';
import { periodWords } from './policy-words.ts';
import { type Kind, kindOf, type Policy } from './policy.ts';
import { atClock, atFull, parseDuration } from './time.ts';

export type Override = Schemas['OverrideView'];
export type EndedOverride = Schemas['EndedOverrideView'];
export type WantedOverride = Schemas['PutOverride'];

/** The server's own is a minute, which is for those who renew. */
const LEASE = '10m';

const entry = (path: string, kind: Entry['kind'], title: string, usual: Entry['usual']): Entry => ({ path, kind, title, usual });
const CHANGES: Record<Kind, Entry[]> = {
  cache: [entry('adjustment.ttlFactor', 'number', 'Lives ×', 1), entry('adjustment.serveStale', 'period', 'Serve stale for', null)],
  batch: [entry('adjustment.rateFactor', 'number', 'Rate ×', 1), entry('adjustment.concurrencyFactor', 'number', 'Batches at once ×', 1)],
};
const LASTS = entry('lease', 'period', 'How long', '1m');

/** What can be changed of a policy; a rate that is not limited cannot be shrunk. */
export function entriesOf(policy: Policy): Entry[] {
  const isUnlimited = !policy.batch?.rate;
  return [...CHANGES[kindOf(policy)].filter(({ path }) => !(isUnlimited && path === 'adjustment.rateFactor')), LASTS];
}

/** Changes nothing yet; lasts no longer than the policy allows. */
export function newOverride({ id, bounds }: Policy): WantedOverride {
  const most = bounds?.maxLease ?? LEASE;
  const isShorter = (parseDuration(most) ?? Infinity) < (parseDuration(LEASE) ?? 0);
  return { policyId: id, adjustment: {}, lease: isShorter ? most : LEASE };
}

export const saysNothing = ({ adjustment }: WantedOverride): boolean => Object.keys(adjustment).length === 0;

/** `lives × 2, serves stale for 5 min`. */
export function adjustmentWords({ ttlFactor, serveStale, rateFactor, concurrencyFactor }: Override['adjustment']): string {
  const factor = (what: string, by: number | null | undefined): string => (typeof by === 'number' ? `${what} × ${by}` : '');
  return [factor('lives', ttlFactor), serveStale ? `serves stale for ${periodWords(serveStale)}` : '', factor('rate', rateFactor), factor('batches at once', concurrencyFactor)].filter(Boolean).join(', ');
}

/** `Ada: it is fast again`, or that its lease is over. */
export function endWords({ endAuthor, endReason }: EndedOverride): string {
  if (!endAuthor) return endReason;
  return endReason ? `${endAuthor}: ${endReason}` : `ended by ${endAuthor}`;
}

/** From when to when; the day is said once. */
export function lastedWords({ createdAt, endedAt }: EndedOverride): string {
  const [from, to] = [Date.parse(createdAt), Date.parse(endedAt)];
  const isSameDay = new Date(from).toDateString() === new Date(to).toDateString();
  return `${atFull(from)} to ${isSameDay ? atClock(to) : atFull(to)}`;
}
