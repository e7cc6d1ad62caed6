// Which alerts to keep quiet, how long, and why; with those it would hit now.
import { useComputed, useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import type { Alert, Matcher } from '../data/alerts.ts';
import { ApiError, call, words } from '../data/fetch.ts';
import { person } from '../data/prefs.ts';
import { absolute } from '../data/time.ts';
import { AlertRows } from './AlertRows.tsx';
import { Problem } from './Empty.tsx';
import { tell } from './Toasts.tsx';

const OPS: Matcher['op'][] = ['=', '!=', '=~', '!~'];
const HOURS: [string, number][] = [['1 h', 1], ['2 h', 2], ['4 h', 4], ['12 h', 12], ['1 d', 24], ['1 week', 168]];

function initial(text: string): Matcher[] {
  try {
    const pairs = Object.entries(JSON.parse(text) as Record<string, string>);
    if (pairs.length > 0) return pairs.map(([name, value]) => ({ name, op: '=', value }));
  } catch {
    // A link that was cut: begin with an empty one.
  }
  return [{ name: 'service_name', op: '=', value: '' }];
}

export function SilenceForm({ labels, onDone }: { labels: string; onDone: () => void }): JSX.Element {
  const matchers = useSignal<Matcher[]>(initial(labels));
  const [hours, comment] = [useSignal(2), useSignal('')];
  const hit = useSignal<Alert[] | null>(null);
  const error = useSignal<ApiError | null>(null);
  const usable = useComputed(() => matchers.value.filter(({ name, value }) => name && value));
  const text = JSON.stringify(usable.value);
  useEffect(() => {
    if (usable.value.length === 0) return;
    const timer = setTimeout(async () => {
      const answer = await call<{ alerts: Alert[] }>('POST', '/api/silences/preview', { body: { matchers: usable.value } }).catch(() => null);
      hit.value = answer?.data.alerts ?? null;
    }, 300);
    return () => clearTimeout(timer);
  }, [text]);
  const put = (index: number, changes: Partial<Matcher>): void => {
    matchers.value = matchers.value.map((one, n) => (n === index ? { ...one, ...changes } : one));
  };
  const save = async (event: Event): Promise<void> => {
    event.preventDefault();
    const now = Date.now();
    const body = { matchers: usable.value, startsAt: absolute(now), endsAt: absolute(now + hours.value * 3_600_000), createdBy: person.value || 'dashboard', comment: comment.value };
    try {
      await call('POST', '/api/silences', { body });
      tell('The silence is set.');
      onDone();
    } catch (failure) {
      error.value = failure instanceof ApiError ? failure : new ApiError(0, words(failure));
    }
  };
  return (
    <form class="fields" onSubmit={(event) => void save(event)}>
      <fieldset class="whole matchers">
        <legend>Alerts with all of</legend>
        {matchers.value.map((one, index) => (
          <span key={index}>
            <input aria-label="Label" value={one.name} placeholder="label" spellcheck={false} onInput={(event) => put(index, { name: event.currentTarget.value.trim() })} />
            <select aria-label="Comparison" value={one.op} onChange={(event) => put(index, { op: event.currentTarget.value as Matcher['op'] })}>{OPS.map((op) => <option key={op} value={op}>{op}</option>)}</select>
            <input aria-label="Value" value={one.value} placeholder="value" spellcheck={false} onInput={(event) => put(index, { value: event.currentTarget.value })} />
            {matchers.value.length > 1 && <button type="button" class="quiet" aria-label={`Remove ${one.name}`} onClick={() => (matchers.value = matchers.value.filter((_, n) => n !== index))}>Remove</button>}
          </span>
        ))}
        <button type="button" class="quiet" onClick={() => (matchers.value = [...matchers.value, { name: '', op: '=', value: '' }])}>Add a label</button>
      </fieldset>
      <label>For<select value={hours.value} onChange={(event) => (hours.value = Number(event.currentTarget.value))}>{HOURS.map(([name, n]) => <option key={n} value={n}>{name}</option>)}</select></label>
      <label>Your name<input value={person.value} autocomplete="name" onInput={(event) => (person.value = event.currentTarget.value)} /></label>
      <label class="grow">Why<input value={comment.value} required placeholder="deployment, known fault" onInput={(event) => (comment.value = event.currentTarget.value)} /></label>
      {error.value && <Problem error={error.value} />}
      {hit.value && usable.value.length > 0 && (
        <div class="whole">
          <p class="muted">{hit.value.length === 0 ? 'It hits no open alert now.' : `It hits ${hit.value.length} open ${hit.value.length === 1 ? 'alert' : 'alerts'} now:`}</p>
          {hit.value.length > 0 && <AlertRows alerts={hit.value.slice(0, 5)} />}
        </div>
      )}
      <p class="buttons whole">
        <button type="submit" class="primary" disabled={usable.value.length === 0}>Silence</button>
        <button type="button" onClick={onDone}>Cancel</button>
      </p>
    </form>
  );
}
