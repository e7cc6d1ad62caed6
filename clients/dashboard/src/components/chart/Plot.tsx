// A chart's canvas, with a cursor for mouse, finger and keyboard.
import { type ReadonlySignal, useSignal, useSignalEffect } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { show } from '../../data/format.ts';
import { colours } from '../../data/prefs.ts';
import type { Point } from '../../data/exemplars.ts';
import { isLive, range, zoomOut } from '../../data/range.ts';
import type { Lines } from '../../data/series.ts';
import { atFull } from '../../data/time.ts';
import { align, type Columns, summary } from './align.ts';
import { Legend } from './Legend.tsx';
import { go } from '../../data/url.ts';
import { type Band, type Look, options } from './plot.ts';
import { pointAt } from './points.ts';

export interface PlotProps {
  lines: ReadonlySignal<Lines>;
  title: string;
  unit: string;
  height?: number;
  area?: boolean;
  top?: number;
  threshold?: ReadonlySignal<number | null>;
  bands?: ReadonlySignal<Band[]>;
  /** Requests that were traced: a click on one opens its trace. */
  points?: ReadonlySignal<Point[]>;
  /** Times that are shown, when they are not the page's. */
  span?: { from: number; to: number };
  onReady?: (u: uPlot | null) => void;
}

function spoken({ title, unit, lines }: PlotProps): string {
  const current = lines.value.lines.filter((line) => !line.before).slice(0, 4).map(summary);
  const parts = current.map((s) => `${s.name}: now ${show(s.last, unit)}, from ${show(s.least, unit)} to ${show(s.most, unit)}`);
  return `${title}. ${parts.join('. ') || 'No data'}. Arrow keys move the cursor, V shows the table.`;
}

/** Times shown: the range, moved on with what has arrived since. */
function xScale(props: PlotProps, columns: Columns): { min: number; max: number } {
  const { from, to } = props.span ?? range.value;
  const last = isLive.value && !props.span ? Math.max(to / 1000, columns[0].at(-1) ?? 0) : to / 1000;
  return { min: last - (to - from) / 1000, max: last };
}

export function Plot(props: PlotProps): JSX.Element {
  const { lines, unit, height = 180, area = false } = props;
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const columns = useRef<Columns>([[]]);
  const cursor = useSignal<number | null>(null);
  const isSpoken = useSignal(false);
  // What is out of sight is not drawn.
  const isSeen = useSignal(true);

  useSignalEffect(() => {
    if (!isSeen.value) return;
    const { lines: shown, step } = lines.value;
    void [colours.value, props.threshold?.value, props.bands?.value, props.points?.value];
    columns.current = align(shown, step);
    const host = box.current;
    if (!host) return;
    const signature = `${colours.value}|${shown.map((line) => `${line.name}${line.before ? '~' : ''}`).join('|')}`;
    const scale = xScale(props, columns.current);
    if (plot.current && host.dataset.lines === signature) {
      plot.current.batch((u: uPlot) => {
        u.setData(columns.current as uPlot.AlignedData, false);
        u.setScale('x', scale);
      });
      return;
    }
    host.dataset.lines = signature;
    plot.current?.destroy();
    const look: Look = { unit, height, width: host.clientWidth, area };
    if (props.top !== undefined) look.top = props.top;
    if (props.threshold) look.threshold = () => props.threshold?.peek() ?? null;
    if (props.bands) look.bands = () => props.bands?.peek() ?? [];
    if (props.points) look.points = () => props.points?.peek() ?? [];
    const u = new uPlot(options(shown, look, (index) => (cursor.value = index)), columns.current as uPlot.AlignedData, host);
    u.setScale('x', scale);
    plot.current = u;
    props.onReady?.(u);
  });

  useEffect(() => {
    const host = box.current;
    if (!host) return;
    const watch = new ResizeObserver(() => plot.current?.setSize({ width: host.clientWidth, height }));
    watch.observe(host);
    const sight = new IntersectionObserver(([entry]) => (isSeen.value = entry?.isIntersecting ?? true), { rootMargin: '200px' });
    sight.observe(host);
    return () => {
      watch.disconnect();
      sight.disconnect();
      plot.current?.destroy();
      plot.current = null;
      props.onReady?.(null);
    };
  }, []);

  const move = (event: KeyboardEvent): void => {
    const last = columns.current[0].length - 1;
    const at = cursor.value ?? last;
    const steps: Record<string, number> = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - 10, PageDown: at + 10, Home: 0, End: last };
    const next = steps[event.key];
    const u = plot.current;
    if (next === undefined || !u || last < 0 || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    const index = Math.min(Math.max(next, 0), last);
    u.setCursor({ left: u.valToPos(columns.current[0][index] ?? 0, 'x'), top: u.height / 3 });
    isSpoken.value = true;
  };

  /** A finger reads values as it moves sideways. */
  const touch = (event: PointerEvent): void => {
    const u = plot.current;
    if (event.pointerType === 'mouse' || !u) return;
    const over = u.over.getBoundingClientRect();
    u.setCursor({ left: event.clientX - over.left, top: event.clientY - over.top });
  };

  const open = (event: MouseEvent): void => {
    const near = plot.current && pointAt(plot.current, props.points?.peek() ?? [], event);
    if (near) go(`/traces/${near.trace}?span=${near.span}`);
  };

  const index = cursor.value;
  const at = index === null ? null : (columns.current[0][index] ?? null);
  const values = lines.value.lines.map((line, n) => {
    const value = index === null ? undefined : columns.current[n + 1]?.[index];
    return value ?? (index === null ? (line.points.at(-1)?.[1] ?? null) : null);
  });
  const readout = at !== null && isSpoken.value ? `${atFull(at * 1000)}: ${lines.value.lines.map((l, n) => `${l.name} ${show(values[n], unit)}`).join(', ')}` : '';
  return (
    <>
      <div class="plot" ref={box} tabIndex={0} role="img" aria-label={spoken(props)} style={{ height: `${height}px` }}
        onKeyDown={move} onPointerDown={touch} onPointerMove={touch} onClick={open} onDblClick={zoomOut} onBlur={() => (isSpoken.value = false)} />
      <Legend lines={lines.value.lines} values={values} unit={unit} at={at} />
      <p class="sr" aria-live="polite">{readout}</p>
    </>
  );
}
