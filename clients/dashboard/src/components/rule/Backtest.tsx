// What the rule would have done: the same evaluation, run over the past.
import { type Signal, useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import type { Backtest as Result, BacktestSummary as Summary, RuleFields } from '../../data/alerts.ts';
import { ApiError, call, words } from '../../data/fetch.ts';
import { count } from '../../data/format.ts';
import { fieldsOf, idFrom, lacks } from '../../data/rule.ts';
import { absolute, span } from '../../data/time.ts';
import { AlertRows } from '../AlertRows.tsx';
import { Empty, Problem } from '../Empty.tsx';
import { Panel } from '../Panel.tsx';

const DAYS = [1, 7, 30];
const SHOWN = 8;

function Figures({ summary, before }: { summary: Summary; before: Summary | null | undefined }): JSX.Element {
  const rows: [string, string, string | null | undefined][] = [
    ['Alerts', count(summary.alerts), before && count(before.alerts)],
    ['Notifications', count(summary.notifications), before && count(before.notifications)],
    ['Time firing', span(summary.firingSeconds * 1000), before && span(before.firingSeconds * 1000)],
  ];
  return (
    <dl class="figures">
      {rows.map(([name, value, old]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}{old && <small> saved: {old}</small>}</dd>
        </div>
      ))}
    </dl>
  );
}

export function Backtest({ rule, id, isEdited }: { rule: Signal<RuleFields>; id: string; isEdited: boolean }): JSX.Element {
  const days = useSignal(1);
  const result = useSignal<Result | null>(null);
  const error = useSignal<ApiError | null>(null);
  const took = useSignal<number | null>(null);
  const isRunning = useSignal(false);
  const run = async (over: number): Promise<void> => {
    days.value = over;
    isRunning.value = true;
    error.value = null;
    const began = performance.now();
    const to = Date.now();
    const edit = { ...fieldsOf(rule.value), id: rule.value.id || idFrom(rule.value.name) || 'new' };
    try {
      const body = { from: absolute(to - over * 86_400_000), to: absolute(to), ...(isEdited ? { rule: edit } : {}) };
      const { data } = await call<Result>('POST', `/api/alerts/rules/${encodeURIComponent(id)}/backtest`, { body });
      result.value = data;
      took.value = performance.now() - began;
    } catch (failure) {
      result.value = null;
      error.value = failure instanceof ApiError ? failure : new ApiError(0, words(failure));
    }
    isRunning.value = false;
  };
  const { value } = result;
  const buttons = DAYS.map((n) => (
    <button type="button" key={n} aria-pressed={value !== null && days.value === n} disabled={isRunning.value || lacks({ ...rule.value, name: 'x' }) !== null} onClick={() => void run(n)}>
      {n === 1 ? '24 h' : `${n} d`}
    </button>
  ));
  const note = isRunning.value ? 'running' : took.value !== null && value ? `${count(value.evaluations)} evaluations in ${span(took.value)}` : '';
  return (
    <Panel title="What it would have done" note={note} busy={isRunning.value} actions={<span class="choices" role="group" aria-label="Backtest over">{buttons}</span>}>
      {error.value && (error.value.isMissing ? <Empty>Backtests are not available on this server.</Empty> : <Problem error={error.value} />)}
      {!value && !error.value && <Empty>Choose how far back: the rule as it stands here is run over what was measured.</Empty>}
      {value && (
        <>
          <Figures summary={value.summary} before={value.live} />
          {value.warnings.map((warning) => <p class="muted below" key={warning}>{warning}</p>)}
          {value.alerts.length > 0 ? <AlertRows alerts={value.alerts.slice(0, SHOWN)} /> : <Empty>It would not have fired.</Empty>}
          {value.alerts.length > SHOWN && <p class="muted below">top {SHOWN} of {value.alerts.length}</p>}
        </>
      )}
    </Panel>
  );
}
