// The ledger of ingest: received is accepted and rejected, by reason and by sender.
import type { JSX } from 'preact';
import { Empty, Loading } from '../components/Empty.tsx';
import { type Column, Table } from '../components/Table.tsx';
import type { Schemas } from '../data/fetch.ts';
import { count } from '../data/format.ts';
import { now } from '../data/range.ts';
import { ago, atFull } from '../data/time.ts';
import { href } from '../data/url.ts';
import { useGet, useTopic } from '../data/use.ts';

type Service = Schemas['ServiceView'];
type Signal = Schemas['SignalView'];
type Refused = Schemas['RefusedView'];
type Metric = Schemas['MetricView'];

function useItems<T>(prefix: string): [string, T][] | null {
  const { value } = useTopic('ledger');
  if (!value) return null;
  return Object.entries(value).filter(([key]) => key.startsWith(prefix)).map(([key, item]) => [key.slice(prefix.length), item as T]);
}

export function Signals(): JSX.Element {
  const signals = useItems<Signal>('signal:');
  if (!signals) return <Loading />;
  const reasons = signals.flatMap(([signal, { rejectedByReason }]) => Object.entries(rejectedByReason).map(([reason, n]) => ({ signal, reason, n })));
  return (
    <>
      <div class="scroll" tabIndex={0} role="group" aria-label="Received by signal">
        <table>
          <thead>
            <tr><th scope="col">Signal</th><th scope="col" class="num only-wide">Received</th><th scope="col" class="num">Accepted</th><th scope="col" class="num">Rejected</th><th scope="col" class="num">Sent again</th></tr>
          </thead>
          <tbody>
            {signals.map(([name, signal]) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td class="num only-wide">{count(signal.received)}</td>
                <td class="num">{count(signal.accepted)}</td>
                <td class={`num ${signal.rejected > 0 ? 'bad' : ''}`}>{count(signal.rejected)}</td>
                <td class="num">{count(signal.duplicates)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {reasons.length > 0 && (
        <ul class="reasons">
          {reasons.map(({ signal, reason, n }) => <li key={signal + reason}><code>{reason}</code><span>{count(n)} {signal}</span></li>)}
        </ul>
      )}
    </>
  );
}

export function Refusals(): JSX.Element {
  const { value } = useTopic('ledger');
  const refused = value?.['refused'] as Refused[] | undefined;
  if (!refused) return <Loading />;
  if (refused.length === 0) return <Empty>Nothing was refused since this server started.</Empty>;
  return (
    <ul class="refusals" tabIndex={0} aria-label="Refusals">
      {refused.map((one, index) => (
        <li key={one.at + index}>
          <span class="muted">{atFull(Date.parse(one.at))} · {one.signal} · {one.reason}</span>
          <p>{one.message}</p>
        </li>
      ))}
    </ul>
  );
}

const SENDERS: Column<Service>[] = [
  { name: 'name', title: 'Service', by: (row) => row.name, cell: (row) => <a href={href(`/services/${encodeURIComponent(row.name)}`)}>{row.name}</a> },
  { name: 'accepted', title: 'Accepted', number: true, by: (row) => row.accepted, cell: (row) => count(row.accepted) },
  { name: 'rejected', title: 'Rejected', number: true, by: (row) => row.rejected, cell: (row) => <span class={row.rejected > 0 ? 'bad' : ''}>{count(row.rejected)}</span> },
  { name: 'folded', title: 'Folded', number: true, by: (row) => row.folded, cell: (row) => <span class={row.folded > 0 ? 'bad' : ''}>{count(row.folded)}</span>, wide: true },
  { name: 'series', title: 'Series', number: true, by: (row) => row.series, cell: (row) => count(row.series), wide: true },
  { name: 'cap', title: 'Over its cap', by: (row) => row.overCap?.metric ?? '', cell: (row) => (row.overCap ? `${row.overCap.metric}${row.overCap.attribute ? ` by ${row.overCap.attribute}` : ''}` : '–'), wide: true },
  { name: 'seen', title: 'Last seen', number: true, by: (row) => row.lastSeen ?? '', cell: (row) => (row.lastSeen ? ago(Date.parse(row.lastSeen), now.value) : '–') },
];

export function Senders(): JSX.Element {
  const services = useItems<Service>('service:');
  if (!services) return <Loading />;
  return <Table name="senders" label="Senders" columns={SENDERS} rows={services.map(([, service]) => service)} id={(row) => row.name} sort="-accepted" />;
}

const METRICS: Column<Metric>[] = [
  { name: 'name', title: 'Metric', by: (row) => row.name, cell: (row) => <a href={href(`/explore?metric=${encodeURIComponent(row.name)}`)}>{row.name}</a> },
  { name: 'kind', title: 'Kind', by: (row) => row.kind, cell: (row) => row.kind.replace('_', ' '), wide: true },
  { name: 'unit', title: 'Unit', by: (row) => row.unit, cell: (row) => row.unit || '–', wide: true },
  { name: 'series', title: 'Series', number: true, by: (row) => row.series, cell: (row) => count(row.series) },
];

export function Cardinality(): JSX.Element {
  const { data } = useGet<Schemas['MetricsView']>('/api/catalog/metrics', 30_000).value;
  if (!data) return <Loading />;
  return <Table name="metrics" label="Metrics by series" columns={METRICS} rows={data.metrics} id={(row) => row.name} sort="-series" most={20} />;
}
