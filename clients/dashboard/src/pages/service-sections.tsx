// What a service may use: database, cache, AI; and what it would have to send for each.
import type { JSX } from 'preact';
import { Chart } from '../components/chart/Chart.tsx';
import { WINDOW, ofService } from '../data/red.ts';

interface Section {
  title: string;
  /** Prometheus name of the metric that it stands on. */
  needs: string;
  /** As OpenTelemetry calls it. */
  metric: string;
  charts: (service: string) => JSX.Element;
}

const label = (name: string) => (labels: Record<string, string>) => labels[name] ?? '';

function Database({ service }: { service: string }): JSX.Element {
  const durations = ofService('db_client_operation_duration_seconds', service);
  const by = 'db_operation_name, db_collection_name';
  const name = (l: Record<string, string>): string => `${l['db_operation_name'] ?? ''} ${l['db_collection_name'] ?? ''}`.trim();
  return (
    <>
      <Chart title="Query duration p95" unit="s" expressions={[{ query: `histogram_quantile(0.95, sum by (${by})(rate(${durations}[${WINDOW}])))`, name }]} />
      <Chart title="Queries" unit="1/s" expressions={[{ query: `histogram_count(sum by (${by})(rate(${durations}[${WINDOW}])))`, name }]} />
      <Chart title="Connections" unit="{connection}" expressions={[
        { query: `sum by (db_client_connection_state)(${ofService('db_client_connection_count', service)})`, name: label('db_client_connection_state') },
        { query: `sum(${ofService('db_client_connection_max', service)})`, name: 'limit', color: '--critical', dash: true },
      ]} />
    </>
  );
}

function Cache({ service }: { service: string }): JSX.Element {
  const of = (extra = ''): string => `sum(rate(${ofService('fastbreak_cache_requests_total', service, extra)}[${WINDOW}]))`;
  return (
    <>
      <Chart title="Cache hit ratio" unit="%" top={100} expressions={[{ query: `100 * ${of('fastbreak_cache_result="hit"')} / (${of()} > 0)`, name: 'hits' }]} />
      <Chart title="Cache look-ups" unit="1/s" expressions={[{ query: `sum by (fastbreak_cache_result)(rate(${ofService('fastbreak_cache_requests_total', service)}[${WINDOW}]))`, name: label('fastbreak_cache_result') }]} />
      <Chart title="Cache memory" unit="By" expressions={[{ query: `sum(${ofService('fastbreak_cache_usage_bytes', service)})`, name: 'held' }]} />
    </>
  );
}

function Ai({ service }: { service: string }): JSX.Element {
  const durations = ofService('gen_ai_client_operation_duration_seconds', service);
  const by = 'gen_ai_request_model';
  return (
    <>
      <Chart title="AI call duration p95" unit="s" expressions={[{ query: `histogram_quantile(0.95, sum by (${by})(rate(${durations}[${WINDOW}])))`, name: label(by) }]} />
      <Chart title="AI calls" unit="1/s" expressions={[{ query: `histogram_count(sum by (${by})(rate(${durations}[${WINDOW}])))`, name: label(by) }]} />
      <Chart title="AI confidence, mean" unit="" top={1} expressions={[{ query: `histogram_avg(sum by (${by})(rate(${ofService('fastbreak_ai_confidence', service)}[${WINDOW}])))`, name: label(by) }]} />
    </>
  );
}

export const SECTIONS: Section[] = [
  { title: 'Database', needs: 'db_client_operation_duration', metric: 'db.client.operation.duration', charts: (service) => <Database service={service} /> },
  { title: 'Cache', needs: 'fastbreak_cache_requests', metric: 'fastbreak.cache.requests', charts: (service) => <Cache service={service} /> },
  { title: 'AI', needs: 'gen_ai_client_operation_duration', metric: 'gen_ai.client.operation.duration', charts: (service) => <Ai service={service} /> },
];

export function missing(known: Set<string>): Section[] {
  return SECTIONS.filter(({ needs }) => ![...known].some((metric) => metric.startsWith(needs)));
}

export function Missed({ sections }: { sections: Section[] }): JSX.Element | null {
  if (sections.length === 0) return null;
  return (
    <details class="missed">
      <summary>Not shown: {sections.map(({ title }) => title.replace(/^[DC]/, (l) => l.toLowerCase())).join(', ')}</summary>
      <ul>
        {sections.map(({ title, metric }) => (
          <li key={title}>{title} appears once the service sends <code>{metric}</code>.</li>
        ))}
      </ul>
    </details>
  );
}
