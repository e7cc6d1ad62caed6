// Any metric: which labels it has, how many series, and what it does over time.
import { useComputed } from '@preact/signals';
import type { JSX } from 'preact';
import { Filter } from '../components/Filter.tsx';
import { Empty, Loading, Problem } from '../components/Empty.tsx';
import { Labels } from '../components/Labels.tsx';
import { Panel } from '../components/Panel.tsx';
import { Chart } from '../components/chart/Chart.tsx';
import { QueryBar } from '../components/QueryBar.tsx';
import type { Schemas } from '../data/fetch.ts';
import { count } from '../data/format.ts';
import { nameOf } from '../data/query.ts';
import { href, param } from '../data/url.ts';
import { useGet } from '../data/use.ts';
import { build, defaultsOf, unitOf } from '../data/build.ts';

type Metric = Schemas['MetricView'];
const SHOWN = 300;

function MetricList({ metrics }: { metrics: Metric[] }): JSX.Element {
  const wanted = param('q').toLowerCase();
  const shown = metrics.filter(({ name, prometheusName }) => name.toLowerCase().includes(wanted) || prometheusName.includes(wanted));
  if (metrics.length === 0) return <Empty>No metric has arrived yet. <a href={href('/start')}>Send data</a></Empty>;
  if (shown.length === 0) return <Empty>No metric is called like “{wanted}”.</Empty>;
  const keep = wanted ? `&q=${encodeURIComponent(wanted)}` : '';
  return (
    <ul class="rows metrics">
      {shown.slice(0, SHOWN).map((metric) => (
        <li key={metric.name}>
          <a href={href(`/explore?metric=${encodeURIComponent(metric.name)}${keep}`)} aria-current={param('metric') === metric.name ? 'true' : undefined}>
            <span>{metric.name}</span>
            <small>{count(metric.series)}</small>
          </a>
        </li>
      ))}
      {shown.length > SHOWN && <li class="muted">top {SHOWN} of {shown.length}</li>}
    </ul>
  );
}

function Result({ metric, query }: { metric: Metric | undefined; query: string }): JSX.Element {
  const unit = param('query') ? '' : metric ? unitOf(metric, param('fn') || defaultsOf(metric).fn) : '';
  return (
    <Chart title={metric && !param('query') ? metric.name : 'Expression'} unit={unit} height={300} wide expressions={[{ query, name: (labels) => nameOf(labels) }]}
      actions={<a class="button quiet" href={href(`/alerts/rules/new?condition=${encodeURIComponent(`${query} > threshold`)}`)}>Alert on this</a>} />
  );
}

export function ExplorePage(): JSX.Element {
  const catalog = useGet<Schemas['MetricsView']>('/api/catalog/metrics', 30_000);
  const metrics = useComputed(() => catalog.value.data?.metrics ?? []);
  const chosen = metrics.value.find(({ name, prometheusName }) => [name, prometheusName].includes(param('metric')));
  const query = param('query') || (chosen ? build(chosen, param('fn'), param('by')) : '');
  const { error, data } = catalog.value;
  return (
    <div class="page explore">
      <Panel title="Metrics" note={data ? count(metrics.value.length) : ''}>
        <Filter label="Filter metrics" />
        {error && !data ? <Problem error={error} again={catalog.again} /> : data ? <MetricList metrics={metrics.value} /> : <Loading />}
      </Panel>
      <div class="stack">
        <QueryBar metric={chosen} query={query} />
        {query ? <Result metric={chosen} query={query} key={query} /> : <Panel title="Nothing chosen"><Empty>Choose a metric, or write PromQL above. Indicators such as <code>p95ResponseTime</code> are words of it too.</Empty></Panel>}
        {chosen && <Labels metric={chosen} />}
      </div>
    </div>
  );
}
