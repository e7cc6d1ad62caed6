// The fields of a policy: whom it is for and what it says; parts that are seldom needed are folded away.
import type { Signal } from '@preact/signals';
import type { ComponentChildren, JSX } from 'preact';
import { type FieldGroup, GROUPS_OF } from '../../data/policy-fields.ts';
import { type Kind, kindOf, newPolicy, type Policy, read } from '../../data/policy.ts';
import { idFrom } from '../../data/rule.ts';
import { TextField } from '../TextField.tsx';
import { FieldInput } from './FieldInput.tsx';
import { Selector } from './Selector.tsx';

interface Props {
  policy: Signal<Policy>;
  isNew: boolean;
  faults: Record<string, string>;
  onSubmit: () => void;
  children: ComponentChildren;
}

function Folded({ group, policy, faults }: { group: FieldGroup; policy: Signal<Policy>; faults: Record<string, string> }): JSX.Element | null {
  const fields = group.fields.filter((field) => field.when?.(policy.value) ?? true);
  if (fields.length === 0) return null;
  const set = fields.filter(({ path, usual }) => ![undefined, null, usual].includes(read(policy.value, path.split('.')) as string)).length;
  const wrong = fields.some(({ path }) => faults[path] !== undefined);
  return (
    <details class="whole" {...(wrong ? { open: true } : {})}>
      <summary>{group.title}{set > 0 && <small> {set} set</small>}{wrong && <small class="error"> something is wrong</small>}</summary>
      <div class="fields">{fields.map((field) => <FieldInput key={field.path} of={policy} field={field} fault={faults[field.path]} />)}</div>
    </details>
  );
}

export function PolicyForm({ policy, isNew, faults, onSubmit, children }: Props): JSX.Element {
  const { value } = policy;
  const kind = kindOf(value);
  const [first, ...rest] = GROUPS_OF[kind];
  const name = (text: string): void => {
    const follows = isNew && (value.id === '' || value.id === idFrom(value.name));
    policy.value = { ...value, name: text, ...(follows ? { id: idFrom(text) } : {}) };
  };
  const turnTo = (next: Kind): void => {
    const { id, name: called, selector, bounds } = value;
    policy.value = { ...newPolicy(next, '', ''), id, name: called, ...(selector ? { selector } : {}), ...(bounds ? { bounds } : {}) };
  };
  return (
    <form class="fields policy-form" onSubmit={(event) => { event.preventDefault(); onSubmit(); }}>
      <TextField label="Name" wide value={value.name} required error={faults['name']} onChange={name} />
      {isNew && <TextField label="Id" value={value.id} error={faults['id']} onChange={(id) => (policy.value = { ...value, id: id.trim() })} />}
      {isNew && (
        <label>
          Of a
          <select value={kind} onChange={(event) => turnTo(event.currentTarget.value as Kind)}>
            <option value="cache">cache</option>
            <option value="batch">batcher</option>
          </select>
        </label>
      )}
      <Selector policy={policy} faults={faults} />
      {first?.fields.map((field) => <FieldInput key={field.path} of={policy} field={field} fault={faults[field.path]} />)}
      {rest.map((group) => <Folded key={group.title} group={group} policy={policy} faults={faults} />)}
      {children}
    </form>
  );
}
