// Which line is which, and its value at the cursor, or now.
import type { JSX } from 'preact';
import { show } from '../../data/format.ts';
import type { Line } from '../../data/series.ts';
import { atClock, atShort } from '../../data/time.ts';
import { colourOf } from './plot.ts';

interface Props {
  lines: Line[];
  values: (number | null)[];
  unit: string;
  at: number | null;
}

export function Legend({ lines, values, unit, at }: Props): JSX.Element {
  const isOld = at !== null && Date.now() / 1000 - at > 80_000;
  return (
    <ul class="legend" aria-hidden="true">
      {lines.map((line, index) => (
        <li key={`${line.name}${line.before ?? ''}`} class={line.before ? 'before' : ''}>
          <i style={{ background: `var(${line.before ? '--faint' : colourOf(line, index)})` }} />
          <span class="name">{line.before ? `${line.name} before` : line.name}</span>
          <b>{show(values[index], unit)}</b>
        </li>
      ))}
      <li class="time">{at === null ? '' : isOld ? atShort(at * 1000) : atClock(at * 1000)}</li>
    </ul>
  );
}
