// Alerts that nobody is told of for a while, and why.
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { Empty, Loading, Missing, Problem } from '../components/Empty.tsx';
import { Panel } from '../components/Panel.tsx';
import { SilenceForm } from '../components/SilenceForm.tsx';
import { tell } from '../components/Toasts.tsx';
import type { Matcher, Silence } from '../data/alerts.ts';
import { call, words } from '../data/fetch.ts';
import { now } from '../data/range.ts';
import { atFull, span } from '../data/time.ts';
import { param, set } from '../data/url.ts';
import { useGet } from '../data/use.ts';

const KINDS = { active: 'ok', pending: 'off', expired: 'off' } as const;

export const matcherText = ({ name, op, value }: Matcher): string => `${name}${op}"${value}"`;

function times(silence: Silence): string {
  const [start, end] = [Date.parse(silence.startsAt), Date.parse(silence.endsAt)];
  if (silence.state === 'active') return `${span(end - now.value)} left`;
  if (silence.state === 'pending') return `begins in ${span(start - now.value)}, for ${span(end - start)}`;
  return `ended ${atFull(end)}`;
}

function Row({ silence, again }: { silence: Silence; again: () => void }): JSX.Element {
  const expire = async (): Promise<void> => {
    await call('DELETE', `/api/silences/${encodeURIComponent(silence.id)}`).catch((error: unknown) => tell(`Not ended: ${words(error)}`, true));
    again();
  };
  return (
    <li class="silence">
      <span class={`state ${KINDS[silence.state]}`}>{silence.state}</span>
      <div class="what">
        <span>{silence.matchers.map((one) => <code key={matcherText(one)} class="chip">{matcherText(one)}</code>)}</span>
        <span class="muted">{silence.comment}, {silence.createdBy}</span>
      </div>
      <span>{silence.affected === 1 ? '1 alert' : `${silence.affected} alerts`}</span>
      <span class="muted">{times(silence)}</span>
      {silence.state !== 'expired' && <button type="button" onClick={() => void expire()}>End</button>}
    </li>
  );
}

export function SilencesPage(): JSX.Element {
  const silences = useGet<Silence[]>('/api/silences', 10_000);
  const { data, error } = silences.value;
  const showsExpired = useSignal(false);
  const isNew = param('new') !== '';
  const shown = (data ?? []).filter(({ state }) => showsExpired.value || state !== 'expired');
  const done = (): void => {
    set({ new: null }, true);
    silences.again();
  };
  if (error?.isMissing) return <div class="page"><Missing what="Silences" /></div>;
  return (
    <div class="page">
      {error && <Problem error={error} again={silences.again} />}
      {isNew && <Panel title="New silence"><SilenceForm labels={param('new')} onDone={done} /></Panel>}
      {!data && !error && <Loading />}
      {data && (
        <Panel title="Silences" wide actions={
          <>
            <label class="check"><input type="checkbox" checked={showsExpired.value} onChange={(event) => (showsExpired.value = event.currentTarget.checked)} />ended too</label>
            {!isNew && <button type="button" class="primary" onClick={() => set({ new: '{}' })}>New silence</button>}
          </>
        }>
          {shown.length > 0 ? <ul class="rows">{shown.map((one) => <Row key={one.id} silence={one} again={silences.again} />)}</ul> : <Empty>No silence is set. A silence keeps alerts from being told; they are still evaluated and shown.</Empty>}
        </Panel>
      )}
    </div>
  );
}
