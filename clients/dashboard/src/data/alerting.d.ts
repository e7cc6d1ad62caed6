// What the server tells of alerts, rules, silences, receivers and deliveries.
export type Severity = 'info' | 'warning' | 'critical';
export type AlertState = 'pending' | 'firing' | 'resolved';
export type Words = Record<string, string>;

export interface Alert {
  id: string;
  fingerprint: string;
  ruleId: string;
  ruleName: string;
  condition: string;
  state: AlertState;
  severity: Severity;
  labels: Words;
  annotations: Words;
  value: number | null;
  threshold: number | null;
  unit: string;
  peak: number | null;
  pendingSince: string | null;
  startsAt: string | null;
  endsAt: string | null;
  resolvedReason: string | null;
  lastEvaluationAt: string | null;
  acknowledged: { by: string; at: string; note: string } | null;
  suppressed: { kind: string; id: string; reason: string }[];
}

export interface Transition {
  at: string;
  from: string;
  to: string;
  severity: Severity;
  value: number | null;
  reason: string | null;
}

export interface Attempt {
  number: number;
  beganAt: string;
  endedAt: string | null;
  outcome: string;
  status: number | null;
  detail: string | null;
}

export interface Delivery {
  id: string;
  receiver: string;
  reason: string;
  severity: Severity;
  alerts: string[];
  state: 'queued' | 'sent' | 'dead';
  attempts: number;
  createdAt: string;
  endedAt: string | null;
  nextAttemptAt: string | null;
  log: Attempt[];
}

export interface AlertDetail extends Alert {
  transitions: Transition[];
  deliveries: Delivery[];
  chart: { start: string; step: number; values: (number | null)[] } | null;
}

export interface RuleHealth {
  state: 'ok' | 'no_data' | 'error' | 'unknown';
  lastEvaluationAt: string | null;
  durationSeconds: number | null;
  error: string | null;
}

export interface RuleFields {
  id: string;
  name: string;
  condition: string;
  threshold: number;
  severity: Severity;
  enabled: boolean;
  cooldownMinutes: number;
  notificationChannels: string[];
  for?: string;
  keepFiringFor?: string;
  recoveryThreshold?: number | null;
  noData?: string;
  labels?: Words;
  annotations?: Words;
}

export interface Rule extends RuleFields {
  revision: number;
  origin: string;
  updatedAt: string;
  health: RuleHealth;
  alerts: { pending: number; firing: number };
}

export interface Matcher {
  name: string;
  op: '=' | '!=' | '=~' | '!~';
  value: string;
}

export interface Silence {
  id: string;
  matchers: Matcher[];
  startsAt: string;
  endsAt: string;
  createdBy: string;
  comment: string;
  state: 'pending' | 'active' | 'expired';
  affected: number;
}

export interface Receiver {
  id: string;
  kind: string;
  settings: Record<string, unknown>;
  secrets: Record<string, { set: boolean; last4: string | null }>;
  enabled: boolean;
  origin: string;
  revision: number;
  /** Why it cannot be used. */
  problem?: string | null;
  lastDelivery: { at: string; outcome: string } | null;
}
