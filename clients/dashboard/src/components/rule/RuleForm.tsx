// The fields of a rule: five that it needs, the rest folded away.
import { type Signal, useComputed } from '@preact/signals';
import type { ComponentChildren, JSX } from 'preact';
import { type Receiver, type RuleFields, SEVERITIES } from '../../data/alerts.ts';
import { INDICATORS, limitOf, OPERATORS, parts, usesThreshold } from '../../data/rule.ts';
import { parseDuration } from '../../data/time.ts';
import { useGet } from '../../data/use.ts';
import { TextField } from '../TextField.tsx';

interface Props {
  rule: Signal<RuleFields>;
  isNew: boolean;
  onThreshold: (value: number) => void;
  onSubmit: () => void;
  children: ComponentChildren;
}

interface DurationProps {
  label: string;
  value: string;
  placeholder: string;
  onChange: (value: string) => void;
}

function Duration({ onChange, ...field }: DurationProps): JSX.Element {
  const isBad = field.value !== '' && parseDuration(field.value) === null;
  return <TextField {...field} error={isBad ? 'such as 30s, 5m, 1h' : undefined} onChange={(text) => onChange(text.trim())} />;
}

function Channels({ rule }: { rule: Signal<RuleFields> }): JSX.Element {
  const receivers = useGet<Receiver[]>('/api/receivers');
  const known = receivers.value.data?.map(({ id }) => id) ?? ['email', 'webhook', 'slack'];
  const all = [...new Set([...known, ...rule.value.notificationChannels])];
  const toggle = (id: string): void => {
    const chosen = rule.value.notificationChannels;
    rule.value = { ...rule.value, notificationChannels: chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id] };
  };
  return (
    <fieldset class="channels">
      <legend>Tell</legend>
      {all.map((id) => (
        <label class="check" key={id}>
          <input type="checkbox" checked={rule.value.notificationChannels.includes(id)} onChange={() => toggle(id)} />
          {id}
        </label>
      ))}
      {rule.value.notificationChannels.length === 0 && <small class="muted">none chosen: the routes decide</small>}
    </fieldset>
  );
}

function Condition({ rule }: { rule: Signal<RuleFields> }): JSX.Element {
  const split = useComputed(() => parts(rule.value.condition));
  const write = (expression: string, operator: string): void => {
    rule.value = { ...rule.value, condition: `${expression} ${operator} threshold` };
  };
  if (!split.value) {
    return (
      <label class="grow">
        Condition
        <textarea rows={2} value={rule.value.condition} spellcheck={false} onInput={(event) => (rule.value = { ...rule.value, condition: event.currentTarget.value })} />
      </label>
    );
  }
  const { expression, operator } = split.value;
  return (
    <>
      <label class="grow">
        Watch
        <input list="indicators" value={expression} spellcheck={false} onInput={(event) => write(event.currentTarget.value, operator)} />
        <datalist id="indicators">{Object.keys(INDICATORS).map((name) => <option key={name} value={name} />)}</datalist>
      </label>
      <label>
        Is
        <select value={operator} onChange={(event) => write(expression, event.currentTarget.value)}>
          {OPERATORS.map((one) => <option key={one} value={one}>{one}</option>)}
        </select>
      </label>
    </>
  );
}

export function RuleForm({ rule, isNew, onThreshold, onSubmit, children }: Props): JSX.Element {
  const put = (changes: Partial<RuleFields>): void => {
    rule.value = { ...rule.value, ...changes };
  };
  const { value } = rule;
  const unit = INDICATORS[parts(value.condition)?.expression ?? ''] ?? '';
  return (
    <form class="fields" onSubmit={(event) => { event.preventDefault(); onSubmit(); }}>
      <label class="whole">Name<input value={value.name} required autoFocus={isNew} onInput={(event) => put({ name: event.currentTarget.value })} /></label>
      <Condition rule={rule} />
      <label>
        <span>Threshold{unit && <small> {unit.replace(/[{}]/g, '')}</small>}</span>
        <input type="number" step="any" value={limitOf(value) ?? ''} required={usesThreshold(value.condition)} onInput={(event) => onThreshold(event.currentTarget.valueAsNumber)} />
      </label>
      <Duration label="For" value={value.for === '0s' ? '' : (value.for ?? '')} placeholder="at once" onChange={(text) => put({ for: text })} />
      <label>
        Severity
        <select value={value.severity} onChange={(event) => put({ severity: event.currentTarget.value as RuleFields['severity'] })}>
          {SEVERITIES.map((one) => <option key={one} value={one}>{one}</option>)}
        </select>
      </label>
      <Channels rule={rule} />
      <details class="whole">
        <summary>More</summary>
        <div class="fields">
          <Duration label="Keep firing for" value={value.keepFiringFor === '0s' ? '' : (value.keepFiringFor ?? '')} placeholder="0s" onChange={(text) => put({ keepFiringFor: text })} />
          <label>Ends at<input type="number" step="any" value={value.recoveryThreshold ?? ''} placeholder="the threshold" onInput={(event) => put({ recoveryThreshold: event.currentTarget.value === '' ? null : event.currentTarget.valueAsNumber })} /></label>
          <label><span>Cooldown<small> minutes</small></span><input type="number" min="0" value={value.cooldownMinutes} onInput={(event) => put({ cooldownMinutes: event.currentTarget.valueAsNumber })} /></label>
          <label>
            Without data
            <select value={value.noData ?? 'keep'} onChange={(event) => put({ noData: event.currentTarget.value as NonNullable<RuleFields['noData']> })}>
              {['ok', 'keep', 'fire', 'error'].map((one) => <option key={one} value={one}>{one}</option>)}
            </select>
          </label>
          <label class="whole">Summary in the notification<input value={value.annotations?.['summary'] ?? ''} onInput={(event) => put({ annotations: { ...value.annotations, summary: event.currentTarget.value } })} /></label>
          <label class="check whole"><input type="checkbox" checked={value.enabled} onChange={(event) => put({ enabled: event.currentTarget.checked })} />The rule is on</label>
        </div>
      </details>
      {children}
    </form>
  );
}
