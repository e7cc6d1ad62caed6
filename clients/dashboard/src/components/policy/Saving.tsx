// What an edit changes, who makes it and why, and whether everybody gets it at once or in stages.
import { type Signal, useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { type Checked, plainly } from '../../data/check.ts';
import { type ApiError, get } from '../../data/fetch.ts';
import { policyPath, remove, save, start } from '../../data/policies.ts';
import { isSame, type Policy, type StoredPolicy, written } from '../../data/policy.ts';
import { newPlan, type Plan } from '../../data/rollouts.ts';
import { go } from '../../data/url.ts';
import { Problem } from '../Empty.tsx';
import { tell } from '../Toasts.tsx';
import { Because } from './Because.tsx';
import { Changes } from './Changes.tsx';
import { PlanForm } from './Plan.tsx';
import { Stale } from './Stale.tsx';

export interface Saver {
  reason: Signal<string>;
  /** How it is rolled out; null gives it to everybody at once. */
  plan: Signal<Plan | null>;
  failure: Signal<ApiError | null>;
  isBusy: Signal<boolean>;
  save: () => Promise<void>;
  end: () => Promise<void>;
}

/** Takes an edit to the server; `onTake` gets what is there then. */
export function useSaver(base: Signal<StoredPolicy | null>, edited: Signal<Policy>, onTake: (next: StoredPolicy) => void): Saver {
  const [reason, plan] = [useSignal(''), useSignal<Plan | null>(null)];
  const [failure, isBusy] = [useSignal<ApiError | null>(null), useSignal(false)];
  const run = async (work: () => Promise<void>): Promise<void> => {
    isBusy.value = true;
    failure.value = null;
    await work().catch((error: unknown) => void (failure.value = plainly(error)));
    isBusy.value = false;
  };
  const written = async (): Promise<void> => {
    const [from, staged] = [base.value, plan.value];
    if (from && staged) {
      const { toRevision } = await start(edited.value, from, staged, reason.value);
      tell(`Revision ${toRevision} is rolled out in stages.`);
      onTake(await get<StoredPolicy>(policyPath(from.id)));
    } else {
      const next = await save(edited.value, from, reason.value);
      tell(`${next.name} is saved as revision ${next.revision}.`);
      onTake(next);
      if (!from) go(`/policies/${encodeURIComponent(next.id)}`, true);
    }
    [reason.value, plan.value] = ['', null];
  };
  const end = async (): Promise<void> => {
    const from = base.value;
    if (!from || !window.confirm(`Delete ${from.name}? Instances go back to what is in their code. Its history stays.`)) return;
    await run(() => remove(from, reason.value).then(() => go('/policies')));
  };
  return { reason, plan, failure, isBusy, save: () => run(written), end };
}

interface Props {
  base: Signal<StoredPolicy | null>;
  edited: Signal<Policy>;
  checked: Checked;
  saver: Saver;
  onTake: (next: StoredPolicy, keepsEdit?: boolean) => void;
}

function lacks(policy: Policy, wrong: number): string {
  if (!policy.name.trim()) return 'Give the policy a name.';
  if (wrong === 0) return '';
  return wrong === 1 ? 'One field is not as it must be.' : `${wrong} fields are not as they must be.`;
}

export function Saving({ base, edited, checked, saver, onTake }: Props): JSX.Element {
  const { faults, error, changes, isDone } = checked;
  const { reason, plan, failure, isBusy } = saver;
  const from = base.value;
  const isEdited = from === null || !isSame(edited.value, written(from));
  const isStale = failure.value?.status === 409 && from !== null;
  const lack = lacks(edited.value, Object.keys(faults).length);
  const toggle = (): void => {
    plan.value = plan.value ? null : newPlan(edited.value);
  };
  const what = !from ? 'Create' : plan.value ? 'Start the rollout' : 'Save for all';
  return (
    <>
      {from && isEdited && !isStale && changes.length > 0 && (
        <div class="whole">
          <p class="muted">What changes</p>
          <Changes changes={changes} label="What changes" />
        </div>
      )}
      {isEdited && plan.value && <PlanForm plan={plan as Signal<Plan>} />}
      {isEdited && <Because reason={reason} />}
      {isStale ? <Stale base={from} edited={edited.value} onTake={onTake} key={from.revision} /> : failure.value && <Problem error={failure.value} />}
      {error && isEdited && <Problem error={error} />}
      <p class="buttons">
        <button type="submit" class="primary" disabled={isBusy.value || isStale || !isEdited || !isDone || lack !== '' || error !== null}>{what}</button>
        {from && isEdited && <button type="button" aria-pressed={plan.value !== null} onClick={toggle}>In stages</button>}
        {from && isEdited && <button type="button" onClick={() => onTake(from)}>Undo</button>}
        {from && <button type="button" class="danger" onClick={() => void saver.end()}>Delete</button>}
        <span class="muted" role="status">{isEdited && lack}</span>
      </p>
    </>
  );
}
