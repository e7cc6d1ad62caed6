// A service's routes with rate, errors and durations over the last minutes.
import type { JSX } from 'preact';
import { show } from '../data/format.ts';
import { queryRates, quoted, type Row as Sample } from '../data/query.ts';
import { range } from '../data/range.ts';
import { useAgain, useLoad } from '../data/use.ts';
import { Empty, Loading, Problem } from './Empty.tsx';
import { type Column, Table } from './Table.tsx';

interface Row {
  name: string;
  rate: number;
  errors: number;
  mean: number;
  p95: number;
  p99: number;
}

const BY = 'http_request_method, http_route';

async function load(service: string, signal: AbortSignal): Promise<Row[]> {
  const of = (suffix: string, extra = ''): string => `rate({__name__="http_server_request_duration_seconds${suffix}", service_name=${quoted(service)}${extra}}[5m])`;
  const sum = (expression: string): string => `sum by (${BY})(${expression})`;
  const queries = {
    rate: `histogram_count(${sum(of(''))})`,
    errors: `100 * ${sum(of('_count', ', http_response_status_code=~"5.."'))} / ${sum(of('_count'))}`,
    mean: `histogram_avg(${sum(of(''))})`,
    p95: `histogram_quantile(0.95, ${sum(of(''))})`,
    p99: `histogram_quantile(0.99, ${sum(of(''))})`,
  };
  const rows = new Map<string, Row>();
  const name = ({ labels }: Sample): string => [labels['http_request_method'], labels['http_route'] ?? 'no route'].filter(Boolean).join(' ');
  const answers = await Promise.all(Object.entries(queries).map(async ([field, query]) => [field, await queryRates(query, signal)] as const));
  for (const [field, samples] of answers) {
    for (const sample of samples) {
      const row = rows.get(name(sample)) ?? { name: name(sample), rate: 0, errors: 0, mean: NaN, p95: NaN, p99: NaN };
      rows.set(row.name, { ...row, [field]: sample.value });
    }
  }
  return [...rows.values()];
}

const COLUMNS: Column<Row>[] = [
  { name: 'name', title: 'Route', by: (row) => row.name, cell: (row) => <code>{row.name}</code> },
  { name: 'rate', title: 'Requests', number: true, by: (row) => row.rate, cell: (row) => show(row.rate, '1/s') },
  { name: 'errors', title: 'Errors', number: true, by: (row) => row.errors, cell: (row) => <span class={row.errors >= 1 ? 'bad' : ''}>{show(row.errors, '%')}</span> },
  { name: 'mean', title: 'Mean', number: true, by: (row) => row.mean, cell: (row) => show(row.mean, 's'), wide: true },
  { name: 'p95', title: 'p95', number: true, by: (row) => row.p95, cell: (row) => show(row.p95, 's') },
  { name: 'p99', title: 'p99', number: true, by: (row) => row.p99, cell: (row) => show(row.p99, 's'), wide: true },
];

export function RouteTable({ service }: { service: string }): JSX.Element {
  const loaded = useLoad((signal) => load(service, signal), service, () => range.value);
  useAgain(loaded, 10_000);
  const { data, error } = loaded.value;
  if (error && !data) return <Problem error={error} again={loaded.again} />;
  if (!data) return <Loading />;
  if (data.length === 0) return <Empty>No routes in the last five minutes. They come from the attribute <code>http.route</code> of <code>http.server.request.duration</code>.</Empty>;
  return <Table name="routes" label="Routes" columns={COLUMNS} rows={data} id={(row) => row.name} sort="-rate" />;
}
