// The caches or batchers of all services; one leads to its charts.
import type { JSX } from 'preact';
import { show } from '../../data/format.ts';
import { targetOf, type Target } from '../../data/targets.ts';
import { href, param } from '../../data/url.ts';
import { Empty } from '../Empty.tsx';
import { Filter } from '../Filter.tsx';
import { Panel } from '../Panel.tsx';
import { type Column, Table } from '../Table.tsx';
import { RunningPolicy } from './PolicyOf.tsx';

export interface Figure {
  field: string;
  title: string;
  unit: string;
  /** Left out on a phone. */
  wide?: boolean;
  /** More than so much is a pity. */
  bad?: number;
}

interface Props {
  title: string;
  /** Where one is shown. */
  path: string;
  noun: string;
  figures: Figure[];
  found: Target[];
}

function columns({ path, noun, figures }: Props): Column<Target>[] {
  const link = ({ service, name }: Target): string => href(`${path}?${new URLSearchParams({ service, name }).toString()}`);
  const chosen = targetOf();
  const isChosen = ({ service, name }: Target): boolean => service === chosen.service && name === chosen.name;
  const of = (field: string) => (target: Target): number => target.values[field] ?? Number.NEGATIVE_INFINITY;
  return [
    { name: 'name', title: noun, by: (target) => target.name, cell: (target) => <a href={link(target)} aria-current={isChosen(target) ? 'true' : undefined}>{target.name}</a> },
    { name: 'service', title: 'Of', by: (target) => target.service, cell: (target) => <a href={href(`/services/${encodeURIComponent(target.service)}`)}>{target.service}</a>, wide: true },
    ...figures.map(({ field, title, unit, wide = false, bad }): Column<Target> => ({
      name: field, title, number: true, wide, by: of(field),
      cell: (target) => <span class={bad !== undefined && of(field)(target) > bad ? 'bad' : ''}>{show(target.values[field], unit)}</span>,
    })),
    { name: 'policy', title: 'Runs', cell: (target) => <RunningPolicy running={target.running} />, wide: true },
  ];
}

export function TargetTable(props: Props): JSX.Element {
  const { title, path, found } = props;
  const wanted = param('q').toLowerCase();
  const shown = found.filter(({ service, name }) => `${name} ${service}`.toLowerCase().includes(wanted));
  const { name } = targetOf();
  return (
    <Panel title={title} note={found.length} wide actions={<>{name && <a class="button quiet" href={href(path)}>All of them</a>}{found.length > 5 && <Filter label={`Filter ${title.toLowerCase()}`} />}</>}>
      {shown.length > 0 ? <Table name="targets" label={title} columns={columns(props)} rows={shown} id={(target) => JSON.stringify([target.service, target.name])} sort={`-${props.figures[0]?.field ?? 'name'}`} /> : <Empty>None is called like “{wanted}”.</Empty>}
    </Panel>
  );
}
