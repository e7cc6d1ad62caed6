// A rule as it is edited: what of it is sent, what its condition shows on a chart.
import type { Rule, RuleFields, Severity } from './alerts.ts';

export const INDICATORS: Record<string, string> = {
  avgResponseTime: 'ms',
  p95ResponseTime: 'ms',
  p99ResponseTime: 'ms',
  throughput: '1/s',
  errorRate: '%',
  activeRequests: '{request}',
  dbPoolUsage: '%',
  dbPoolActive: '{connection}',
  avgQueryTime: 'ms',
  slowQueries: '1/min',
  cacheHitRate: '%',
  cacheMemory: 'By',
  aiProcessingTime: 'ms',
  aiConfidence: '',
  cpuUsage: '%',
  memoryUsage: '%',
  diskUsage: '%',
};

export const OPERATORS = ['>', '>=', '<', '<=', '==', '!='] as const;

const EDITED: (keyof RuleFields)[] = [
  'id', 'name', 'condition', 'threshold', 'severity', 'enabled', 'cooldownMinutes', 'notificationChannels', 'for', 'keepFiringFor', 'recoveryThreshold', 'noData', 'labels', 'annotations',
];

/** What the server only tells and does not take. */
const TOLD = new Set(['revision', 'origin', 'createdAt', 'updatedAt', 'health', 'alerts']);

/** The rule without what the server adds; fields that this page does not know are kept. */
export function fieldsOf(rule: RuleFields | Rule): RuleFields {
  const kept = Object.entries(rule).filter(([name, value]) => !TOLD.has(name) && value !== null && value !== undefined && value !== '');
  return Object.fromEntries(kept) as unknown as RuleFields;
}

/** Which fields two versions differ in. */
export function changed(before: RuleFields, after: RuleFields): (keyof RuleFields)[] {
  return EDITED.filter((name) => JSON.stringify(before[name] ?? null) !== JSON.stringify(after[name] ?? null));
}

export interface Parts {
  expression: string;
  operator: string;
}

const CONDITION = /^(.+?)\s*(>=|<=|==|!=|>|<)\s*threshold\s*$/s;

/** `expression operator threshold`; null when the condition is of another form. */
export function parts(condition: string): Parts | null {
  const found = CONDITION.exec(condition.trim());
  return found?.[1] && found[2] ? { expression: found[1].trim(), operator: found[2] } : null;
}

/** Without `threshold` in it a condition decides by itself, as in Prometheus. */
export const usesThreshold = (condition: string): boolean => /\bthreshold\b/.test(condition);

/** The rule's own threshold, where it has one. */
export function limitOf({ threshold }: RuleFields): number | null {
  return typeof threshold === 'number' && Number.isFinite(threshold) ? threshold : null;
}

/** With another threshold; where it ends moves along, in the proportion that `start` has. */
export function withThreshold(rule: RuleFields, threshold: number, start: RuleFields): RuleFields {
  const [limit, end] = [limitOf(start), start.recoveryThreshold];
  const moves = limit && typeof end === 'number' && Number.isFinite(threshold);
  return { ...rule, threshold, ...(moves ? { recoveryThreshold: Number((threshold * (end / limit)).toPrecision(4)) } : {}) };
}

export function unitOfCondition(condition: string): string {
  return INDICATORS[parts(condition)?.expression ?? ''] ?? '';
}

export function newRule(condition: string): RuleFields {
  return { id: '', name: '', condition: condition || 'p95ResponseTime > threshold', threshold: 500, severity: 'warning' as Severity, enabled: true, cooldownMinutes: 5, notificationChannels: [], for: '1m' };
}

/** An id that people can read, from the name. */
export function idFrom(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]+/g, '_').replace(/^_+|_+$/g, '').slice(0, 60);
}

/** What is missing before it can be saved, in words. */
export function lacks(rule: RuleFields): string | null {
  if (!rule.name.trim()) return 'Give the rule a name.';
  if (!rule.condition.trim()) return 'Say what to watch.';
  if (usesThreshold(rule.condition) && limitOf(rule) === null) return 'The threshold must be a number.';
  return null;
}
