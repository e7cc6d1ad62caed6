// Somebody else saved meanwhile: what they changed, and this edit on top of it.
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { ApiError, get, words } from '../../data/fetch.ts';
import { differences, policyPath } from '../../data/policies.ts';
import { type Change, merge, type Policy, type StoredPolicy, written } from '../../data/policy.ts';
import { Loading, Problem } from '../Empty.tsx';
import { Changes } from './Changes.tsx';

interface Props {
  base: StoredPolicy;
  edited: Policy;
  /** Goes on from the newest, with this edit or without. */
  onTake: (newest: StoredPolicy, keepsEdit: boolean) => void;
}

export function Stale({ base, edited, onTake }: Props): JSX.Element {
  const newest = useSignal<{ policy: StoredPolicy; changes: Change[] } | null>(null);
  const error = useSignal<ApiError | null>(null);
  useEffect(() => {
    Promise.all([get<StoredPolicy>(policyPath(base.id)), differences(base.id, { fromRevision: base.revision })])
      .then(([policy, changes]) => (newest.value = { policy, changes }))
      .catch((failure: unknown) => (error.value = failure instanceof ApiError ? failure : new ApiError(0, words(failure))));
  }, []);
  if (error.value) return <Problem error={error.value} />;
  if (!newest.value) return <Loading />;
  const { policy, changes } = newest.value;
  const { clashes } = merge(written(base), edited, written(policy));
  return (
    <div class="stale whole" role="alert">
      <p><b>{policy.author || 'Somebody'} saved revision {policy.revision} meanwhile.</b> Nothing of yours is lost, and nothing is saved yet.{policy.reason && <> They say: “{policy.reason}”.</>}</p>
      <Changes changes={changes} label="What they changed" clashes={clashes} />
      <p class="buttons">
        <button type="button" class="primary" onClick={() => onTake(policy, true)}>Keep my edit, on top of it</button>
        <button type="button" onClick={() => onTake(policy, false)}>Drop my edit</button>
      </p>
    </div>
  );
}
