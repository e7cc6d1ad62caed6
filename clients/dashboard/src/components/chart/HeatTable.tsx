// A heatmap as a table: a row for each span of time, newest first, a column for each bucket.
import type { JSX } from 'preact';
import { digits, show } from '../../data/format.ts';
import { atClock } from '../../data/time.ts';
import type { Cells } from './cells.ts';

const name = (bound: number): string => (Number.isFinite(bound) ? `to ${show(bound, 's')}` : 'more');

export function HeatTable({ cells, title, height }: { cells: Cells; title: string; height: number }): JSX.Element {
  const rows = cells.times.map((at, x) => ({ at, counts: cells.counts[x] ?? [] })).filter(({ counts }) => counts.some((count) => count > 0));
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label={`${title}, table`} style={{ maxHeight: `${height + 10}px` }}>
      <table>
        <thead>
          <tr>
            <th scope="col">From</th>
            {cells.bounds.map((bound) => <th scope="col" class="num" key={bound}>{name(bound)}</th>)}
          </tr>
        </thead>
        <tbody>
          {rows.reverse().map(({ at, counts }) => (
            <tr key={at}>
              <th scope="row">{atClock(at)}</th>
              {counts.map((count, y) => <td class="num" key={cells.bounds[y]}>{digits(count)}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
