// Found traces, a row each.
import type { JSX } from 'preact';
import { count, show } from '../../data/format.ts';
import { atShort } from '../../data/time.ts';
import { type Found, REASONS, traceHref } from '../../data/traces.ts';
import { href } from '../../data/url.ts';
import { type Column, Table } from '../Table.tsx';

const SERVICES = 4;

function Title({ trace }: { trace: Found }): JSX.Element {
  return (
    <a class="trace-title" href={href(traceHref(trace.traceId))}>
      <b>{trace.rootService ?? 'no root'}</b> {trace.rootOperation ?? 'its root has not come'}
    </a>
  );
}

function Services({ names }: { names: string[] }): JSX.Element {
  const more = names.length - SERVICES;
  return (
    <span class="chips" title={names.join(', ')}>
      {names.slice(0, SERVICES).map((name) => <span key={name} class="chip">{name}</span>)}
      {more > 0 && <span class="muted">and {more}</span>}
    </span>
  );
}

export function Reasons({ names }: { names: string[] }): JSX.Element {
  return <span class="chips">{names.map((name) => <span key={name} class={`chip kept-${name}`} title={REASONS[name] ?? name}>{name}</span>)}</span>;
}

function columns(longest: number): Column<Found>[] {
  return [
    { name: 'trace', title: 'Trace', cell: (trace) => <Title trace={trace} /> },
    { name: 'start', title: 'Started', cell: (trace) => <time>{atShort(Date.parse(trace.startedAt))}:{trace.startedAt.slice(17, 19)}</time>, wide: true },
    {
      name: 'duration',
      title: 'Duration',
      number: true,
      cell: (trace) => <span class="measure">{show(trace.durationMs, 'ms')}<i aria-hidden="true" style={{ width: `${Math.max((trace.durationMs / longest) * 100, 1)}%` }} /></span>,
    },
    { name: 'spans', title: 'Spans', number: true, cell: (trace) => count(trace.spanCount) },
    { name: 'errors', title: 'Errors', number: true, cell: (trace) => <span class={trace.errorCount > 0 ? 'bad' : 'muted'}>{count(trace.errorCount)}</span> },
    { name: 'services', title: 'Services', cell: (trace) => <Services names={trace.services} />, wide: true },
    { name: 'kept', title: 'Kept for', cell: (trace) => <Reasons names={trace.reasons} />, wide: true },
  ];
}

export function TraceTable({ traces, label = 'Traces' }: { traces: Found[]; label?: string }): JSX.Element {
  const longest = traces.reduce((most, { durationMs }) => Math.max(most, durationMs), 0.001);
  return <Table name="traces" label={label} columns={columns(longest)} rows={traces} id={(trace) => trace.traceId} sort="" most={traces.length} />;
}
