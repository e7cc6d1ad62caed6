// Which instances have a policy, what each runs, and why one does not.
import type { JSX } from 'preact';
import { type Instance, spread, type Standing, standings, stateWords, summary } from '../../data/fleet.ts';
import { now } from '../../data/range.ts';
import { ago } from '../../data/time.ts';
import { href } from '../../data/url.ts';
import { useGet } from '../../data/use.ts';
import { Empty, Loading, Problem } from '../Empty.tsx';
import { Panel } from '../Panel.tsx';
import { type Column, Table } from '../Table.tsx';

const EVERY_MS = 3000;
const KINDS = { runs: 'ok', waits: 'warning', refused: 'critical', away: 'off' };

const COLUMNS: Column<Standing>[] = [
  { name: 'instance', title: 'Instance', by: ({ instance }) => instance.instance, cell: ({ instance }) => <span title={Object.entries(instance.labels).map(([name, value]) => `${name}=${value}`).join(', ')}>{instance.instance}</span> },
  { name: 'service', title: 'Of', by: ({ instance }) => instance.service, cell: ({ instance }) => <><a href={href(`/services/${encodeURIComponent(instance.service)}`)}>{instance.service}</a>{instance.version && <small> {instance.version}</small>}</>, wide: true },
  { name: 'running', title: 'Runs', number: true, by: ({ running }) => running ?? 0, cell: ({ running, assigned, isCanary, overrideId }) => (
    <>{running ?? '–'}{running !== assigned && <small> of {assigned}</small>}{isCanary && <small> ahead</small>}{overrideId && <small> overridden</small>}</>
  ) },
  { name: 'state', title: 'State', cell: ({ state, error }) => <span class={`state ${KINDS[state]} why`}>{error || stateWords(state)}</span> },
  { name: 'seen', title: 'Heard', number: true, by: ({ instance }) => instance.lastSeenAt, cell: ({ instance }) => (instance.connected ? 'connected' : ago(Date.parse(instance.lastSeenAt), now.value)), wide: true },
];

export function Fleet({ policyId }: { policyId: string }): JSX.Element {
  const fleet = useGet<Instance[]>('/api/fleet', EVERY_MS);
  const { data, error } = fleet.value;
  const found = standings(data ?? [], policyId);
  const runs = spread(found).map(([revision, count]) => `revision ${revision} on ${count}`).join(', ');
  return (
    <Panel title="Instances" note={runs}>
      {error && <Problem error={error} again={fleet.again} />}
      {!data && !error && <Loading />}
      {data && found.length === 0 && <Empty>No instance has it: none that watches this server is meant, or a nearer policy is for it.</Empty>}
      {found.length > 0 && <p class="pad">{summary(found)}.</p>}
      {found.length > 0 && <Table name="fleet" label="Instances" columns={COLUMNS} rows={found} id={({ instance }) => JSON.stringify([instance.service, instance.instance])} sort="" />}
    </Panel>
  );
}
