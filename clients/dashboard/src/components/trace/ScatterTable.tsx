// The scatter as a table: when, how long, whether it failed.
import type { JSX } from 'preact';
import { show } from '../../data/format.ts';
import { atFull } from '../../data/time.ts';
import { type Found, titleOf, traceHref } from '../../data/traces.ts';
import { href } from '../../data/url.ts';
import { HEIGHT } from './scatter.ts';

export function ScatterTable({ traces }: { traces: Found[] }): JSX.Element {
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label="Durations, table" style={{ maxHeight: `${HEIGHT + 40}px` }}>
      <table>
        <thead>
          <tr><th scope="col">Started</th><th scope="col" class="num">Duration</th><th scope="col">Failed</th><th scope="col" class="only-wide">Trace</th></tr>
        </thead>
        <tbody>
          {traces.map((trace) => (
            <tr key={trace.traceId}>
              <th scope="row"><a href={href(traceHref(trace.traceId))}>{atFull(Date.parse(trace.startedAt))}</a></th>
              <td class="num">{show(trace.durationMs, 'ms')}</td>
              <td>{trace.errorCount > 0 ? 'yes' : 'no'}</td>
              <td class="only-wide">{titleOf(trace)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
