// Caches and batchers as their series tell of them: which there are, what each does now, which policy it runs.
import { type Labels, quoted, queryNow } from './query.ts';
import { WINDOW } from './red.ts';
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

/** `of` for each of `per`; nothing where there was none of it. */
export const each = (of: string, per: string): string => `${of} / (${per} > 0)`;

/** Percent that `of` is of `all`; 0 where there was none of it. */
export const percent = (of: string, all: string): string => `100 * (${of} or 0 * ${all}) / (${all} > 0)`;

const POLICY = ['fastbreak_policy_id', 'fastbreak_policy_revision'] as const;

export function runningOf(rows: Labels[]): Running | null {
  const known = rows.flatMap(({ [POLICY[0]]: id, [POLICY[1]]: revision }) => (id ? [{ id, revision: Number(revision ?? 0) }] : []));
  const newest = [...known].sort((a, b) => b.revision - a.revision)[0];
  return newest ? { ...newest, isMixed: known.length > 1 } : null;
}

/** Every target: the value of each of `queries`, which are summed by service and `label`, and the policy that `counted` is counted under. */
export async function targets(label: string, counted: string, queries: Record<string, string>, signal: AbortSignal): Promise<Target[]> {
  const by = ['service_name', label, ...POLICY].join(', ');
  const running = queryNow(`sum by (${by})(increase({${quoted(counted)}}[2m])) > 0`, signal);
  const answers = await Promise.all(Object.entries(queries).map(async ([field, query]) => [field, await queryNow(query, signal)] as const));
  const key = (labels: Labels): string => JSON.stringify([labels['service_name'] ?? '', labels[label] ?? '']);
  const found = new Map<string, Target>();
  for (const [field, rows] of answers) {
    for (const { labels, value } of rows) {
      if (labels[label] === undefined) continue;
      const target = found.get(key(labels)) ?? { service: labels['service_name'] ?? '', name: labels[label], running: null, values: {} };
      target.values[field] = value;
      found.set(key(labels), target);
    }
  }
  const policies = (await running).map(({ labels }) => labels);
  return [...found.entries()].map(([id, target]) => ({ ...target, running: runningOf(policies.filter((labels) => key(labels) === id)) }));
}
