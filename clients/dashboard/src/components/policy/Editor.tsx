// A policy on one screen: its fields, what it says, what an edit changes, and what it was before.
import { type Signal, useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { ApiError, words } from '../../data/fetch.ts';
import { remove, save, useCheck } from '../../data/policies.ts';
import { isSame, merge, newPolicy, type Kind, type Policy, type StoredPolicy, written } from '../../data/policy.ts';
import { go, param } from '../../data/url.ts';
import { Problem } from '../Empty.tsx';
import { Panel } from '../Panel.tsx';
import { tell } from '../Toasts.tsx';
import { Because } from './Because.tsx';
import { Changes } from './Changes.tsx';
import { PolicyForm } from './PolicyForm.tsx';
import { PolicyHead } from './PolicyHead.tsx';
import { PolicyHistory } from './PolicyHistory.tsx';
import { Reading } from './Reading.tsx';
import { Stale } from './Stale.tsx';

const begun = (): Policy => newPolicy((param('kind') === 'batch' ? 'batch' : 'cache') satisfies Kind, param('service'), param('target'));

export function Editor({ stored }: { stored: StoredPolicy | null }): JSX.Element {
  // What the edit began from: saving replaces that revision and no other.
  const base: Signal<StoredPolicy | null> = useSignal(stored);
  const edited: Signal<Policy> = useSignal(stored ? written(stored) : begun());
  const [reason, failure, isSaving] = [useSignal(''), useSignal<ApiError | null>(null), useSignal(false)];
  const checked = useCheck(edited, base);
  const from = base.value;
  const isEdited = from === null || !isSame(edited.value, written(from));
  const take = (next: StoredPolicy, keepsEdit = false): void => {
    const before = base.peek();
    edited.value = keepsEdit && before ? merge(written(before), edited.value, written(next)).policy : written(next);
    base.value = next;
    failure.value = null;
  };
  const fail = (error: unknown): void => {
    failure.value = error instanceof ApiError ? error : new ApiError(0, words(error));
  };
  const press = async (): Promise<void> => {
    isSaving.value = true;
    try {
      const next = await save(edited.value, from, reason.value);
      tell(`${next.name} is saved as revision ${next.revision}.`);
      reason.value = '';
      take(next);
      if (!from) go(`/policies/${encodeURIComponent(next.id)}`, true);
    } catch (error) {
      fail(error);
    }
    isSaving.value = false;
  };
  const end = async (): Promise<void> => {
    if (!from || !window.confirm(`Delete ${from.name}? Instances go back to what is in their code. Its history stays.`)) return;
    await remove(from, reason.value).then(() => go('/policies'), fail);
  };
  const { faults, error, changes, isDone } = checked.value;
  const isStale = failure.value?.status === 409 && from !== null;
  const wrong = Object.keys(faults).length;
  const isNamed = edited.value.name.trim() !== '';
  const lack = !isNamed ? 'Give the policy a name.' : wrong > 0 ? `${wrong === 1 ? 'One field is' : `${wrong} fields are`} not as ${wrong === 1 ? 'it' : 'they'} must be.` : '';
  return (
    <>
      {from && <PolicyHead policy={from} onTurned={(next) => take(next, true)} />}
      <div class="rule">
        <Panel title={from ? from.name : 'New policy'} note={from ? `${from.id}, revision ${from.revision}` : ''}>
          <PolicyForm policy={edited} isNew={!from} faults={isEdited ? faults : {}} onSubmit={() => void press()} key={from?.revision ?? 0}>
            {from && isEdited && !isStale && changes.length > 0 && (
              <div class="whole">
                <p class="muted">What changes</p>
                <Changes changes={changes} label="What changes" />
              </div>
            )}
            {isEdited && <Because reason={reason} />}
            {isStale ? <Stale base={from} edited={edited.value} onTake={take} key={from.revision} /> : failure.value && <Problem error={failure.value} />}
            {error && isEdited && <Problem error={error} />}
            <p class="buttons">
              <button type="submit" class="primary" disabled={isSaving.value || isStale || !isEdited || !isDone || !isNamed || wrong > 0 || error !== null}>{from ? 'Save' : 'Create'}</button>
              {from && isEdited && <button type="button" onClick={() => take(from)}>Undo</button>}
              {from && <button type="button" class="danger" onClick={() => void end()}>Delete</button>}
              <span class="muted" role="status">{isEdited && lack}</span>
            </p>
          </PolicyForm>
        </Panel>
        <div class="stack">
          <Reading policy={edited} />
          {from && <PolicyHistory id={from.id} now={from.revision} onReverted={take} />}
        </div>
      </div>
    </>
  );
}
