// What a trace is, in a line; where its time went.
import type { JSX } from 'preact';
import { useMemo } from 'preact/hooks';
import { byService, type Path } from '../../data/critical.ts';
import { count, show } from '../../data/format.ts';
import { atFull } from '../../data/time.ts';
import { titleOf } from '../../data/traces.ts';
import type { Tree } from '../../data/tree.ts';
import { serviceColour } from './Row.tsx';
import { Reasons } from './TraceTable.tsx';

const SHOWN = 12;

export function Head({ tree }: { tree: Tree }): JSX.Element {
  const { trace } = tree;
  return (
    <>
      <div class="lead trace-lead">
        <h2>{titleOf(trace)}</h2>
        <Reasons names={trace.reasons} />
        <a class="button" href={`/api/traces/${trace.traceId}/otlp`} download={`trace-${trace.traceId}.json`}>OTLP/JSON</a>
      </div>
      <dl class="figures">
        <div><dt>Duration</dt><dd>{show(tree.total / 1e9, 's')}</dd></div>
        <div><dt>Spans</dt><dd>{count(tree.count)}</dd></div>
        <div><dt>Errors</dt><dd class={trace.errorCount > 0 ? 'bad' : ''}>{count(trace.errorCount)}</dd></div>
        <div><dt>Services</dt><dd>{tree.services.length}</dd></div>
        <div><dt>Depth</dt><dd>{tree.deepest + 1}</dd></div>
        <div><dt>Started</dt><dd class="when">{atFull(Date.parse(trace.startedAt))}</dd></div>
      </dl>
      {tree.away > 0 && <p class="muted pad">{count(tree.away)} spans name a parent that has not come; they stand at the root.</p>}
    </>
  );
}

/** Services with their colours, the one that was waited for longest first. */
export function Waits({ tree, path }: { tree: Tree; path: Path }): JSX.Element {
  const sums = useMemo(() => byService(tree, path), [tree, path]);
  const all = sums.reduce((sum, { time }) => sum + time, 0) || 1;
  return (
    <ul class="legend waits" aria-label="Time on the critical path by service">
      {sums.slice(0, SHOWN).map(({ service, spans, time }) => (
        <li key={service}>
          <i style={{ background: serviceColour(service) }} aria-hidden="true" />
          <span class="name">{tree.services[service]}</span>
          <b>{show((time / all) * 100, '%')}</b>
          <small>{count(spans)} spans</small>
        </li>
      ))}
      {sums.length > SHOWN && <li class="muted">and {sums.length - SHOWN} more</li>}
    </ul>
  );
}
