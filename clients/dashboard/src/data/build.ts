// A first expression for a metric of each kind, and the unit of what comes out.
import type { Schemas } from './fetch.ts';
import { quoted } from './query.ts';

type Metric = Schemas['MetricView'];

export interface Choice {
  fn: string;
  title: string;
}

const HISTOGRAM: Choice[] = [
  { fn: 'p95', title: 'p95' },
  { fn: 'p50', title: 'p50' },
  { fn: 'p99', title: 'p99' },
  { fn: 'mean', title: 'mean' },
  { fn: 'count', title: 'rate' },
];
const COUNTER: Choice[] = [
  { fn: 'rate', title: 'rate' },
  { fn: 'increase', title: 'increase' },
];
const GAUGE: Choice[] = [
  { fn: 'avg', title: 'mean' },
  { fn: 'sum', title: 'sum' },
  { fn: 'max', title: 'most' },
  { fn: 'min', title: 'least' },
];

export function choices(metric: Metric): Choice[] {
  if (metric.kind.includes('histogram')) return HISTOGRAM;
  return metric.kind === 'counter' ? COUNTER : GAUGE;
}

export function defaultsOf(metric: Metric): { fn: string; by: string } {
  return { fn: metric.kind === 'updowncounter' ? 'sum' : (choices(metric)[0]?.fn ?? 'avg'), by: 'service_name' };
}

export function build(metric: Metric, fn: string, by: string): string {
  const chosen = fn || defaultsOf(metric).fn;
  const labels = by || defaultsOf(metric).by;
  const grouping = labels === 'none' ? '' : ` by (${labels})`;
  const selector = `{__name__=${quoted(metric.prometheusName)}}`;
  const rates = `sum${grouping} (rate(${selector}[5m]))`;
  switch (chosen) {
    case 'p50':
    case 'p95':
    case 'p99':
      return `histogram_quantile(0.${chosen.slice(1)}, ${rates})`;
    case 'mean':
      return `histogram_avg(${rates})`;
    case 'count':
      return `histogram_count(${rates})`;
    case 'rate':
      return rates;
    case 'increase':
      return `sum${grouping} (increase(${selector}[5m]))`;
    default:
      return `${chosen}${grouping} (${selector})`;
  }
}

export function unitOf(metric: Metric, fn: string): string {
  if (fn === 'count') return '1/s';
  if (fn === 'rate') return metric.unit === 'By' ? 'By/s' : '1/s';
  return metric.unit === '1' ? '' : metric.unit;
}
