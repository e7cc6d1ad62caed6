// Asks for policies, checks an edit before it is saved, writes it, for all, in stages or for a while; and makes entries invalid.
import type { Signal } from '@preact/signals';
import { type Checked, useChecked } from './check.ts';
import { call } from './fetch.ts';
import { type Invalidation, invalidationOf, type Wanted } from './invalidations.ts';
import { type Override, saysNothing, type WantedOverride } from './overrides.ts';
import { type Change, isSame, type Policy, type StoredPolicy, written } from './policy.ts';
import { person } from './prefs.ts';
import { type Move, type Plan, planned, type Rollout } from './rollouts.ts';

const OVERRIDES = '/api/overrides';

export const policyPath = (id: string, rest = ''): string => `/api/policies/${encodeURIComponent(id)}${rest}`;

const author = (): string => person.value.trim() || 'dashboard';

/** Who changes it, and why. */
export function because(reason: string, more: Record<string, string> = {}): string {
  return `?${new URLSearchParams({ author: author(), reason, ...more }).toString()}`;
}

const seen = (revision: number): string => `"${revision}"`;

export async function save(policy: Policy, base: StoredPolicy | null, reason: string): Promise<StoredPolicy> {
  const { data } = base
    ? await call<StoredPolicy>('PUT', policyPath(policy.id) + because(reason), { body: policy, etag: seen(base.revision) })
    : await call<StoredPolicy>('POST', `/api/policies${because(reason)}`, { body: policy });
  return data;
}

/** On or off, and nothing else: what is being edited stays as it is. */
export function turn(policy: StoredPolicy): Promise<StoredPolicy> {
  const isOn = policy.enabled !== false;
  return save({ ...written(policy), enabled: !isOn }, policy, isOn ? 'turned off' : 'turned on');
}

export async function remove({ id, revision }: StoredPolicy, reason: string): Promise<void> {
  await call('DELETE', policyPath(id) + because(reason), { etag: seen(revision) });
}

/** Makes `revision` the newest again; `now` is the one that is replaced, null after a deletion. */
export async function revert(id: string, revision: number, now: number | null, reason: string): Promise<StoredPolicy> {
  const options = { body: { revision }, ...(now === null ? {} : { etag: seen(now) }) };
  return (await call<StoredPolicy>('POST', policyPath(id, '/revert') + because(reason), options)).data;
}

export async function differences(id: string, body: { fromRevision?: number; edit?: Policy }): Promise<Change[]> {
  return (await call<Change[]>('POST', policyPath(id, '/diff'), { body })).data;
}

/** What reverting would change. */
export async function previewRevert(id: string, revision: number): Promise<Change[]> {
  const { data } = await call<Policy>('POST', policyPath(id, '/revert?dryRun=true'), { body: { revision } });
  return differences(id, { edit: data });
}

/** Gives an edit to the fleet in stages. */
export async function start(policy: Policy, base: StoredPolicy, plan: Plan, reason: string): Promise<Rollout> {
  const { data } = await call<Rollout>('POST', `/api/rollouts${because(reason)}`, { body: { policy, ...planned(plan) }, etag: seen(base.revision) });
  return data;
}

export async function move(id: string, to: Move): Promise<Rollout> {
  return (await call<Rollout>('POST', `/api/rollouts/${encodeURIComponent(id)}/${to}${because('')}`)).data;
}

export async function invalidate(wanted: Wanted, reason: string): Promise<Invalidation> {
  return (await call<Invalidation>('POST', '/api/invalidations', { body: { ...invalidationOf(wanted), author: author(), reason } })).data;
}

export async function putOverride(body: WantedOverride, reason: string): Promise<Override> {
  return (await call<Override>('POST', OVERRIDES + because(reason), { body })).data;
}

/** As it is, for its lease from now on. */
export function renewOverride({ id, policyId, adjustment, lease, reason }: Override): Promise<Override> {
  return putOverride({ id, policyId, adjustment, lease: lease ?? null }, reason);
}

export async function endOverride({ id }: Override): Promise<void> {
  await call('DELETE', `${OVERRIDES}/${encodeURIComponent(id)}${because('ended by hand')}`);
}

/** Nothing differs from a policy that is not there yet. */
async function check(policy: Policy, base: StoredPolicy | null, signal: AbortSignal): Promise<Change[]> {
  const body = policy;
  if (!base) {
    await call('POST', '/api/policies?dryRun=true', { body, signal });
    return [];
  }
  await call('PUT', policyPath(policy.id, '?dryRun=true'), { body, signal });
  return differences(policy.id, { edit: policy });
}

/** The server's dry run of an edit. */
export function useCheck(edited: Signal<Policy>, base: Signal<StoredPolicy | null>): Signal<Checked> {
  const [policy, from] = [edited.value, base.value];
  const isNothing = (from && isSame(policy, written(from))) || !policy.name.trim();
  return useChecked(JSON.stringify([policy, from?.revision]), isNothing ? null : (signal) => check(policy, from, signal));
}

async function tryOut(body: WantedOverride, signal: AbortSignal): Promise<Change[]> {
  const { data } = await call<Policy>('POST', `${OVERRIDES}?dryRun=true`, { body, signal });
  return differences(body.policyId, { edit: data });
}

/** The server's dry run of an override: what the policy is under it alone. */
export function useTrial(wanted: Signal<WantedOverride>, { revision }: StoredPolicy): Signal<Checked> {
  const body = wanted.value;
  return useChecked(JSON.stringify([body, revision]), saysNothing(body) ? null : (signal) => tryOut(body, signal));
}
