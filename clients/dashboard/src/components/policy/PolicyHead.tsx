// Whether a policy is on, who wrote it last, and the switch that ends it at once.
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { words } from '../../data/fetch.ts';
import { turn } from '../../data/policies.ts';
import type { StoredPolicy } from '../../data/policy.ts';
import { now } from '../../data/range.ts';
import { ago } from '../../data/time.ts';
import { tell } from '../Toasts.tsx';

export function PolicyHead({ policy, onTurned }: { policy: StoredPolicy; onTurned: (next: StoredPolicy) => void }): JSX.Element {
  const isBusy = useSignal(false);
  const isOn = policy.enabled !== false;
  const press = async (): Promise<void> => {
    isBusy.value = true;
    try {
      onTurned(await turn(policy));
      tell(isOn ? `${policy.name} is off: instances go back to what is in their code.` : `${policy.name} is on.`);
    } catch (error) {
      tell(`Not changed: ${words(error)}`, true);
    }
    isBusy.value = false;
  };
  return (
    <p class={`verdict ${isOn ? 'ok' : 'warning'}`}>
      <i aria-hidden="true" />
      <b>{isOn ? 'is on' : 'is off'}</b>
      <span class="muted">revision {policy.revision} by {policy.author || 'nobody named'}, {ago(Date.parse(policy.updatedAt), now.value)}{policy.reason && `: ${policy.reason}`}</span>
      <button type="button" class={isOn ? 'danger' : ''} disabled={isBusy.value} onClick={() => void press()}>{isOn ? 'Turn off' : 'Turn on'}</button>
    </p>
  );
}
