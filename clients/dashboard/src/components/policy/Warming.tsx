// Loads keys of caches before they are asked for, and shows what each instance that was asked has loaded.
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { plainly } from '../../data/check.ts';
import { ApiError } from '../../data/fetch.ts';
import { count } from '../../data/format.ts';
import { faultsOf } from '../../data/policy.ts';
import { now } from '../../data/range.ts';
import type { Scope } from '../../data/targets.ts';
import { ago } from '../../data/time.ts';
import { href } from '../../data/url.ts';
import { useGet } from '../../data/use.ts';
import { answeredWords, countWords, isOf, KEYS_MAX, keysOf, stateOf, type Warmed, warm, warmedWords, type Warming as Asked, type WarmState, type WarmWanted } from '../../data/warmings.ts';
import { Empty, Problem } from '../Empty.tsx';
import { Panel } from '../Panel.tsx';
import { type Column, Table } from '../Table.tsx';
import { TextField } from '../TextField.tsx';

const EVERY_MS = 1000;
const KINDS: Record<WarmState, string> = { waits: 'off', loaded: 'ok', some: 'warning', none: 'critical' };

function Form({ scope, onAsked }: { scope: Scope; onAsked: (asked: Asked) => void }): JSX.Element {
  const wanted = useSignal<WarmWanted>({ service: scope.service, keySpace: scope.name, keys: '' });
  const error = useSignal<unknown>(null);
  const { service, keySpace, keys } = wanted.value;
  const found = keysOf(keys).length;
  const put = (changes: Partial<WarmWanted>): void => {
    [wanted.value, error.value] = [{ ...wanted.value, ...changes }, null];
  };
  const press = async (event: Event): Promise<void> => {
    event.preventDefault();
    try {
      onAsked(await warm(wanted.value));
    } catch (failure) {
      error.value = failure;
    }
  };
  const faults = error.value instanceof ApiError ? faultsOf(error.value) : {};
  const wrongKey = Object.keys(faults).find((field) => field.startsWith('keys['));
  const ofKeys = faults['keys'] ?? (wrongKey && `key ${Number(/\d+/.exec(wrongKey)) + 1} ${faults[wrongKey]}`);
  const tooMany = found > KEYS_MAX ? `${count(found - KEYS_MAX)} too many` : undefined;
  const isAtField = faults['keySpace'] !== undefined || ofKeys !== undefined;
  const isReady = keySpace.trim() !== '' && found > 0 && !tooMany;
  return (
    <form class="fields policy-form" aria-label="Load keys ahead" onSubmit={(event) => void press(event)}>
      <TextField label="Service" value={service} placeholder="every service; shop* is a pattern" onChange={(text) => put({ service: text })} />
      <TextField label="Key space" value={keySpace} required error={faults['keySpace']} onChange={(text) => put({ keySpace: text })} />
      <div class="whole keys"><TextField label="Keys, one a line" rows={6} value={keys} placeholder={'user-7\nuser-9'} error={tooMany ?? ofKeys} onChange={(text) => put({ keys: text })} /></div>
      {error.value !== null && !isAtField && <Problem error={plainly(error.value)} />}
      <p class="buttons whole">
        <button type="submit" class="primary" disabled={!isReady}>Load them</button>
        <span class="muted" role="status">{countWords(found)}</span>
      </p>
    </form>
  );
}

function columns(ms: number): Column<Warmed>[] {
  return [
    { name: 'instance', title: 'Instance', by: ({ instance }) => instance, cell: ({ instance }) => instance },
    { name: 'service', title: 'Of', by: ({ service }) => service, cell: ({ service }) => <a href={href(`/services/${encodeURIComponent(service)}`)}>{service}</a>, wide: true },
    { name: 'loaded', title: 'Loaded', number: true, by: ({ loaded }) => loaded, cell: ({ done, loaded }) => (done ? count(loaded) : '–') },
    { name: 'failed', title: 'Failed', number: true, by: ({ failed }) => failed, cell: ({ done, failed }) => (done ? count(failed) : '–') },
    { name: 'state', title: 'State', cell: (one) => <span class={`state why ${KINDS[stateOf(one)]}`}>{warmedWords(one, ms)}</span> },
  ];
}

/** Follows it until every instance has answered. */
function Followed({ asked: first }: { asked: Asked }): JSX.Element {
  const isDone = useSignal(false);
  const loaded = useGet<Asked>(`/api/warmings/${encodeURIComponent(first.id)}`, isDone.value ? 0 : EVERY_MS);
  const { data, error } = loaded.value;
  const { instances, keySpace, keys, createdAt } = data ?? first;
  const [at, all] = [Date.parse(createdAt), instances.every((one) => one.done)];
  useEffect(() => void (isDone.value = all), [all]);
  return (
    <>
      {error && <Problem error={error} again={loaded.again} />}
      <p class="pad"><span role="status">{count(keys)} {keys === 1 ? 'key' : 'keys'} of {keySpace}: {answeredWords(instances)}.</span> <span class="muted">Asked for {ago(at, now.value)}.</span></p>
      <Table name="warmed" label="Instances that load" columns={columns(now.value - at)} rows={instances} id={({ service, instance }) => JSON.stringify([service, instance])} sort="" />
    </>
  );
}

export function Warming({ scope }: { scope: Scope }): JSX.Element {
  const isOpen = useSignal(false);
  const asked = useSignal<Asked | null>(null);
  // What was asked for before the page was opened, here or elsewhere.
  const before = useGet<Asked[]>('/api/warmings');
  const { data, error } = before.value;
  const shown = asked.value ?? data?.find((one) => isOf(one, scope));
  const begin = (next: Asked): void => {
    [asked.value, isOpen.value] = [next, false];
  };
  const button = <button type="button" aria-expanded={isOpen.value} onClick={() => (isOpen.value = !isOpen.value)}>Load keys ahead</button>;
  return (
    <Panel title="Warming" note="keys loaded ahead" wide actions={button}>
      {isOpen.value && <Form scope={scope} onAsked={begin} />}
      {error && <Problem error={error} again={before.again} />}
      {shown && <Followed asked={shown} key={shown.id} />}
      {!shown && !isOpen.value && <Empty>One instance of each service loads the keys that you name; through Redis the others have them too.</Empty>}
    </Panel>
  );
}
