// Is all well? If not, what is wrong, how bad, and since when.
import type { JSX } from 'preact';
import { AlertRows } from '../components/AlertRows.tsx';
import { Missing } from '../components/Empty.tsx';
import { Panel } from '../components/Panel.tsx';
import { ServiceTable } from '../components/ServiceTable.tsx';
import { Tile } from '../components/Tile.tsx';
import { Chart } from '../components/chart/Chart.tsx';
import { firing, SEVERITIES, useActiveAlerts } from '../data/alerts.ts';
import { errorShare, quantile, requestRate } from '../data/red.ts';
import { href } from '../data/url.ts';
import { Health } from './Health.tsx';

const SHOWN = 5;

function Verdict(): JSX.Element {
  const { data, error } = useActiveAlerts().value;
  const open = firing(data ?? []);
  if (error?.isMissing) return <Missing what="Alerts" />;
  if (!data) return <p class="verdict unknown">{error ? error.message : 'Looking…'}</p>;
  const pending = data.length - open.length;
  if (open.length === 0) {
    return (
      <p class="verdict ok">
        <i aria-hidden="true" />
        <b>No alert fires.</b>
        <span class="muted">{pending > 0 ? `${pending} pending` : ''}</span>
        <a href={href('/alerts/rules')}>Rules</a>
      </p>
    );
  }
  const worst = SEVERITIES.find((severity) => open.some((alert) => alert.severity === severity)) ?? 'info';
  const counts = SEVERITIES.map((severity) => [severity, open.filter((alert) => alert.severity === severity).length] as const);
  return (
    <section class="open-alerts" aria-label="Firing alerts">
      <p class={`verdict ${worst}`}>
        <i aria-hidden="true" />
        <b>{open.length === 1 ? '1 alert fires' : `${open.length} alerts fire`}</b>
        <span class="muted">{counts.filter(([, n]) => n > 0).map(([severity, n]) => `${n} ${severity}`).join(', ')}</span>
        <a href={href('/alerts')}>All alerts</a>
      </p>
      <AlertRows alerts={open.slice(0, SHOWN)} />
    </section>
  );
}

const over = (warning: number, critical: number) => (value: number) => (value >= critical ? 'critical' : value >= warning ? 'warning' : 'ok');

export function Overview(): JSX.Element {
  return (
    <div class="page">
      <Verdict />
      <div class="tiles" role="group" aria-label="Golden signals">
        <Tile title="Traffic" unit="1/s" expression={{ query: 'throughput', name: 'requests' }} />
        <Tile title="Latency p95" unit="ms" colour="--c2" expression={{ query: 'p95ResponseTime', name: 'p95' }} />
        <Tile title="Errors" unit="%" colour="--c8" expression={{ query: 'errorRate', name: 'errors' }} judge={over(1, 5)} />
        <Tile title="Database pool" unit="%" colour="--c4" expression={{ query: 'dbPoolUsage', name: 'used' }} judge={over(80, 95)} />
        <Tile title="Cache hits" unit="%" colour="--c5" expression={{ query: 'cacheHitRate', name: 'hits' }} />
        <Tile title="CPU" unit="%" colour="--c6" expression={{ query: 'cpuUsage', name: 'cpu' }} judge={over(85, 97)} />
      </div>
      <div class="grid">
        <Chart title="Requests by service" unit="1/s" area={false} expressions={[{ query: requestRate('service_name'), name: (l) => l['service_name'] ?? '' }]} />
        <Chart title="Latency p95 by service" unit="s" expressions={[{ query: quantile(0.95, 'service_name'), name: (l) => l['service_name'] ?? '' }]} />
        <Chart title="Errors by service" unit="%" top={1} expressions={[{ query: errorShare('service_name'), name: (l) => l['service_name'] ?? '' }]} />
        <Health />
      </div>
      <Panel title="Services" wide actions={<a href={href('/services')}>All services</a>}>
        <ServiceTable name="services" />
      </Panel>
    </div>
  );
}
