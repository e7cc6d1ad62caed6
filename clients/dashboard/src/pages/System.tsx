// The server itself: what it stands on, what it was sent, what it refused, and what makes the most series.
import type { JSX } from 'preact';
import { Panel } from '../components/Panel.tsx';
import { Tile } from '../components/Tile.tsx';
import { Problem } from '../components/Empty.tsx';
import type { Schemas } from '../data/fetch.ts';
import { count } from '../data/format.ts';
import { span } from '../data/time.ts';
import { useGet } from '../data/use.ts';
import { Health } from './Health.tsx';
import { Cardinality, Refusals, Senders, Signals } from './ledger.tsx';

function Facts({ system }: { system: Schemas['SystemView'] }): JSX.Element {
  const { addresses, database } = system;
  const rows: [string, string][] = [
    ['Version', system.version],
    ['Up', span(system.uptimeSeconds * 1000)],
    ['Dashboard', addresses.http],
    ['OTLP gRPC', addresses.grpc],
    ['OTLP HTTP', addresses.otlpHttp],
    ['Postgres', `${database.version ?? 'does not answer'}${database.private ? ', private' : ''}`],
    ['Connections', `${database.connectionsUsed} of ${database.connectionsMax}`],
    ['Redis', system.redis],
    ['Windows', `${system.windowSeconds} s`],
    ['Metrics, series', `${count(system.metrics)}, ${count(system.series)}`],
    ['Resources, identities', `${count(system.resources)}, ${count(system.identities)}`],
    ['Open windows in memory', count(system.headEntries)],
    ['Label texts', count(system.labelTexts)],
    ['Streams', system.streams.map(({ id, appliedSeq }) => `${id} at ${count(appliedSeq)}`).join(', ')],
  ];
  return (
    <dl class="facts">
      {rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

export function SystemPage(): JSX.Element {
  const system = useGet<Schemas['SystemView']>('/api/system/info', 5000);
  const { data, error } = system.value;
  return (
    <div class="page">
      <div class="tiles" role="group" aria-label="Host">
        <Tile title="CPU" unit="%" expression={{ query: 'cpuUsage', name: 'cpu' }} judge={(v) => (v >= 97 ? 'critical' : v >= 85 ? 'warning' : 'ok')} />
        <Tile title="Memory" unit="%" colour="--c2" expression={{ query: 'memoryUsage', name: 'memory' }} judge={(v) => (v >= 97 ? 'critical' : v >= 90 ? 'warning' : 'ok')} />
        <Tile title="Disk" unit="%" colour="--c3" expression={{ query: 'diskUsage', name: 'disk' }} judge={(v) => (v >= 95 ? 'critical' : v >= 85 ? 'warning' : 'ok')} />
        <Tile title="Network in" unit="By/s" colour="--c6" expression={{ query: 'sum(rate({"system.network.io", network_io_direction="receive"}[1m]))', name: 'in' }} />
        <Tile title="Network out" unit="By/s" colour="--c4" expression={{ query: 'sum(rate({"system.network.io", network_io_direction="transmit"}[1m]))', name: 'out' }} />
      </div>
      <div class="grid">
        <div class="stack">
          <Health />
          <Panel title="What was received" note="since this server started"><Signals /></Panel>
          <Panel title="What was refused" note="and what its sender was told"><Refusals /></Panel>
        </div>
        <Panel title="This server">{error && !data ? <Problem error={error} again={system.again} /> : data && <Facts system={data} />}</Panel>
      </div>
      <Panel title="Senders" wide><Senders /></Panel>
      <Panel title="What makes the most series" wide><Cardinality /></Panel>
    </div>
  );
}
