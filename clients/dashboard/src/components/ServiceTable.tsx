// Every service with its rate, errors and durations.
import { useComputed } from '@preact/signals';
import type { JSX } from 'preact';
import { ApiError, type Schemas } from '../data/fetch.ts';
import { count, show } from '../data/format.ts';
import { errorShare, quantile, requestRate } from '../data/red.ts';
import { now } from '../data/range.ts';
import { useLines } from '../data/series.ts';
import { ago } from '../data/time.ts';
import { href, param } from '../data/url.ts';
import { useGet, useTopic } from '../data/use.ts';
import { Empty, Problem } from './Empty.tsx';
import { Spark } from './Spark.tsx';
import { type Column, Table } from './Table.tsx';

type Service = Schemas['ServiceView'];
type Points = [number, number][];

interface Row extends Service {
  rate: Points;
  errors: Points;
  p50: Points;
  p95: Points;
  p99: Points;
}

const last = (points: Points): number => points.at(-1)?.[1] ?? Number.NEGATIVE_INFINITY;
const cell = (points: Points, unit: string): string => show(points.at(-1)?.[1], unit);

const COLUMNS: Column<Row>[] = [
  { name: 'name', title: 'Service', by: (row) => row.name, cell: (row) => <a href={href(`/services/${encodeURIComponent(row.name)}`)}>{row.name}</a> },
  { name: 'rate', title: 'Requests', number: true, by: (row) => last(row.rate), cell: (row) => cell(row.rate, '1/s') },
  { name: 'rateline', title: '', cell: (row) => <Spark points={row.rate} width={90} height={20} />, wide: true },
  { name: 'errors', title: 'Errors', number: true, by: (row) => last(row.errors), cell: (row) => <span class={last(row.errors) >= 1 ? 'bad' : ''}>{cell(row.errors, '%')}</span> },
  { name: 'p50', title: 'p50', number: true, by: (row) => last(row.p50), cell: (row) => cell(row.p50, 's'), wide: true },
  { name: 'p95', title: 'p95', number: true, by: (row) => last(row.p95), cell: (row) => cell(row.p95, 's') },
  { name: 'p95line', title: '', cell: (row) => <Spark points={row.p95} width={90} height={20} colour="--c2" />, wide: true },
  { name: 'p99', title: 'p99', number: true, by: (row) => last(row.p99), cell: (row) => cell(row.p99, 's'), wide: true },
  { name: 'series', title: 'Series', number: true, by: (row) => row.series, cell: (row) => count(row.series), wide: true },
  { name: 'seen', title: 'Last seen', number: true, by: (row) => row.lastSeen ?? '', cell: (row) => (row.lastSeen ? ago(Date.parse(row.lastSeen), now.value) : '–'), wide: true },
];

export function ServiceTable({ name }: { name: string }): JSX.Element {
  const services = useGet<Schemas['ServicesView']>('/api/services');
  const live = useTopic('ledger');
  const by = 'service_name';
  const named = (query: string): { query: string; name: (labels: Record<string, string>) => string } => ({ query, name: (labels) => labels[by] ?? '' });
  const rate = useLines([named(requestRate(by))]);
  const errors = useLines([named(errorShare(by))]);
  const [p50, p95, p99] = [useLines([named(quantile(0.5, by))]), useLines([named(quantile(0.95, by))]), useLines([named(quantile(0.99, by))])];
  const rows = useComputed(() => {
    const told = Object.entries(live.value ?? {}).filter(([key]) => key.startsWith('service:')).map(([, value]) => value as Service);
    const known = told.length > 0 ? told : (services.value.data?.services ?? []);
    const of = (lines: typeof rate, service: string): Points => lines.value.lines.find((line) => line.name === service && !line.before)?.points ?? [];
    return known.map((s): Row => ({ ...s, rate: of(rate, s.name), errors: of(errors, s.name), p50: of(p50, s.name), p95: of(p95, s.name), p99: of(p99, s.name) }));
  });
  const wanted = param('q').toLowerCase();
  const shown = rows.value.filter((row) => row.name.toLowerCase().includes(wanted));
  const error = services.value.error;
  if (error instanceof ApiError && rows.value.length === 0) return <Problem error={error} again={services.again} />;
  if (shown.length === 0) {
    if (services.value.loading) return <p class="muted loading">Loading…</p>;
    return <Empty>{wanted ? `No service is called like “${wanted}”.` : <>No service has sent anything yet. <a href={href('/start')}>Send data</a></>}</Empty>;
  }
  return <Table name={name} label="Services" columns={COLUMNS} rows={shown} id={(row) => row.name} sort="-rate" />;
}
