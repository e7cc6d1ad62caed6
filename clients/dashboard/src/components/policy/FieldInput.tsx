// One field of a policy or an override: its input, what it is when left empty, and what is wrong with it.
import { type Signal, useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import type { Entry } from '../../data/policy-fields.ts';
import { valueOf, valueText, valueWords } from '../../data/policy-words.ts';
import { read, write } from '../../data/policy.ts';
import { TextField } from '../TextField.tsx';

const HINTS: Partial<Record<Entry['kind'], string>> = { share: '0 to 1' };

interface Props<T> {
  of: Signal<T>;
  field: Entry;
  fault: string | undefined;
}

function Choice({ field, value, onChange, fault }: { field: Entry; value: string; fault: string | undefined; onChange: (value: string) => void }): JSX.Element {
  return (
    <label>
      {field.title}
      <select value={value} aria-invalid={fault !== undefined} onChange={(event) => onChange(event.currentTarget.value)}>
        {Object.keys(field.choices ?? {}).map((one) => <option key={one} value={one}>{one}{one === field.usual ? ' (default)' : ''}</option>)}
      </select>
      {fault !== undefined && <small class="error">{fault}</small>}
    </label>
  );
}

export function FieldInput<T extends object>({ of, field, fault }: Props<T>): JSX.Element {
  const path = field.path.split('.');
  const own = read(of.value, path);
  // As it is typed: `64 Mi` is on its way to `64 MiB`.
  const text = useSignal(valueText(field, own));
  const put = (value: unknown): void => {
    of.value = write(of.value, path, value);
  };
  if (field.kind === 'yes') {
    return (
      <label class="check">
        <input type="checkbox" checked={Boolean(own ?? field.usual)} onChange={({ currentTarget: { checked } }) => put(checked === field.usual ? undefined : checked)} />
        {field.title}
      </label>
    );
  }
  if (field.kind === 'choice') return <Choice field={field} value={String(own ?? field.usual)} fault={fault} onChange={put} />;
  const usual = field.usual === null ? 'none' : valueWords(field, field.kind === 'share' ? String(field.usual) : field.usual);
  const label = HINTS[field.kind] ? `${field.title}, ${HINTS[field.kind]}` : field.title;
  return (
    <TextField label={label} value={text.value} placeholder={usual} error={fault} onChange={(typed) => {
      text.value = typed;
      put(valueOf(field, typed));
    }} />
  );
}
