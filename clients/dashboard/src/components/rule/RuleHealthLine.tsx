// Whether a rule can be evaluated, and what it has open.
import type { JSX } from 'preact';
import type { Rule } from '../../data/alerts.ts';
import { now } from '../../data/range.ts';
import { ago, span } from '../../data/time.ts';
import { href } from '../../data/url.ts';

const WORDS = { ok: 'evaluates well', no_data: 'finds no data', error: 'cannot be evaluated', unknown: 'was not evaluated yet' };
const KINDS = { ok: 'ok', no_data: 'unknown', error: 'critical', unknown: 'unknown' };

export function RuleHealthLine({ rule }: { rule: Rule }): JSX.Element {
  const { state, lastEvaluationAt, durationSeconds, error } = rule.health;
  const open = rule.alerts.firing + rule.alerts.pending;
  return (
    <p class={`verdict ${rule.alerts.firing > 0 ? rule.severity : KINDS[state]}`}>
      <i aria-hidden="true" />
      <b>{rule.enabled ? WORDS[state] : 'is off'}</b>
      <span class="muted">
        {error ?? (lastEvaluationAt ? `last ${ago(Date.parse(lastEvaluationAt), now.value)}${durationSeconds === null ? '' : `, in ${span(durationSeconds * 1000)}`}` : '')}
      </span>
      {open > 0 && <a href={href('/alerts')}>{rule.alerts.firing} firing, {rule.alerts.pending} pending</a>}
    </p>
  );
}
