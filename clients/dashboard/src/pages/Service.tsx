// One service: rate, errors, durations; its routes; what it uses.
import { useComputed } from '@preact/signals';
import type { ComponentChildren, JSX } from 'preact';
import { Missed, missing, SECTIONS } from './service-sections.tsx';
import { lazy } from '../components/Lazy.tsx';
import { RouteTable } from '../components/RouteTable.tsx';
import { Panel } from '../components/Panel.tsx';
import { Tile } from '../components/Tile.tsx';
import { Chart } from '../components/chart/Chart.tsx';
import { Heatmap } from '../components/chart/Heatmap.tsx';
import { boxOf, boxText } from '../data/compare.ts';
import { exemplars } from '../data/exemplars.ts';
import { queryNow, quoted } from '../data/query.ts';
import { range } from '../data/range.ts';
import { buckets, errorShare, quantile, rateByStatus, requestRate, requestSeries, spanBuckets } from '../data/red.ts';
import { ago } from '../data/time.ts';
import { param, set } from '../data/url.ts';
import { useAgain, useLoad } from '../data/use.ts';

const Compare = lazy(async () => (await import('./tracing.ts')).Compare);
const ServiceTraces = lazy(async () => (await import('./tracing.ts')).ServiceTraces);

/** Red is for errors alone. */
function statusColour(code: string): string {
  if (code === '200') return '--c1';
  const colours: Record<string, string> = { '2': '--c6', '3': '--c3', '4': '--c5', '5': '--critical' };
  return colours[code[0] ?? ''] ?? '--c8';
}

function Section({ title, children }: { title: string; children: ComponentChildren }): JSX.Element {
  return (
    <section class="section" aria-label={title}>
      <h2 class="section-title">{title}</h2>
      <div class="grid three">{children}</div>
    </section>
  );
}

/** Which metrics the service has sent. */
function useMetrics(service: string): ReturnType<typeof useLoad<Set<string>>> {
  const query = `count by (__name__) ({__name__=~".+", service_name=${quoted(service)}})`;
  const loaded = useLoad(async (signal) => new Set((await queryNow(query, signal)).map(({ labels }) => labels['__name__'] ?? '')), service, () => range.value);
  useAgain(loaded, 15_000);
  return loaded;
}

function Latency({ name, isHttp }: { name: string; isHttp: boolean }): JSX.Element {
  const box = boxOf(param('box'));
  return (
    <>
      <Heatmap key={String(isHttp)} title="Durations, all requests" query={(step) => (isHttp ? buckets(name, step) : spanBuckets(name, step))} box={box} onBox={(next) => set({ box: next && boxText(next) })} />
      {box && <Compare service={name} box={box} onClose={() => set({ box: null })} />}
    </>
  );
}

export function ServicePage({ name }: { name: string }): JSX.Element {
  const metrics = useMetrics(name);
  const known = useComputed(() => metrics.value.data);
  const has = (metric: string): boolean => known.value === null || [...known.value].some((one) => one.startsWith(metric));
  const traced = useLoad((signal) => exemplars(requestSeries(name), range.peek(), signal), name, () => range.value);
  useAgain(traced, 20_000);
  const points = useComputed(() => traced.value.data ?? []);
  const isQuiet = known.value !== null && known.value.size === 0;
  const statuses = [{ query: rateByStatus(name), name: (l: Record<string, string>) => l['http_response_status_code'] ?? 'all' }];
  const quantiles = [
    { query: quantile(0.5, '', name), name: 'p50', color: '--c1' },
    { query: quantile(0.95, '', name), name: 'p95', color: '--c2' },
    { query: quantile(0.99, '', name), name: 'p99', color: '--c4' },
  ];
  return (
    <div class="page">
      {isQuiet && <p class="verdict unknown"><i aria-hidden="true" /><b>{name} sends nothing now.</b><span class="muted">Charts show what it sent before, in the range above. {ago(range.value.from, Date.now())} is where they begin.</span></p>}
      <div class="tiles" role="group" aria-label="Now">
        <Tile title="Requests" unit="1/s" expression={{ query: requestRate('', name), name: 'requests' }} />
        <Tile title="Errors" unit="%" colour="--c8" expression={{ query: errorShare('', name), name: 'errors' }} judge={(value) => (value >= 5 ? 'critical' : value >= 1 ? 'warning' : 'ok')} />
        <Tile title="p50" unit="s" expression={{ query: quantile(0.5, '', name), name: 'p50' }} />
        <Tile title="p95" unit="s" colour="--c2" expression={{ query: quantile(0.95, '', name), name: 'p95' }} />
        <Tile title="p99" unit="s" colour="--c4" expression={{ query: quantile(0.99, '', name), name: 'p99' }} />
      </div>
      <div class="grid">
        {has('http_server_request_duration') ? (
          <Chart title="Requests by status" unit="1/s" expressions={statuses} colourOf={statusColour} />
        ) : (
          <Chart title="Requests" unit="1/s" expressions={[{ query: requestRate('', name), name: 'requests' }]} />
        )}
        <Chart title="Durations" unit="s" expressions={quantiles} points={points} note={points.value.length > 0 ? 'diamonds are traces' : ''} />
        {known.value && <Latency name={name} isHttp={has('http_server_request_duration')} />}
      </div>
      <ServiceTraces service={name} />
      <Panel title="Routes" wide>
        <RouteTable service={name} />
      </Panel>
      {SECTIONS.filter((section) => has(section.needs)).map((section) => (
        <Section key={section.title} title={section.title}>{section.charts(name)}</Section>
      ))}
      {known.value && <Missed sections={missing(known.value)} />}
    </div>
  );
}
