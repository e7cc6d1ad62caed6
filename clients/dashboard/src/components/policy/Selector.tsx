// Whom a policy is for: a service, a key space or batcher, labels that the instance gave.
import { type Signal, useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import type { Schemas } from '../../data/fetch.ts';
import { kindOf, type Policy, read, write } from '../../data/policy.ts';
import { useGet } from '../../data/use.ts';
import { TextField } from '../TextField.tsx';

interface Props {
  policy: Signal<Policy>;
  faults: Record<string, string>;
}

type Pair = [string, string];

function Labels({ policy, faults }: Props): JSX.Element {
  // Rows as they are typed: two may have one name for a moment.
  const pairs = useSignal<Pair[]>(Object.entries(policy.peek().selector?.labels ?? {}));
  const put = (next: Pair[]): void => {
    pairs.value = next;
    const named = Object.fromEntries(next.filter(([name]) => name.trim()));
    policy.value = write(policy.value, ['selector', 'labels'], Object.keys(named).length > 0 ? named : undefined);
  };
  const change = (index: number, pair: Pair): void => put(pairs.value.map((one, n) => (n === index ? pair : one)));
  return (
    <fieldset class="whole matchers labelled">
      <legend>Only instances with all of these labels</legend>
      {pairs.value.map(([name, value], index) => (
        <span key={index}>
          <input aria-label="Label" value={name} placeholder="region" spellcheck={false} onInput={(event) => change(index, [event.currentTarget.value, value])} />
          <input aria-label="Value" value={value} placeholder="eu" spellcheck={false} onInput={(event) => change(index, [name, event.currentTarget.value])} />
          <button type="button" class="quiet" aria-label={`Remove ${name || 'the label'}`} onClick={() => put(pairs.value.filter((_, n) => n !== index))}>Remove</button>
        </span>
      ))}
      <button type="button" class="quiet" onClick={() => (pairs.value = [...pairs.value, ['', '']])}>Add a label</button>
      {faults['selector.labels'] !== undefined && <small class="error">{faults['selector.labels']}</small>}
    </fieldset>
  );
}

export function Selector({ policy, faults }: Props): JSX.Element {
  const services = useGet<Schemas['ServicesView']>('/api/services');
  const text = (name: string): string => String(read(policy.value, ['selector', name]) ?? '');
  const put = (name: string) => (value: string) => {
    policy.value = write(policy.value, ['selector', name], value.trim() || undefined);
  };
  const isCache = kindOf(policy.value) === 'cache';
  return (
    <>
      <TextField label="Service" value={text('service')} placeholder="every service" list="services" error={faults['selector.service']} onChange={put('service')} />
      <datalist id="services">{services.value.data?.services.map(({ name }) => <option key={name} value={name} />)}</datalist>
      <TextField label={isCache ? 'Key space' : 'Batcher'} value={text('target')} placeholder={`every ${isCache ? 'key space' : 'batcher'}; users* is a pattern`} error={faults['selector.target']} onChange={put('target')} />
      <Labels policy={policy} faults={faults} />
    </>
  );
}
