// Rate, errors and duration of a service: from HTTP server metrics, or from its server spans where it has none.
import { quoted } from './query.ts';

const HTTP = 'http_server_request_duration_seconds';
const SPAN = '"traces.span.metrics.duration", span_kind="SPAN_KIND_SERVER"';
export const WINDOW = '1m';

/** `, a="x", b="y"` of what is given. */
function matchers(labels: Record<string, string | undefined>): string {
  const given = Object.entries(labels).filter((pair): pair is [string, string] => pair[1] !== undefined);
  return given.map(([label, value]) => `, ${label}=${quoted(value)}`).join('');
}

/** The rates of both sources, summed by the labels of `by`. */
function rates(by: string, service?: string, window = WINDOW): { http: string; span: string } {
  const of = matchers({ service_name: service });
  const sum = by ? `sum by (${by})` : 'sum';
  return {
    http: `${sum}(rate({__name__="${HTTP}"${of}}[${window}]))`,
    span: `${sum}(rate({${SPAN}${of}}[${window}]))`,
  };
}

export function requestRate(by: string, service?: string, window = WINDOW): string {
  const { http, span } = rates(by, service, window);
  return `histogram_count(${http}) or histogram_count(${span})`;
}

export function quantile(q: number, by: string, service?: string, window = WINDOW): string {
  const { http, span } = rates(by, service, window);
  return `histogram_quantile(${q}, ${http}) or histogram_quantile(${q}, ${span})`;
}

/** Percent of requests answered with 5xx, 0 where none was. */
export function errorShare(by: string, service?: string, window = WINDOW): string {
  const of = matchers({ service_name: service });
  const sum = by ? `sum by (${by})` : 'sum';
  const http = (extra: string): string => `${sum}(rate({__name__="${HTTP}_count"${of}${extra}}[${window}]))`;
  const span = (extra: string): string => `histogram_count(${sum}(rate({${SPAN}${of}${extra}}[${window}])))`;
  const share = (bad: string, all: string): string => `100 * (${bad} or 0 * ${all}) / (${all} > 0)`;
  return `${share(http(', http_response_status_code=~"5.."'), http(''))} or ${share(span(', status_code="STATUS_CODE_ERROR"'), span(''))}`;
}

export function rateByStatus(service: string): string {
  const of = matchers({ service_name: service });
  return `sum by (http_response_status_code)(rate({__name__="${HTTP}_count"${of}}[${WINDOW}]))`;
}

/** Requests by latency bucket in each step. */
export function buckets(service: string, step: number): string {
  const of = matchers({ service_name: service });
  return `sum by (le)(increase({__name__="${HTTP}_bucket"${of}}[${Math.max(step / 1000, 20)}s]))`;
}

/** Bounds of a heatmap of spans, whose histograms have none of their own. */
const BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** The same from server spans. */
export function spanBuckets(service: string, step: number): string {
  const all = `sum(increase({${SPAN}${matchers({ service_name: service })}}[${Math.max(step / 1000, 20)}s]))`;
  const below = (bound: number | '+Inf'): string => `label_replace(histogram_count(${all})${bound === '+Inf' ? '' : ` * histogram_fraction(0, ${bound}, ${all})`}, "le", "${bound}", "", "")`;
  return [...BOUNDS, '+Inf' as const].map(below).join(' or ');
}

/** Series whose exemplars are requests of a service. */
export function requestSeries(service: string): string[] {
  const of = matchers({ service_name: service });
  return [`{__name__="${HTTP}"${of}}`, `{${SPAN}${of}}`];
}

/** One service's part of any metric. */
export function ofService(metric: string, service: string, extra = ''): string {
  return `{__name__=${quoted(metric)}, service_name=${quoted(service)}${extra ? `, ${extra}` : ''}}`;
}
