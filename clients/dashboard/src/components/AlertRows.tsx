// Alerts as lines: how bad, what, since when, and whether a person has it.
import type { JSX } from 'preact';
import { type Alert, lookAgain } from '../data/alerts.ts';
import { call, words } from '../data/fetch.ts';
import { show } from '../data/format.ts';
import { person } from '../data/prefs.ts';
import { now } from '../data/range.ts';
import { span } from '../data/time.ts';
import { href } from '../data/url.ts';
import { Severity } from './Severity.tsx';
import { tell } from './Toasts.tsx';

export function labelsOf(labels: Record<string, string>): string {
  const pairs = Object.entries(labels).filter(([name]) => name !== 'alertname' && name !== 'severity');
  return pairs.map(([name, value]) => (name === 'service_name' ? value : `${name}=${value}`)).join(' · ');
}

export async function acknowledge(alert: Alert, note = ''): Promise<void> {
  try {
    await call('POST', `/api/alerts/${encodeURIComponent(alert.id)}/ack`, { body: { by: person.value || 'dashboard', note } });
    tell(`${alert.ruleName} is acknowledged.`);
  } catch (error) {
    tell(`Not acknowledged: ${words(error)}`, true);
  }
  await lookAgain();
}

function since(alert: Alert): string {
  const from = alert.startsAt ?? alert.pendingSince;
  if (!from) return '';
  return span((alert.endsAt ? Date.parse(alert.endsAt) : now.value) - Date.parse(from));
}

function Line({ alert }: { alert: Alert }): JSX.Element {
  const isOpen = alert.state === 'firing';
  return (
    <li class={`alert ${alert.severity} ${alert.state}`}>
      <Severity severity={alert.severity} state={alert.state} />
      <div class="what">
        <a href={href(`/alerts/${encodeURIComponent(alert.id)}`)}>{alert.ruleName}</a>
        <span class="muted">{labelsOf(alert.labels)}</span>
      </div>
      <span class="now" title={alert.condition}>
        <b>{show(alert.state === 'resolved' ? alert.peak : alert.value, alert.unit)}</b>
        {alert.threshold !== null && <small> of {show(alert.threshold, alert.unit)}</small>}
      </span>
      <span class="age">{since(alert)}</span>
      <span class="who">
        {alert.suppressed.length > 0 && <span class="chip" title={alert.suppressed.map(({ reason }) => reason).join('; ')}>{alert.suppressed[0]?.kind}</span>}
        {alert.acknowledged && <span class="chip" title={alert.acknowledged.note}>{alert.acknowledged.by}</span>}
        {isOpen && !alert.acknowledged && (
          <button type="button" aria-label={`Acknowledge ${alert.ruleName}`} onClick={() => void acknowledge(alert)}>Acknowledge</button>
        )}
        {alert.state === 'resolved' && <span class="muted">{alert.resolvedReason ?? 'resolved'}</span>}
      </span>
    </li>
  );
}

export function AlertRows({ alerts }: { alerts: Alert[] }): JSX.Element {
  return (
    <ul class="alerts rows">
      {alerts.map((alert) => <Line key={alert.id} alert={alert} />)}
    </ul>
  );
}
