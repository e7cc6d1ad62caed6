// One alert: its chart, what happened to it, and whom it was told.
import { useSignal, useComputed } from '@preact/signals';
import type { JSX } from 'preact';
import { acknowledge, labelsOf } from '../components/AlertRows.tsx';
import { Deliveries } from '../components/Deliveries.tsx';
import { Empty, Loading, Problem } from '../components/Empty.tsx';
import { Panel } from '../components/Panel.tsx';
import { Severity } from '../components/Severity.tsx';
import { tell } from '../components/Toasts.tsx';
import { Plot } from '../components/chart/Plot.tsx';
import { type AlertDetail, lookAgain, points } from '../data/alerts.ts';
import { call, words } from '../data/fetch.ts';
import { show } from '../data/format.ts';
import { person } from '../data/prefs.ts';
import { now } from '../data/range.ts';
import type { Lines } from '../data/series.ts';
import { absolute, atFull, span } from '../data/time.ts';
import { href } from '../data/url.ts';
import { useGet } from '../data/use.ts';

const BEFORE_MS = 300_000;

function AlertChart({ alert }: { alert: AlertDetail }): JSX.Element {
  const chart = alert.chart;
  const known = useSignal(alert);
  known.value = alert;
  const lines = useComputed((): Lines => ({
    lines: [{ name: known.value.ruleName, points: points(known.value.chart) }],
    total: 1,
    step: known.value.chart.step * 1000,
    loading: false,
    error: null,
  }));
  const threshold = useComputed(() => known.value.threshold);
  const bands = useComputed(() => {
    const { startsAt, endsAt, severity } = known.value;
    return startsAt ? [{ from: Date.parse(startsAt), to: endsAt ? Date.parse(endsAt) : Date.now(), colour: `--${severity}-wash` }] : [];
  });
  if (chart.values.every((value) => value === null)) return <Empty>The values of that time are no longer kept, or there were none.</Empty>;
  // What nobody measured before is not shown: a young service would be a line at the right edge.
  const first = Math.max(chart.values.findIndex((value) => value !== null) - 1, 0);
  const [start, step] = [Date.parse(chart.start ?? ''), chart.step * 1000];
  return <Plot lines={lines} title={alert.ruleName} unit={alert.unit} height={220} threshold={threshold} bands={bands} span={{ from: start + first * step, to: start + Math.max(chart.values.length - 1, first + 1) * step }} />;
}

function Acknowledge({ alert, again }: { alert: AlertDetail; again: () => void }): JSX.Element {
  const note = useSignal('');
  const { acknowledged } = alert;
  const take = async (event: Event): Promise<void> => {
    event.preventDefault();
    await acknowledge(alert, note.value);
    again();
  };
  const undo = async (): Promise<void> => {
    await call('DELETE', `/api/alerts/${encodeURIComponent(alert.id)}/ack`).catch((error: unknown) => tell(words(error), true));
    await lookAgain();
    again();
  };
  if (acknowledged) {
    return (
      <p class="acknowledged">
        <span>Acknowledged by <b>{acknowledged.by}</b> at {atFull(Date.parse(acknowledged.at))}{acknowledged.note ? `: ${acknowledged.note}` : ''}</span>
        {alert.state !== 'resolved' && <button type="button" class="quiet" onClick={() => void undo()}>Take back</button>}
      </p>
    );
  }
  if (alert.state === 'resolved') return <></>;
  return (
    <form class="ack" onSubmit={(event) => void take(event)}>
      <label>Your name<input value={person.value} autocomplete="name" onInput={(event) => (person.value = event.currentTarget.value)} /></label>
      <label class="grow">Note<input value={note.value} placeholder="What you know, what you do" onInput={(event) => (note.value = event.currentTarget.value)} /></label>
      <button type="submit" class="primary">Acknowledge</button>
      <a class="button" href={href(`/silences?new=${encodeURIComponent(JSON.stringify(alert.labels))}`)}>Silence</a>
    </form>
  );
}

