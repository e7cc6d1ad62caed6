// A number that matters, with its unit and its recent shape.
import { useComputed } from '@preact/signals';
import type { JSX } from 'preact';
import { shown } from '../data/format.ts';
import { type Expression, useLines } from '../data/series.ts';

import { Spark } from './Spark.tsx';

interface Props {
  title: string;
  expression: Expression;
  unit: string;
  colour?: string;
  href?: string;
  /** Judges the latest value. */
  judge?: (value: number) => 'ok' | 'warning' | 'critical';
}

export function Tile({ title, expression, unit, colour = '--c1', href, judge }: Props): JSX.Element {
  const lines = useLines([expression]);
  const points = useComputed(() => lines.value.lines.find((line) => !line.before)?.points ?? []);
  const last = points.value.at(-1)?.[1] ?? null;
  const { text, unit: word } = shown(last, unit);
  const state = last === null || !judge ? '' : judge(last);
  const inside = (
    <>
      <span class="label">{title}</span>
      <span class="value">
        {text}
        {word && <small>{word}</small>}
      </span>
      <Spark points={points.value} colour={state === 'critical' || state === 'warning' ? `--${state}` : colour} />
    </>
  );
  const name = `tile ${state}`;
  return href ? <a class={name} href={href}>{inside}</a> : <div class={name}>{inside}</div>;
}
