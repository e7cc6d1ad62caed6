// Asks for policies, checks an edit before it is saved, writes it, for all or in stages; and makes entries invalid.
import { type Signal, useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { ApiError, call, words } from './fetch.ts';
import { type Invalidation, invalidationOf, type Wanted } from './invalidations.ts';
import { type Change, faultsOf, isSame, type Policy, type StoredPolicy, written } from './policy.ts';
import { person } from './prefs.ts';
import { type Move, type Plan, planned, type Rollout } from './rollouts.ts';

const CHECK_AFTER_MS = 300;

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

export interface Checked {
  /** What is wrong, by field. */
  faults: Record<string, string>;
  /** A refusal that names no field. */
  error: ApiError | null;
  changes: Change[];
  /** The server has looked at what is there now. */
  isDone: boolean;
}

const CLEAN: Checked = { faults: {}, error: null, changes: [], isDone: true };

async function check(policy: Policy, base: StoredPolicy | null, signal: AbortSignal): Promise<Checked> {
  const body = policy;
  if (!base) {
    await call('POST', '/api/policies?dryRun=true', { body, signal });
    return CLEAN;
  }
  await call('PUT', policyPath(policy.id, '?dryRun=true'), { body, signal });
  return { ...CLEAN, changes: await differences(policy.id, { edit: policy }) };
}

/** The server's dry run of an edit, a moment after the last key. */
export function useCheck(edited: Signal<Policy>, base: Signal<StoredPolicy | null>): Signal<Checked> {
  const result = useSignal<Checked>({ ...CLEAN, isDone: false });
  const text = JSON.stringify([edited.value, base.value?.revision]);
  useEffect(() => {
    const [policy, from] = [edited.peek(), base.peek()];
    if ((from && isSame(policy, written(from))) || !policy.name.trim()) {
      result.value = CLEAN;
      return;
    }
    result.value = { ...result.peek(), isDone: false };
    const abort = new AbortController();
    const timer = setTimeout(() => {
      check(policy, from, abort.signal)
        .then((checked) => (result.value = checked))
        .catch((failure: unknown) => {
          if (abort.signal.aborted) return;
          const error = failure instanceof ApiError ? failure : new ApiError(0, words(failure));
          const faults = faultsOf(error);
          result.value = { faults, error: Object.keys(faults).length > 0 ? null : error, changes: [], isDone: true };
        });
    }, CHECK_AFTER_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [text]);
  return result;
}
