// How to send something, and whether it has arrived.
import type { JSX } from 'preact';
import { useRef } from 'preact/hooks';
import { Copy } from '../components/Copy.tsx';
import { Panel } from '../components/Panel.tsx';
import type { Schemas } from '../data/fetch.ts';
import { count } from '../data/format.ts';
import { now } from '../data/range.ts';
import { ago, atClock } from '../data/time.ts';
import { href, param, set } from '../data/url.ts';
import { useGet, useTopic } from '../data/use.ts';
import { OWN } from './Home.tsx';
import { LANGUAGES } from './languages.ts';

type Service = Schemas['ServiceView'];
type Signal = Schemas['SignalView'];
type Refused = Schemas['RefusedView'];

interface Step {
  title: string;
  isDone: boolean;
  detail: string;
}

function useArrivals(): { services: Service[]; signals: [string, Signal][]; refused: Refused[]; isKnown: boolean } {
  const items = useTopic('ledger').value ?? {};
  const of = <T,>(prefix: string): [string, T][] => Object.entries(items).filter(([key]) => key.startsWith(prefix)).map(([key, value]) => [key.slice(prefix.length), value as T]);
  const services = of<Service>('service:').map(([, service]) => service).filter(({ name }) => name !== OWN);
  return { services, signals: of<Signal>('signal:'), refused: (items['refused'] as Refused[] | undefined) ?? [], isKnown: Object.keys(items).length > 0 };
}

function Checklist({ system }: { system: Schemas['SystemView'] | null }): JSX.Element {
  const { services, signals, refused, isKnown } = useArrivals();
  const taken = services.reduce((sum, service) => sum + service.accepted, 0);
  const rejected = signals.reduce((sum, [, signal]) => sum + signal.rejected, 0);
  const newest = [...services].sort((a, b) => (b.lastSeen ?? '').localeCompare(a.lastSeen ?? ''))[0];
  const last = refused[0];
  const since = system ? Date.parse(system.startedAt) : 0;
  const steps: Step[] = [
    { title: 'The server listens', isDone: system !== null, detail: system ? `gRPC ${system.addresses.grpc}, HTTP ${system.addresses.otlpHttp}` : 'asking' },
    { title: 'Something was sent', isDone: taken > 0 || refused.length > 0, detail: taken > 0 ? `by ${services.map(({ name }) => name).slice(0, 4).join(', ')}` : last ? 'but it was refused' : 'waiting' },
    { title: 'It was understood and stored', isDone: taken > 0, detail: taken > 0 ? `${count(taken)} points and spans${rejected > 0 ? `, ${count(rejected)} rejected` : ''}` : 'each answer of ours follows a commit' },
    { title: 'There is something to see', isDone: services.some(({ series }) => series > 0), detail: newest ? `${count(newest.series)} series of ${newest.name}, ${ago(Date.parse(newest.lastSeen ?? ''), now.value)}` : '' },
  ];
  return (
    <>
      <ol class="checklist" aria-live="polite">
        {steps.map((step, index) => (
          <li key={step.title} class={step.isDone ? 'done' : isKnown && steps[index - 1]?.isDone !== false ? 'next' : ''}>
            <i aria-hidden="true">{step.isDone ? '✓' : index + 1}</i>
            <b>{step.title}<span class="sr">{step.isDone ? ', done' : ', not yet'}</span></b>
            <span>{step.detail}</span>
          </li>
        ))}
      </ol>
      {last && Date.parse(last.at) > since && (
        <p class="problem" role="status">
          <span><b>The last refusal</b>, {last.signal} at {atClock(Date.parse(last.at))}: {last.message}</span>
        </p>
      )}
      {taken > 0 && <p class="below"><a class="button primary" href={href('/services')}>See the services</a></p>}
    </>
  );
}

