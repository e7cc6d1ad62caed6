// Makes entries of caches invalid everywhere, and shows when no old one is read any more.
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { ApiError, words } from '../../data/fetch.ts';
import { convergenceWords, type Invalidation, invalidationWords, namesOf, type What } from '../../data/invalidations.ts';
import { invalidate } from '../../data/policies.ts';
import { now } from '../../data/range.ts';
import type { Scope } from '../../data/targets.ts';
import { atFull } from '../../data/time.ts';
import { useGet } from '../../data/use.ts';
import { Empty, Problem } from '../Empty.tsx';
import { Panel } from '../Panel.tsx';
import { TextField } from '../TextField.tsx';
import { tell } from '../Toasts.tsx';
import { Because } from './Because.tsx';

const EVERY_MS = 2000;
const SHOWN = 8;
const KINDS: Record<What, string> = { keys: 'keys', tags: 'tags', prefixes: 'keys that begin with', all: 'everything' };

function Form({ scope, onDone }: { scope: Scope; onDone: () => void }): JSX.Element {
  const [service, keySpace] = [useSignal(scope.service), useSignal(scope.name)];
  const [what, names, reason] = [useSignal<What>('keys'), useSignal(''), useSignal('')];
  const error = useSignal<ApiError | null>(null);
  const isReady = what.value === 'all' || namesOf(names.value).length > 0;
  const press = async (event: Event): Promise<void> => {
    event.preventDefault();
    const isWide = what.value === 'all' && !window.confirm(`Make everything of ${keySpace.value || 'every key space'} invalid? What is asked for is loaded anew.`);
    if (isWide) return;
    try {
      const { sequence } = await invalidate({ service: service.value, keySpace: keySpace.value, what: what.value, names: names.value }, reason.value);
      tell(`Invalidation ${sequence} is on its way.`);
      [names.value, error.value] = ['', null];
      onDone();
    } catch (failure) {
      error.value = failure instanceof ApiError ? failure : new ApiError(0, words(failure));
    }
  };
  return (
    <form class="fields policy-form" onSubmit={(event) => void press(event)}>
      <TextField label="Service" value={service.value} placeholder="every service" onChange={(text) => (service.value = text)} />
      <TextField label="Key space" value={keySpace.value} placeholder="every key space" onChange={(text) => (keySpace.value = text)} />
      <label>
        What
        <select value={what.value} onChange={(event) => (what.value = event.currentTarget.value as What)}>
          {(Object.keys(KINDS) as What[]).map((one) => <option key={one} value={one}>{KINDS[one]}</option>)}
        </select>
      </label>
      {what.value !== 'all' && <TextField label="Which, between commas" wide value={names.value} placeholder={what.value === 'prefixes' ? 'user-' : 'user-7, user-9'} onChange={(text) => (names.value = text)} />}
      <Because reason={reason} />
      {error.value && <Problem error={error.value} />}
      <p class="buttons whole"><button type="submit" class="primary" disabled={!isReady}>Make invalid</button></p>
    </form>
  );
}

/** Who has it, and whom it waits for. */
function Waiting({ sequence }: { sequence: number }): JSX.Element | null {
  const { data } = useGet<Invalidation>(`/api/invalidations/${sequence}`, EVERY_MS).value;
  if (!data) return null;
  const { acknowledged, waiting } = data;
  return <> · {acknowledged} have it{waiting.length > 0 && `, waits for ${waiting.slice(0, 3).join(', ')}${waiting.length > 3 ? ` and ${waiting.length - 3} more` : ''}`}</>;
}

function Line({ one }: { one: Invalidation }): JSX.Element {
  return (
    <li>
      <span class={`state ${one.converged ? 'ok' : 'warning'}`}>{one.sequence}</span>
      <span class="what"><span>{invalidationWords(one)}</span><small>{one.author || 'nobody named'}, {atFull(Date.parse(one.createdAt))}{one.reason && `: ${one.reason}`}</small></span>
      <span class="muted">{convergenceWords(one, now.value)}{!one.converged && <Waiting sequence={one.sequence} />}</span>
    </li>
  );
}

export function Invalidations({ scope }: { scope: Scope }): JSX.Element {
  const loaded = useGet<Invalidation[]>('/api/invalidations', EVERY_MS);
  const { data, error } = loaded.value;
  const isOpen = useSignal(false);
  const done = (): void => {
    isOpen.value = false;
    loaded.again();
  };
  if (error?.isMissing) return <></>;
  const button = <button type="button" aria-expanded={isOpen.value} onClick={() => (isOpen.value = !isOpen.value)}>Make entries invalid</button>;
  return (
    <Panel title="Invalidations" note="everywhere, in order" wide actions={button}>
      {isOpen.value && <Form scope={scope} onDone={done} />}
      {error && <Problem error={error} again={loaded.again} />}
      {data?.length === 0 && <Empty>Nothing was made invalid by hand yet.</Empty>}
      {data && data.length > 0 && <ul class="rows" aria-label="Invalidations">{data.slice(0, SHOWN).map((one) => <Line key={one.sequence} one={one} />)}</ul>}
    </Panel>
  );
}
