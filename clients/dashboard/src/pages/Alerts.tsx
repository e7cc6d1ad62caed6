// What is wrong now: worst first, then longest.
import type { JSX } from 'preact';
import { AlertRows } from '../components/AlertRows.tsx';
import { AlertTabs } from '../components/AlertTabs.tsx';
import { Empty, Loading, Missing, Problem } from '../components/Empty.tsx';
import { Panel } from '../components/Panel.tsx';
import { type Alert, firing, lookAgain, SEVERITIES, useActiveAlerts, useRules } from '../data/alerts.ts';
import { href, param, set } from '../data/url.ts';

function Calm(): JSX.Element {
  const rules = useRules();
  const all = rules.value.data ?? [];
  const enabled = all.filter((rule) => rule.enabled).length;
  return (
    <Empty>
      <p><b>No alert is open.</b></p>
      <p>{rules.value.data ? `${enabled} of ${all.length} rules are enabled.` : ''} <a href={href('/alerts/rules')}>Rules</a> · <a href={href('/alerts/history')}>What fired before</a></p>
    </Empty>
  );
}

function Severities({ alerts }: { alerts: Alert[] }): JSX.Element {
  const chosen = param('severity');
  return (
    <span class="choices" role="group" aria-label="Severity">
      {SEVERITIES.map((severity) => {
        const n = alerts.filter((alert) => alert.severity === severity).length;
        return (
          <button type="button" key={severity} class={severity} aria-pressed={chosen === severity} onClick={() => set({ severity: chosen === severity ? null : severity }, true)}>
            {severity} <b>{n}</b>
          </button>
        );
      })}
    </span>
  );
}

export function AlertsPage(): JSX.Element {
  const { data, error } = useActiveAlerts().value;
  const alerts = data ?? [];
  const chosen = param('severity');
  const shown = chosen ? alerts.filter(({ severity }) => severity === chosen) : alerts;
  const open = firing(shown);
  const pending = shown.filter(({ state }) => state === 'pending');
  return (
    <div class="page">
      <AlertTabs />
      {error?.isMissing ? <Missing what="Alerts" /> : error && <Problem error={error} again={() => void lookAgain()} />}
      {!data && !error && <Loading />}
      {data && (
        <Panel title="Firing" note={open.length > 0 ? open.length : ''} wide actions={alerts.length > 0 && <Severities alerts={alerts} />}>
          {open.length > 0 ? <AlertRows alerts={open} /> : alerts.length === 0 ? <Calm /> : <Empty>{chosen ? `Nothing ${chosen} fires.` : 'Nothing fires.'}</Empty>}
        </Panel>
      )}
      {pending.length > 0 && (
        <Panel title="Pending" note="past the threshold, not yet for long enough" wide>
          <AlertRows alerts={pending} />
        </Panel>
      )}
    </div>
  );
}
