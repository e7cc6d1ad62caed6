// The rules: what each watches, whether it works, and whether it fires.
import type { JSX } from 'preact';
import { AlertTabs } from '../components/AlertTabs.tsx';
import { Empty, Loading, Missing, Problem } from '../components/Empty.tsx';
import { Filter } from '../components/Filter.tsx';
import { Panel } from '../components/Panel.tsx';
import { Severity } from '../components/Severity.tsx';
import { type Column, Table } from '../components/Table.tsx';
import { tell } from '../components/Toasts.tsx';
import { type Rule, SEVERITIES, useRules } from '../data/alerts.ts';
import { call, words } from '../data/fetch.ts';
import { show } from '../data/format.ts';
import { href, param } from '../data/url.ts';
import { fieldsOf, limitOf, unitOfCondition } from '../data/rule.ts';

const HEALTH = { ok: 'ok', no_data: 'off', error: 'critical', unknown: 'off' } as const;

/** `p95ResponseTime > 1 s for 2m, critical at 3 s`. */
function whenOf(rule: Rule): JSX.Element {
  const text = (value: number): string => show(value, unitOfCondition(rule.condition));
  const own = limitOf(rule);
  const condition = own === null ? rule.condition : rule.condition.replace(/\bthreshold\b/g, text(own));
  const more = (rule.thresholds ?? []).map((one) => `, ${one.severity} at ${text(one.threshold)}`).join('');
  return <><code>{condition}</code>{rule.for && rule.for !== '0s' ? ` for ${rule.for}` : ''}{more}</>;
}

function columns(toggle: (rule: Rule) => void): Column<Rule>[] {
  return [
    { name: 'name', title: 'Rule', by: (rule) => rule.name, cell: (rule) => <a href={href(`/alerts/rules/${encodeURIComponent(rule.id)}`)}>{rule.name}</a> },
    { name: 'severity', title: 'Severity', by: (rule) => SEVERITIES.indexOf(rule.severity), cell: (rule) => <Severity severity={rule.severity} /> },
    { name: 'condition', title: 'Fires when', cell: (rule) => <span class="clip" title={rule.condition}>{whenOf(rule)}</span>, wide: true },
    { name: 'channels', title: 'Tells', cell: (rule) => rule.notificationChannels.join(', ').replace('*', 'everybody') || 'by the routes', wide: true },
    { name: 'firing', title: 'Firing', number: true, by: (rule) => rule.alerts.firing, cell: (rule) => <span class={rule.alerts.firing > 0 ? 'bad' : 'muted'}>{rule.alerts.firing}</span> },
    { name: 'health', title: 'Health', by: (rule) => rule.health.state, cell: (rule) => <span class={`state ${HEALTH[rule.health.state]}`} title={rule.health.error ?? ''}>{rule.health.state.replace('_', ' ')}</span>, wide: true },
    { name: 'enabled', title: 'On', cell: (rule) => <input type="checkbox" role="switch" aria-label={`${rule.name} is on`} checked={rule.enabled} onChange={() => toggle(rule)} /> },
  ];
}

export function RulesPage(): JSX.Element {
  const rules = useRules();
  const { data, error } = rules.value;
  const wanted = param('q').toLowerCase();
  const shown = (data ?? []).filter((rule) => `${rule.name} ${rule.condition}`.toLowerCase().includes(wanted));
  const toggle = async (rule: Rule): Promise<void> => {
    try {
      const body = { ...fieldsOf(rule), enabled: !rule.enabled, revision: rule.revision };
      await call('PUT', `/api/alerts/rules/${encodeURIComponent(rule.id)}`, { body });
    } catch (failure) {
      tell(`Not changed: ${words(failure)}`, true);
    }
    rules.again();
  };
  return (
    <div class="page">
      <AlertTabs />
      {error?.isMissing ? <Missing what="Rules" /> : error && <Problem error={error} again={rules.again} />}
      {!data && !error && <Loading />}
      {data && (
        <Panel title="Rules" note={`${data.filter((rule) => rule.enabled).length} of ${data.length} on`} wide
          actions={<><Filter label="Filter rules" /><a class="button primary" href={href('/alerts/rules/new')}>New rule</a></>}>
          {shown.length > 0 ? <Table name="rules" label="Rules" columns={columns((rule) => void toggle(rule))} rows={shown} id={(rule) => rule.id} sort="severity" /> : <Empty>{wanted ? `No rule is called like “${wanted}”.` : 'There is no rule yet.'}</Empty>}
        </Panel>
      )}
    </div>
  );
}
