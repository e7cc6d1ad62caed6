// Who can be told, whether it works, and what was sent to them.
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { Deliveries } from '../components/Deliveries.tsx';
import { Empty, Loading, Missing, Problem } from '../components/Empty.tsx';
import { Panel } from '../components/Panel.tsx';
import { ReceiverForm } from '../components/ReceiverForm.tsx';
import { tell } from '../components/Toasts.tsx';
import type { Delivery, Receiver, Tried } from '../data/alerts.ts';
import { call, words } from '../data/fetch.ts';
import { now } from '../data/range.ts';
import { ago, span } from '../data/time.ts';
import { param, set } from '../data/url.ts';
import { useGet } from '../data/use.ts';

function settings(receiver: Receiver): string {
  const plain = Object.entries(receiver.settings).map(([name, value]) => `${name} ${Array.isArray(value) ? value.join(', ') : String(value)}`);
  const secret = Object.entries(receiver.secrets).flatMap(([name, { set: isSet, last4 }]) => (isSet ? [`${name} ${last4 ? `…${last4}` : 'set'}`] : []));
  return [...plain, ...secret].join(' · ');
}

function Row({ receiver, again }: { receiver: Receiver; again: () => void }): JSX.Element {
  const tested = useSignal<Tried | null>(null);
  const isRunning = useSignal(false);
  const test = async (): Promise<void> => {
    isRunning.value = true;
    try {
      tested.value = (await call<Tried>('POST', `/api/receivers/${encodeURIComponent(receiver.id)}/test`, { body: {} })).data;
    } catch (error) {
      tell(`Not tested: ${words(error)}`, true);
    }
    isRunning.value = false;
    again();
  };
  const { lastDelivery: last } = receiver;
  const isChosen = param('receiver') === receiver.id;
  return (
    <li class="receiver">
      <span class={`state ${receiver.enabled ? 'ok' : 'off'}`}>{receiver.enabled ? 'on' : 'off'}</span>
      <div class="what">
        <a href="#log" onClick={(event) => { event.preventDefault(); set({ receiver: isChosen ? null : receiver.id }); }}>{receiver.id}</a>
        <span class="muted">{receiver.kind}, from {receiver.origin === 'environment' ? 'the environment' : 'the API'} · {settings(receiver)}</span>
        {receiver.problem && <span class="bad">{receiver.problem}</span>}
        {tested.value && <span class={tested.value.outcome === 'sent' ? 'good' : 'bad'} role="status">{tested.value.outcome}{tested.value.status ? ` ${tested.value.status}` : ''} in {span(tested.value.durationMs)}{tested.value.detail ? `: ${tested.value.detail}` : ''}</span>}
      </div>
      <span class="muted">{last ? `${last.outcome} ${last.at ? ago(Date.parse(last.at), now.value) : ''}` : 'nothing sent yet'}</span>
      {receiver.origin !== 'environment' && <button type="button" class="quiet" aria-label={`Change ${receiver.id}`} onClick={() => set({ edit: receiver.id })}>Change</button>}
      <button type="button" aria-label={`Test ${receiver.id}`} disabled={isRunning.value} onClick={() => void test()}>Test</button>
    </li>
  );
}

function Log(): JSX.Element {
  const receiver = param('receiver');
  const query = new URLSearchParams({ hours: '24', limit: '100', ...(receiver ? { receiver } : {}) });
  const loaded = useGet<Delivery[]>(`/api/deliveries?${query}`, 5000);
  const { data, error } = loaded.value;
  return (
    <Panel title="Delivery log" note={receiver ? `${receiver}, last 24 h` : 'last 24 h'} wide actions={receiver && <button type="button" class="quiet" onClick={() => set({ receiver: null })}>All receivers</button>}>
      {error?.isMissing ? <Missing what="Deliveries" /> : error && <Problem error={error} again={loaded.again} />}
      {!data && !error && <Loading />}
      {data && (data.length > 0 ? <Deliveries deliveries={data} again={loaded.again} /> : <Empty>Nothing was sent in the last 24 hours.</Empty>)}
    </Panel>
  );
}

export function ReceiversPage(): JSX.Element {
  const receivers = useGet<Receiver[]>('/api/receivers', 15_000);
  const { data, error } = receivers.value;
  const edited = data?.find(({ id }) => id === param('edit')) ?? null;
  const isOpen = param('edit') === 'new' || edited !== null;
  const done = (): void => {
    set({ edit: null }, true);
    receivers.again();
  };
  if (error?.isMissing) return <div class="page"><Missing what="Receivers" /></div>;
  return (
    <div class="page">
      {error && <Problem error={error} again={receivers.again} />}
      {!data && !error && <Loading />}
      {data && isOpen && <Panel title={edited ? `Change ${edited.id}` : 'New receiver'}><ReceiverForm receiver={edited} onDone={done} key={edited?.id ?? 'new'} /></Panel>}
      {data && (
        <Panel title="Receivers" wide actions={!isOpen && <button type="button" class="primary" onClick={() => set({ edit: 'new' })}>New receiver</button>}>
          {data.length > 0 ? <ul class="rows">{data.map((one) => <Row key={one.id} receiver={one} again={receivers.again} />)}</ul> : (
            <Empty>
              <p><b>Nobody is told of alerts yet.</b></p>
              <p>Set <code>SMTP_HOST</code> and <code>ALERT_EMAIL_RECIPIENTS</code>, <code>SLACK_WEBHOOK_URL</code> or <code>ALERT_WEBHOOK_URL</code> and start the server again, or make one here.</p>
            </Empty>
          )}
        </Panel>
      )}
      <Log />
    </div>
  );
}
