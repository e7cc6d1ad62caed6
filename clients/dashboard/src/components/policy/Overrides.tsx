// What counts instead of a policy for a while, and when it ends; one more by hand; and those that ended.
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { words } from '../../data/fetch.ts';
import { adjustmentWords, type Override } from '../../data/overrides.ts';
import { endOverride, renewOverride } from '../../data/policies.ts';
import { periodWords } from '../../data/policy-words.ts';
import type { StoredPolicy } from '../../data/policy.ts';
import { now } from '../../data/range.ts';
import { span } from '../../data/time.ts';
import { useGet } from '../../data/use.ts';
import { Problem } from '../Empty.tsx';
import { Panel } from '../Panel.tsx';
import { tell } from '../Toasts.tsx';
import { EndedOverrides } from './EndedOverrides.tsx';
import { OverrideBy } from './OverrideBy.tsx';
import { OverrideForm } from './OverrideForm.tsx';

const EVERY_MS = 3000;

function Line({ one, again }: { one: Override; again: () => void }): JSX.Element {
  const run = async (work: Promise<unknown>, done: string, failed: string): Promise<void> => {
    await work.then(() => tell(done), (error: unknown) => tell(`${failed}: ${words(error)}`, true));
    again();
  };
  const what = adjustmentWords(one.adjustment);
  return (
    <li class="override">
      <span class="what">
        <b>{what}</b>
        <OverrideBy one={one} />
      </span>
      <span class="muted">ends in {span(Date.parse(one.expiresAt) - now.value)}</span>
      {/* A rule renews its own while it fires. */}
      {!one.ruleId && one.lease && <button type="button" title={`Ends ${periodWords(one.lease)} from now`} aria-label={`Renew: ${what}`} onClick={() => void run(renewOverride(one), 'The override is renewed.', 'Not renewed')}>Renew</button>}
      <button type="button" aria-label={`End it: ${what}`} onClick={() => void run(endOverride(one), 'The override is over.', 'Not ended')}>End it</button>
    </li>
  );
}

export function Overrides({ policy }: { policy: StoredPolicy }): JSX.Element | null {
  const overrides = useGet<Override[]>(`/api/overrides?policy=${encodeURIComponent(policy.id)}`, EVERY_MS);
  const isOpen = useSignal(false);
  const { data, error } = overrides.value;
  const found = data ?? [];
  const put = (): void => {
    isOpen.value = false;
    overrides.again();
  };
  if (error?.isMissing) return null;
  const button = <button type="button" aria-expanded={isOpen.value} onClick={() => (isOpen.value = !isOpen.value)}>Change for a while</button>;
  return (
    <Panel title="Overrides" note={found.length > 0 ? 'until they end' : data && 'none now'} actions={button}>
      {isOpen.value && <OverrideForm policy={policy} hasOthers={found.length > 0} onPut={put} />}
      {error && <Problem error={error} again={overrides.again} />}
      {found.length > 0 && <ul class="rows" aria-label="Overrides">{found.map((one) => <Line key={one.id} one={one} again={overrides.again} />)}</ul>}
      <EndedOverrides policyId={policy.id} running={found.map(({ id }) => id).join(' ')} />
    </Panel>
  );
}
