// Who changes a policy, and why: both stay in its history.
import type { Signal } from '@preact/signals';
import type { JSX } from 'preact';
import { person } from '../../data/prefs.ts';
import { TextField } from '../TextField.tsx';

export function Because({ reason, required = false }: { reason: Signal<string>; required?: boolean }): JSX.Element {
  return (
    <>
      <TextField label="Your name" value={person.value} onChange={(name) => (person.value = name)} />
      <TextField label="Why" wide required={required} value={reason.value} placeholder="what it is to do better" onChange={(text) => (reason.value = text)} />
    </>
  );
}
