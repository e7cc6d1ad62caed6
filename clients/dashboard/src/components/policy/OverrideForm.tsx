// Changes a policy for a while: how, for how long and why; what would be in force is shown before it is.
import { type Signal, useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { type Checked, plainly } from '../../data/check.ts';
import type { ApiError } from '../../data/fetch.ts';
import { adjustmentWords, entriesOf, newOverride, saysNothing, type WantedOverride } from '../../data/overrides.ts';
import { putOverride, useTrial } from '../../data/policies.ts';
import type { StoredPolicy } from '../../data/policy.ts';
import { Problem } from '../Empty.tsx';
import { tell } from '../Toasts.tsx';
import { Because } from './Because.tsx';
import { Changes } from './Changes.tsx';
import { FieldInput } from './FieldInput.tsx';

interface Props {
  policy: StoredPolicy;
  /** Overrides run already, and count too. */
  hasOthers: boolean;
  onPut: () => void;
}

function lacks(wanted: WantedOverride, { faults, changes, isDone, error }: Checked, reason: string): string {
  const wrong = Object.keys(faults).length;
  if (saysNothing(wanted)) return 'Say what is to change.';
  if (wrong > 0) return wrong === 1 ? 'One field is not as it must be.' : `${wrong} fields are not as they must be.`;
  if (isDone && !error && changes.length === 0) return 'Nothing would change: it is so already, or at its bounds.';
  return reason.trim() ? '' : 'Say why.';
}

export function OverrideForm({ policy, hasOthers, onPut }: Props): JSX.Element {
  const wanted: Signal<WantedOverride> = useSignal(newOverride(policy));
  const [reason, isBusy] = [useSignal(''), useSignal(false)];
  const failure = useSignal<ApiError | null>(null);
  const checked = useTrial(wanted, policy).value;
  const { faults, error, changes, isDone } = checked;
  const lack = lacks(wanted.value, checked, reason.value);
  const press = async (event: Event): Promise<void> => {
    event.preventDefault();
    isBusy.value = true;
    failure.value = null;
    try {
      const { adjustment } = await putOverride(wanted.value, reason.value.trim());
      tell(`${policy.name} is overridden: ${adjustmentWords(adjustment)}.`);
      onPut();
    } catch (refusal) {
      failure.value = plainly(refusal);
    }
    isBusy.value = false;
  };
  return (
    <form class="fields policy-form" aria-label="Change for a while" onSubmit={(event) => void press(event)}>
      {entriesOf(policy).map((field) => <FieldInput key={field.path} of={wanted} field={field} fault={faults[field.path]} />)}
      <Because reason={reason} required />
      {changes.length > 0 && (
        <div class="whole">
          <p class="muted">What would be in force{hasOthers && '; those that run already count before it'}</p>
          <Changes changes={changes} label="What would be in force" />
        </div>
      )}
      {(failure.value ?? error) && <Problem error={(failure.value ?? error) as ApiError} />}
      <p class="buttons">
        <button type="submit" class="primary" disabled={isBusy.value || !isDone || lack !== '' || error !== null}>Put it in force</button>
        <span class="muted" role="status">{lack}</span>
      </p>
    </form>
  );
}
