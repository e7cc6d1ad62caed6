// Alerts, rules, silences, receivers, deliveries, as the server tells of them.
import { computed, type ReadonlySignal, signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { Alert, AlertDetail, Rule, Severity } from './alerting.d.ts';
import { get } from './fetch.ts';
import { subscribe } from './live.ts';
import { type Loaded, useGet } from './use.ts';

export type * from './alerting.d.ts';

export const SEVERITIES: Severity[] = ['critical', 'warning', 'info'];

export function firing(alerts: Alert[]): Alert[] {
  return alerts.filter((alert) => alert.state === 'firing');
}

/** Worst first, then oldest. */
export function inOrder(alerts: Alert[]): Alert[] {
  const since = (alert: Alert): string => alert.startsAt ?? alert.pendingSince ?? '';
  const state = (alert: Alert): number => (alert.state === 'firing' ? 0 : 1);
  return [...alerts].sort(
    (a, b) => state(a) - state(b) || SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity) || since(a).localeCompare(since(b)),
  );
}

/** `start=…` seconds or RFC 3339 of a chart. */
export function points(chart: AlertDetail['chart']): [number, number][] {
  const start = Date.parse(chart.start ?? '');
  return chart.values.flatMap((value, n) => (value === null ? [] : [[start + n * chart.step * 1000, value] as [number, number]]));
}

const shared = signal<Loaded<Alert[]>>({ data: null, error: null, loading: true });
let users = 0;
let stop: (() => void) | null = null;
const EVERY_MS = 5000;

async function look(): Promise<void> {
  if (document.hidden && shared.peek().data) return;
  try {
    shared.value = { data: inOrder(await get<Alert[]>('/api/alerts/active')), error: null, loading: false };
  } catch (error) {
    shared.value = { data: shared.peek().data, error: error as Loaded<Alert[]>['error'], loading: false };
  }
}

/** Looks at the open alerts again, after one was acknowledged. */
export const lookAgain = (): Promise<void> => look();

/** The open alerts: told by the socket, and asked for in between. Asked for once for all who show them. */
export function useActiveAlerts(): ReadonlySignal<Loaded<Alert[]>> {
  useEffect(() => {
    users += 1;
    if (users === 1) {
      void look();
      const timer = setInterval(() => void (shared.peek().error?.isMissing || look()), EVERY_MS);
      const end = subscribe('alerts', () => void look());
      stop = () => {
        clearInterval(timer);
        end();
      };
    }
    return () => {
      users -= 1;
      if (users === 0) stop?.();
    };
  }, []);
  return shared;
}

export const openAlerts = computed(() => shared.value.data ?? []);
export const useRules = (): ReturnType<typeof useGet<Rule[]>> => useGet<Rule[]>('/api/alerts/rules', 15_000);
