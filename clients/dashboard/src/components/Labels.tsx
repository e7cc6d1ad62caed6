// The labels of a metric, the one that makes most series first.
import type { JSX } from 'preact';
import type { Schemas } from '../data/fetch.ts';
import { count } from '../data/format.ts';
import { useGet } from '../data/use.ts';
import { Loading, Problem } from './Empty.tsx';
import { Panel } from './Panel.tsx';

const VALUES = 12;

export function Labels({ metric }: { metric: Schemas['MetricView'] }): JSX.Element {
  const loaded = useGet<Schemas['MetricDetail']>(`/api/catalog/metrics/${encodeURIComponent(metric.name)}?top=100`);
  const { data, error } = loaded.value;
  const note = `${metric.kind.replace('_', ' ')}${metric.unit ? ` in ${metric.unit}` : ''}, ${count(metric.series)} series`;
  return (
    <Panel title="Labels" note={note}>
      {metric.description && <p class="muted pad">{metric.description}</p>}
      {error && <Problem error={error} />}
      {!data && !error && <Loading />}
      <dl class="labels">
        {data?.labels.map((label) => (
          <div key={label.name}>
            <dt>
              <code>{label.name}</code>
              <small>{label.valueCount === 1 ? '1 value' : `${count(label.valueCount)} values`}</small>
            </dt>
            <dd>
              {label.values.slice(0, VALUES).map(({ value, series }) => (
                <span key={value} class="chip">{value}<small>{count(series)}</small></span>
              ))}
              {label.valueCount > VALUES && <span class="muted">top {VALUES} of {count(label.valueCount)}</span>}
            </dd>
          </div>
        ))}
      </dl>
    </Panel>
  );
}
