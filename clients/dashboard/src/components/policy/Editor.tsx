// A policy on one screen: its fields, what it says, what an edit changes, who runs it, and what it was before.
import { type Signal, useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { get } from '../../data/fetch.ts';
import { policyPath, useCheck } from '../../data/policies.ts';
import { isSame, merge, newPolicy, type Policy, type StoredPolicy, written } from '../../data/policy.ts';
import { param } from '../../data/url.ts';
import { Panel } from '../Panel.tsx';
import { Fleet } from './Fleet.tsx';
import { Overrides } from './Overrides.tsx';
import { PolicyForm } from './PolicyForm.tsx';
import { PolicyHead } from './PolicyHead.tsx';
import { PolicyHistory } from './PolicyHistory.tsx';
import { Reading } from './Reading.tsx';
import { Rollouts } from './Rollouts.tsx';
import { Saving, useSaver } from './Saving.tsx';

const begun = (): Policy => newPolicy(param('kind') === 'batch' ? 'batch' : 'cache', param('service'), param('target'));

export function Editor({ stored }: { stored: StoredPolicy | null }): JSX.Element {
  // What the edit began from: saving replaces that revision and no other.
  const base: Signal<StoredPolicy | null> = useSignal(stored);
  const edited: Signal<Policy> = useSignal(stored ? written(stored) : begun());
  /** Grows when the fields are to show what was taken, not what was typed. */
  const taken = useSignal(0);
  const checked = useCheck(edited, base);
  const take = (next: StoredPolicy, keepsEdit = false): void => {
    const before = base.peek();
    edited.value = keepsEdit && before ? merge(written(before), edited.value, written(next)).policy : written(next);
    base.value = next;
    taken.value += 1;
    saver.failure.value = null;
  };
  const saver = useSaver(base, edited, take);
  const from = base.value;
  const isEdited = from === null || !isSame(edited.value, written(from));
  /** A rollout has moved: what is there may be another revision. */
  const look = async (): Promise<void> => {
    const next = from && (await get<StoredPolicy>(policyPath(from.id)).catch(() => null));
    if (next && next.revision !== base.peek()?.revision && isSame(edited.peek(), written(base.peek() ?? next))) take(next);
  };
  return (
    <>
      {from && <PolicyHead policy={from} onTurned={(next) => take(next, true)} />}
      {from && <Rollouts policyId={from.id} turn={from.revision} onMoved={() => void look()} />}
      {from && <Overrides policy={from} />}
      <div class="rule">
        <Panel title={from ? from.name : 'New policy'} note={from ? `${from.id}, revision ${from.revision}` : ''}>
          <PolicyForm policy={edited} isNew={!from} faults={isEdited ? checked.value.faults : {}} onSubmit={() => void saver.save()} key={taken.value}>
            <Saving base={base} edited={edited} checked={checked.value} saver={saver} onTake={take} />
          </PolicyForm>
        </Panel>
        <div class="stack">
          <Reading policy={edited} />
          {from && <Fleet policyId={from.id} />}
          {from && <PolicyHistory id={from.id} now={from.revision} onReverted={take} />}
        </div>
      </div>
    </>
  );
}
