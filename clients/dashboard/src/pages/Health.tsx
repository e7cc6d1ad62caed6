// Whether the server and what it stands on are well.
import type { JSX } from 'preact';
import { Panel } from '../components/Panel.tsx';
import type { Schemas } from '../data/fetch.ts';
import { count, show } from '../data/format.ts';
import { state } from '../data/live.ts';
import { span } from '../data/time.ts';
import { href, path } from '../data/url.ts';
import { useGet, useTopic } from '../data/use.ts';

interface Line {
  name: string;
  state: 'ok' | 'warning' | 'critical' | 'off';
  word: string;
  detail: string;
}

type Signal = Schemas['SignalView'];

function lines(health: Schemas['HealthView'] | null, system: Schemas['SystemView'] | null, signals: Signal[]): Line[] {
  const of = (word: string | undefined): Line['state'] => (word === 'up' ? 'ok' : word === 'off' ? 'off' : 'critical');
  const rejected = signals.reduce((sum, signal) => sum + signal.rejected, 0);
  const accepted = signals.reduce((sum, signal) => sum + signal.accepted, 0);
  const { database, redis } = health?.components ?? {};
  return [
    { name: 'Postgres', state: of(database), word: database ?? '–', detail: system ? `${system.database.connectionsUsed} of ${system.database.connectionsMax} connections${system.database.private ? ', private' : ''}` : '' },
    { name: 'Redis', state: of(redis), word: redis ?? '–', detail: redis === 'off' ? 'memory only; answers are the same' : '' },
    { name: 'Ingest', state: rejected > 0 ? 'warning' : 'ok', word: `${count(accepted)} taken`, detail: rejected > 0 ? `${count(rejected)} rejected` : 'nothing rejected' },
    { name: 'Series', state: 'ok', word: system ? count(system.series) : '–', detail: system ? `${system.metrics} metrics, windows of ${system.windowSeconds} s` : '' },
    { name: 'This server', state: 'ok', word: system ? `up ${span(system.uptimeSeconds * 1000)}` : '–', detail: system ? `version ${system.version}` : '' },
  ];
}

export function Health(): JSX.Element {
  const health = useGet<Schemas['HealthView']>('/health', 10_000);
  const system = useGet<Schemas['SystemView']>('/api/system/info', 10_000);
  const ledger = useTopic('ledger');
  const signals = Object.entries(ledger.value ?? {}).filter(([key]) => key.startsWith('signal:')).map(([, value]) => value as Signal);
  const shown = lines(health.value.data, system.value.data, signals);
  const isAway = health.value.error !== null && health.value.data === null;
  return (
    <Panel title="Health" actions={path.value !== '/system' && <a href={href('/system')}>System</a>}>
      <ul class="health">
        {isAway && <li class="critical"><i aria-hidden="true" /><b>The server does not answer</b><span>{show(null)}</span></li>}
        {shown.map((line) => (
          <li key={line.name} class={line.state}>
            <i aria-hidden="true" />
            <b>{line.name}</b>
            <span>{line.word}</span>
            <small>{line.detail}</small>
          </li>
        ))}
        <li class={state.value === 'live' ? 'ok' : 'warning'}>
          <i aria-hidden="true" />
          <b>Live updates</b>
          <span>{state.value === 'live' ? 'connected' : state.value}</span>
          <small>{state.value === 'live' ? 'one socket for this page' : 'looking every 15 s meanwhile'}</small>
        </li>
      </ul>
    </Panel>
  );
}
