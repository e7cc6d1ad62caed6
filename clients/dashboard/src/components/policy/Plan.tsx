// How a rollout is to go: its stages, and the guards that take it back.
import type { Signal } from '@preact/signals';
import type { JSX } from 'preact';
import { type Draft, type Limit, limitWords, type Plan } from '../../data/rollouts.ts';
import { TextField } from '../TextField.tsx';

const LIMITS: Limit[] = ['minRatio', 'maxRatio', 'minValue', 'maxValue'];

function GuardLine({ draft, onChange }: { draft: Draft; onChange: (next: Draft) => void }): JSX.Element {
  return (
    <li class="guard">
      <label class="check"><input type="checkbox" checked={draft.isOn} onChange={(event) => onChange({ ...draft, isOn: event.currentTarget.checked })} />{draft.name || 'Guard'}</label>
      {draft.isOn && (
        <>
          <select aria-label={`${draft.name} must be`} value={draft.limit} onChange={(event) => onChange({ ...draft, limit: event.currentTarget.value as Limit })}>
            {LIMITS.map((limit) => <option key={limit} value={limit}>{limitWords(limit)}</option>)}
          </select>
          <input aria-label={`Limit of ${draft.name}`} value={draft.value} inputMode="decimal" onInput={(event) => onChange({ ...draft, value: event.currentTarget.value })} />
          <input class="query-text" aria-label={`Query of ${draft.name}`} value={draft.query} spellcheck={false} onInput={(event) => onChange({ ...draft, query: event.currentTarget.value })} />
        </>
      )}
    </li>
  );
}

export function PlanForm({ plan }: { plan: Signal<Plan> }): JSX.Element {
  const { value } = plan;
  const put = (changes: Partial<Plan>): void => {
    plan.value = { ...value, ...changes };
  };
  return (
    <fieldset class="whole plan">
      <legend>In stages</legend>
      <div class="fields">
        <TextField label="% of instances" value={value.percents} onChange={(percents) => put({ percents })} />
        <TextField label="Each holds for" value={value.bake} placeholder="0s" onChange={(bake) => put({ bake })} />
        <label>
          A broken guard
          <select value={value.action} onChange={(event) => put({ action: event.currentTarget.value as Plan['action'] })}>
            <option value="rollBack">rolls it back</option>
            <option value="pause">pauses it</option>
          </select>
        </label>
      </div>
      <p class="muted">Guards compare those who have it with the others, at the same time</p>
      <ul>
        {value.guards.map((draft, index) => <GuardLine key={index} draft={draft} onChange={(next) => put({ guards: value.guards.map((one, n) => (n === index ? next : one)) })} />)}
      </ul>
    </fieldset>
  );
}
