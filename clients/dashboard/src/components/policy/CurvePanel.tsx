// What another life or size would do to the hit ratio: in a sentence, and as bars that are a table.
import type { JSX } from 'preact';
import { type CurvePoint, isNow, steps } from '../../data/curve.ts';
import { show } from '../../data/format.ts';
import { Panel } from '../Panel.tsx';

interface Props {
  title: string;
  /** What is varied. */
  what: string;
  note: string;
  points: CurvePoint[];
}

export function CurvePanel({ title, what, note, points }: Props): JSX.Element {
  const [up, down] = steps(points);
  return (
    <Panel title={title} note={note}>
      {up && <p class="curve-lead">{up}</p>}
      {down && <p class="muted pad">{down}</p>}
      <div class="scroll" tabIndex={0} role="group" aria-label={title}>
        <table class="curve">
          <thead>
            <tr><th scope="col">{what}</th><th scope="col">Hits of memory</th><th scope="col" class="num">Takes</th></tr>
          </thead>
          <tbody>
            {points.map((point) => (
              <tr key={point.factor} class={isNow(point) ? 'now' : ''}>
                <th scope="row">{point.label}{isNow(point) && <small> now</small>}</th>
                <td><span class="bar" aria-hidden="true"><i style={{ width: `${Math.min(Math.max(point.hits, 0), 100)}%` }} /></span>{show(point.hits, '%')}</td>
                <td class="num">{show(point.bytes, 'By')}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}