function Language({ system }: { system: Schemas['SystemView'] | null }): JSX.Element {
  const chosen = LANGUAGES.find(({ name }) => name === param('language')) ?? LANGUAGES[0];
  const tabs = useRef<HTMLDivElement>(null);
  if (!chosen) return <></>;
  const at = { grpc: `http://${system?.addresses.grpc ?? '127.0.0.1:4317'}`, http: `http://${system?.addresses.otlpHttp ?? '127.0.0.1:4318'}` };
  const move = (event: KeyboardEvent): void => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    const next = LANGUAGES[(LANGUAGES.indexOf(chosen) + by + LANGUAGES.length) % LANGUAGES.length];
    set({ language: next?.name ?? null }, true);
    requestAnimationFrame(() => tabs.current?.querySelector<HTMLElement>('[aria-selected=true]')?.focus());
  };
  return (
    <>
      <div class="tabs" role="tablist" aria-label="Language" ref={tabs} onKeyDown={move}>
        {LANGUAGES.map(({ name, title }) => (
          <button type="button" role="tab" key={name} id={`tab-${name}`} aria-controls="language" aria-selected={name === chosen.name} tabIndex={name === chosen.name ? 0 : -1}
            onClick={() => set({ language: name }, true)}>{title}</button>
        ))}
      </div>
      <div role="tabpanel" id="language" aria-labelledby={`tab-${chosen.name}`}>
        {chosen.steps(at).map(({ what, text }) => (
          <div key={what} class="how">
            <p>{what}</p>
            <Copy text={text} label={`Copy: ${what}`} />
          </div>
        ))}
      </div>
    </>
  );
}

function Hints({ system }: { system: Schemas['SystemView'] | null }): JSX.Element {
  const { grpc, otlpHttp } = system?.addresses ?? { grpc: '', otlpHttp: '' };
  const hints: [string, JSX.Element][] = [
    ['Connection refused', <>gRPC goes to <code>{grpc}</code>, HTTP to <code>{otlpHttp}</code>. From a container, <code>127.0.0.1</code> is the container itself.</>],
    ['404 or 415, or “invalid HTTP version”', <>The protocol does not fit the port: <code>OTEL_EXPORTER_OTLP_PROTOCOL</code> is <code>grpc</code> for the first, <code>http/protobuf</code> or <code>http/json</code> for the second.</>],
    ['It runs, and nothing is sent', <>Metrics leave once a minute by default; <code>OTEL_METRIC_EXPORT_INTERVAL=5000</code> is sooner. <code>OTEL_SDK_DISABLED</code> must not be set.</>],
    ['The service is called unknown_service', <>Set <code>OTEL_SERVICE_NAME</code>.</>],
  ];
  return (
    <dl class="facts hints">
      {hints.map(([what, why]) => (
        <div key={what}>
          <dt>{what}</dt>
          <dd>{why}</dd>
        </div>
      ))}
    </dl>
  );
}

export function Start({ isFirst = false }: { isFirst?: boolean }): JSX.Element {
  const system = useGet<Schemas['SystemView']>('/api/system/info', 10_000);
  const info = system.value.data;
  return (
    <div class="page narrow">
      <header class="lead">
        <h2>{isFirst ? 'Nothing has been sent yet' : 'Send data'}</h2>
        <p>Any OpenTelemetry SDK or Collector can send metrics and traces here. This page shows each step as it happens.</p>
      </header>
      <Panel title="What has arrived"><Checklist system={info} /></Panel>
      <Panel title="Point an exporter here"><Language system={info} /></Panel>
      <Panel title="Nothing arrives?"><Hints system={info} /></Panel>
      <Panel title="Or try it first">
        <div class="how"><p>A small shop of four services that sends real OTLP, with an incident every few minutes</p><Copy text={`fastbreak demo --endpoint http://${info?.addresses.grpc ?? '127.0.0.1:4317'}`} label="Copy the demo command" /></div>
      </Panel>
    </div>
  );
}

export function StartPage(): JSX.Element {
  return <Start />;
}
