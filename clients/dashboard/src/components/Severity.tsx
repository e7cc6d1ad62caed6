// How bad, in a word, a colour and a shape.
import type { JSX } from 'preact';
import type { Alert, Severity as Level } from '../data/alerts.ts';

const SHAPES: Record<Level, string> = { critical: '■', warning: '▲', info: '●' };

export function Severity({ severity, state }: { severity: Level; state?: Alert['state'] }): JSX.Element {
  const isCalm = state === 'resolved' || state === 'pending';
  return (
    <span class={`severity ${severity} ${isCalm ? 'calm' : ''}`}>
      <i aria-hidden="true">{state === 'resolved' ? '✓' : SHAPES[severity]}</i>
      {state === 'pending' ? 'pending' : state === 'resolved' ? `was ${severity}` : severity}
    </span>
  );
}
