// Caches and batchers as their series tell of them: which there are, what each does now, which policy it runs.
import { type Labels, quoted, queryNow, queryRates, type Row } from './query.ts';
import { WINDOW } from './red.ts';
import type { Expression } from './series.ts';
import { param } from './url.ts';

/** The part of the fleet that a page looks at: everything, or one target of a service. */
export interface Scope {
  service: string;
  name: string;
}

export interface Running {
  id: string;
  /** The newest of those that are run. */
  revision: number;
  /** Instances run older ones too. */
  isMixed: boolean;
}

export interface Target extends Scope {
  running: Running | null;
  values: Record<string, number>;
}

export const EVERYWHERE: Scope = { service: '', name: '' };
export const targetOf = (): Scope => ({ service: param('service'), name: param('name') });

/** Series of `metric` in a scope; `label` is the attribute that names targets. */
export function selector(metric: string, label: string, { service, name }: Scope, extra = ''): string {
  const parts = [quoted(metric), service && `service_name=${quoted(service)}`, name && `${label}=${quoted(name)}`, extra];
  return `{${parts.filter(Boolean).join(', ')}}`;
}

/** What grows each second, summed by `by`. */
export function rate(series: string, by = ''): string {
  return `sum${by ? ` by (${by})` : ''}(rate(${series}[${WINDOW}]))`;
}

/** What there is now, summed by `by`. */
export const total = (series: string, by = ''): string => `sum${by ? ` by (${by})` : ''}(${series})`;

export const quantileOf = (q: number, series: string, by = ''): string => `histogram_quantile(${q}, ${rate(series, by)})`;

/** `of` for each of `per`; nothing where there was none of it. */
export const each = (of: string, per: string): string => `${of} / (${per} > 0)`;

/** Percent that `of` is of `all`; 0 where there was none of it. */
export const percent = (of: string, all: string): string => `100 * (${of} or 0 * ${all}) / (${all} > 0)`;

/** The value of a label, as a word. */
export const plain = (label: string) => (labels: Labels): string => (labels[label] ?? '?').replaceAll('_', ' ');

/** Lines of one target say what they are, those of all whose they are. */
export const lineOf = (label: string, isOne: boolean) => (query: string, what: string, more: Pick<Expression, 'color' | 'dash'> = {}): Expression =>
  isOne ? { query, name: what, ...more } : { query, name: (labels) => `${labels[label] ?? '?'} of ${labels['service_name'] ?? '?'}` };

const POLICY = 'fastbreak_policy_id';

/** The policy of the newest revision that is in force somewhere. */
export function runningOf(rows: Row[]): Running | null {
  const known = rows.flatMap(({ labels: { [POLICY]: id }, value }) => (id ? [{ id, revision: value }] : []));
  const newest = [...known].sort((a, b) => b.revision - a.revision)[0];
  return newest ? { ...newest, isMixed: known.some(({ id, revision }) => id !== newest.id || revision !== newest.revision) } : null;
}

/** Every target that has one of `queries`, which are summed by service and `label`, with the policy that it runs. */
export async function targets(label: string, queries: Record<string, string>, signal: AbortSignal): Promise<Target[]> {
  const by = `service_name, ${label}, ${POLICY}`;
  const revisions = (most: string): Promise<Row[]> => queryNow(`${most} by (${by}) ({"fastbreak.policy.revision", ${label}!=""})`, signal);
  const [least, most, ...answers] = await Promise.all([revisions('min'), revisions('max'), ...Object.values(queries).map((query) => queryRates(query, signal))]);
  const fields = Object.keys(queries);
  const key = (labels: Labels): string => JSON.stringify([labels['service_name'] ?? '', labels[label] ?? '']);
  const found = new Map<string, Target>();
  for (const [n, rows] of answers.entries()) {
    for (const { labels, value } of rows) {
      if (!labels[label]) continue;
      const target = found.get(key(labels)) ?? { service: labels['service_name'] ?? '', name: labels[label], running: null, values: {} };
      target.values[fields[n] ?? ''] = value;
      found.set(key(labels), target);
    }
  }
  const policies = [...least, ...most];
  return [...found.entries()].map(([id, target]) => ({ ...target, running: runningOf(policies.filter(({ labels }) => key(labels) === id)) }));
}
