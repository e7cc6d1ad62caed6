// A chart as a table, newest first, and as a file.
import type { ReadonlySignal } from '@preact/signals';
import type { JSX } from 'preact';
import { show } from '../../data/format.ts';
import type { Lines } from '../../data/series.ts';
import { absolute, atShort } from '../../data/time.ts';
import { save } from '../../data/save.ts';
import { align } from './align.ts';

interface Props {
  lines: ReadonlySignal<Lines>;
  title: string;
  unit: string;
  height: number;
}

const ROWS_MAX = 500;

export function csv({ lines, step }: Lines): string {
  const [times, ...columns] = align(lines, step);
  const cell = (text: string): string => (/[",\n]/.test(text) || /^[=+\-@]/.test(text) ? `"${text.replace(/^([=+\-@])/, "'$1").replace(/"/g, '""')}"` : text);
  const head = ['time', ...lines.map((line) => cell(line.before ? `${line.name} before` : line.name))].join(',');
  const rows = times.map((at, index) => [absolute(at * 1000), ...columns.map((column) => column[index] ?? '')].join(','));
  return [head, ...rows].join('\n');
}

export function DataTable({ lines, title, unit, height }: Props): JSX.Element {
  const { lines: shown, step } = lines.value;
  const [times, ...columns] = align(shown, step);
  const rows = times.map((at, index) => ({ at, index })).reverse();
  return (
    <>
      <div class="scroll" tabIndex={0} role="group" aria-label={`${title}, table`} style={{ maxHeight: `${height + 24}px` }}>
        <table>
          <thead>
            <tr>
              <th scope="col">Time</th>
              {shown.map((line) => (
                <th scope="col" class="num" key={`${line.name}${line.before ?? ''}`}>
                  {line.before ? `${line.name} before` : line.name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, ROWS_MAX).map(({ at, index }) => (
              <tr key={at}>
                <th scope="row">{atShort(at * 1000)}:{String(new Date(at * 1000).getSeconds()).padStart(2, '0')}</th>
                {columns.map((column, n) => (
                  <td class="num" key={n}>{show(column[index], unit)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="below">
        <span class="muted">{rows.length > ROWS_MAX ? `newest ${ROWS_MAX} of ${rows.length} rows` : `${rows.length} rows`}</span>
        <button type="button" class="quiet" onClick={() => save(`${title}.csv`, 'text/csv', csv(lines.peek()))}>CSV</button>
      </p>
    </>
  );
}
