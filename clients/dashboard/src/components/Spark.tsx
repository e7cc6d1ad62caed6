// A line without axes: the shape of the last hour beside a number.
import type { JSX } from 'preact';

interface Props {
  points: [number, number][];
  colour?: string;
  width?: number;
  height?: number;
}

const INSET = 1.5;

export function Spark({ points, colour = '--c1', width = 120, height = 28 }: Props): JSX.Element {
  const values = points.filter(([, value]) => Number.isFinite(value));
  const [first, last] = [values[0]?.[0] ?? 0, values.at(-1)?.[0] ?? 1];
  const most = Math.max(...values.map(([, value]) => value), 0);
  const least = Math.min(...values.map(([, value]) => value), 0);
  const x = (at: number): number => ((at - first) / Math.max(last - first, 1)) * width;
  const y = (value: number): number => height - INSET - ((value - least) / Math.max(most - least, 1e-12)) * (height - 2 * INSET);
  const line = values.map(([at, value], n) => `${n ? 'L' : 'M'}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join('');
  return (
    <svg class="spark" viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" aria-hidden="true" style={{ color: `var(${colour})` }}>
      {values.length > 1 && (
        <>
          <path class="under" d={`${line}L${width} ${height}L0 ${height}Z`} />
          <path class="over" d={line} />
        </>
      )}
    </svg>
  );
}