/** The server's words for why a state changed, for people. */
const WHY: Record<string, string> = { breach: 'past the threshold', held: 'for long enough', escalated: 'past the next threshold', lowered: 'below the next threshold', cleared: 'no longer past it' };

function Transitions({ alert }: { alert: AlertDetail }): JSX.Element {
  if (alert.transitions.length === 0) return <Empty>No transition is recorded.</Empty>;
  return (
    <ol class="timeline">
      {[...alert.transitions].reverse().map((one) => (
        <li key={one.at + one.to} class={one.to === 'firing' ? one.severity : one.to}>
          <i aria-hidden="true" />
          <b>{one.to}</b>
          <span>{show(one.value, alert.unit)}</span>
          <span class="muted">{WHY[one.reason] ?? one.reason.replace('_', ' ')}</span>
          <time>{atFull(Date.parse(one.at))}</time>
        </li>
      ))}
    </ol>
  );
}

/** Traces of the alert's service from a little before it fired until it ended. */
function tracesOf(alert: AlertDetail): string {
  const from = Date.parse(alert.startsAt ?? alert.pendingSince ?? '') || Date.now();
  const service = alert.labels['service_name'];
  const query = new URLSearchParams({ ...(service ? { service } : {}), from: absolute(from - BEFORE_MS), to: alert.endsAt ? absolute(Date.parse(alert.endsAt)) : 'now' });
  return `/traces?${query}`;
}

function facts(alert: AlertDetail): [string, string][] {
  const time = (text: string | null): string => (text ? atFull(Date.parse(text)) : '–');
  const end = alert.endsAt ? Date.parse(alert.endsAt) : now.value;
  return [
    ['Condition', alert.condition],
    ['Now', show(alert.value, alert.unit)],
    ['Threshold', show(alert.threshold, alert.unit)],
    ['Peak', show(alert.peak, alert.unit)],
    ['Fired', time(alert.startsAt)],
    ['For', alert.startsAt ? span(end - Date.parse(alert.startsAt)) : '–'],
    ...(alert.endsAt ? [['Ended', `${time(alert.endsAt)}, ${alert.resolvedReason ?? 'resolved'}`] as [string, string]] : []),
    ...Object.entries(alert.labels),
    ...Object.entries(alert.annotations),
  ];
}

export function AlertPage({ id }: { id: string }): JSX.Element {
  const loaded = useGet<AlertDetail>(`/api/alerts/${encodeURIComponent(id)}`, 5000);
  const { data: alert, error } = loaded.value;
  if (error && !alert) return <div class="page">{error.isMissing ? <Empty><p><b>This alert is not known.</b></p><p>It is past its retention, or alerts are not available on this server. <a href={href('/alerts')}>Open alerts</a></p></Empty> : <Problem error={error} again={loaded.again} />}</div>;
  if (!alert) return <Loading />;
  return (
    <div class="page">
      <header class={`lead alert-head ${alert.severity} ${alert.state}`}>
        <Severity severity={alert.severity} state={alert.state} />
        <h2>{alert.ruleName}</h2>
        <span class="muted">{labelsOf(alert.labels)}</span>
        <a class="button quiet" href={href(tracesOf(alert))}>Traces</a>
        <a class="button quiet" href={href(`/alerts/rules/${encodeURIComponent(alert.ruleId)}`)}>Rule</a>
      </header>
      {alert.suppressed.map((one) => <p class="note-line" key={one.id}>Not told to anybody: {one.kind}, {one.reason}</p>)}
      <Acknowledge alert={alert} again={loaded.again} />
      <div class="grid">
        <Panel title="Value" wide note={alert.condition}><AlertChart alert={alert} /></Panel>
        <Panel title="What happened"><Transitions alert={alert} /></Panel>
        <Panel title="Facts">
          <dl class="facts">{facts(alert).map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>
        </Panel>
        <Panel title="Who was told" wide>
          {alert.deliveries.length > 0 ? <Deliveries deliveries={alert.deliveries} again={loaded.again} /> : <Empty>Nobody was told of it yet.</Empty>}
        </Panel>
      </div>
    </div>
  );
}
