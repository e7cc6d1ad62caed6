// The condition's expression over the range, with the threshold on it to be dragged.
import { type Signal, useComputed, useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import type uPlot from 'uplot';
import type { RuleFields } from '../../data/alerts.ts';
import { digits, show } from '../../data/format.ts';
import { nameOf } from '../../data/query.ts';
import { limitOf, parts, unitOfCondition } from '../../data/rule.ts';
import { Empty } from '../Empty.tsx';
import { Panel } from '../Panel.tsx';
import { Chart } from '../chart/Chart.tsx';

interface HandleProps {
  plot: Signal<uPlot | null>;
  threshold: number | null;
  unit: string;
  onMove: (value: number) => void;
}

/** Three digits that count: a dragged number is for people. */
const round = (value: number): number => Number(digits(value));

function Handle({ plot, threshold, unit, onMove }: HandleProps): JSX.Element | null {
  const u = plot.value;
  const top = useSignal(0);
  useEffect(() => {
    // The scale follows the threshold, so its place is known after the chart is drawn.
    const frame = requestAnimationFrame(() => {
      if (u && threshold !== null) top.value = u.valToPos(threshold, 'y') + u.over.offsetTop;
    });
    return () => cancelAnimationFrame(frame);
  });
  if (!u || threshold === null) return null;
  const most = u.scales['y']?.max ?? 1;
  const drag = (event: PointerEvent): void => {
    event.preventDefault();
    const handle = event.currentTarget as HTMLElement;
    handle.focus();
    handle.setPointerCapture(event.pointerId);
    const box = u.over.getBoundingClientRect();
    const { max } = u.scales['y'] ?? {};
    const move = (moved: PointerEvent): void => {
      const share = 1 - (moved.clientY - box.top) / box.height;
      onMove(round(Math.max(share * (max ?? 1), 0)));
    };
    handle.onpointermove = move;
    handle.onpointerup = () => {
      handle.onpointermove = null;
    };
  };
  const key = (event: KeyboardEvent): void => {
    const by = { ArrowUp: 0.02, ArrowDown: -0.02, PageUp: 0.1, PageDown: -0.1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    onMove(round(Math.max(threshold + by * (most || 1), 0)));
  };
  return (
    <div class="handle" role="slider" tabIndex={0} aria-label="Threshold" aria-orientation="vertical" aria-valuenow={threshold} aria-valuemin={0} aria-valuemax={Number(digits(most))}
      aria-valuetext={show(threshold, unit)} style={{ top: `${top.value}px` }} onPointerDown={drag} onKeyDown={key}>
      <span>{show(threshold, unit)}</span>
    </div>
  );
}

export function Preview({ rule, onThreshold }: { rule: Signal<RuleFields>; onThreshold: (value: number) => void }): JSX.Element {
  const plot = useSignal<uPlot | null>(null);
  const threshold = useComputed(() => (limitOf(rule.value)));
  const expression = useComputed(() => parts(rule.value.condition)?.expression ?? '');
  const asked = useSignal(expression.value);
  useEffect(() => {
    const timer = setTimeout(() => (asked.value = expression.value), 400);
    return () => clearTimeout(timer);
  }, [expression.value]);
  if (!asked.value) return <Panel title="Preview"><Empty>A condition of the form <code>expression &gt; threshold</code> is shown here.</Empty></Panel>;
  const unit = unitOfCondition(rule.value.condition);
  return (
    <div class="preview">
      <Chart title="Preview" unit={unit} height={240} threshold={threshold} onReady={(u) => (plot.value = u)} key={asked.value}
        expressions={[{ query: asked.value, name: (labels) => nameOf(labels, asked.value) }]} empty="The expression has no value in this time. The rule would find no data." />
      <Handle plot={plot} threshold={threshold.value} unit={unit} onMove={onThreshold} />
    </div>
  );
}
