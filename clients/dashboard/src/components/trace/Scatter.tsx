// Found traces as dots: a click opens one, a drag narrows the time, arrow keys go from one to the next.
import { useSignal, useSignalEffect } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { show } from '../../data/format.ts';
import { colours } from '../../data/prefs.ts';
import { range, zoomOut, zoomTo } from '../../data/range.ts';
import { atClock } from '../../data/time.ts';
import { type Found, titleOf, traceHref } from '../../data/traces.ts';
import { go } from '../../data/url.ts';
import { type Dot, dots, draw, HEIGHT, LEFT, nearest, scaleOf } from './scatter.ts';

const DRAG = 6;

export function spoken(trace: Found): string {
  const failed = trace.errorCount > 0 ? `, ${trace.errorCount} failed` : '';
  return `${titleOf(trace)} · ${show(trace.durationMs, 'ms')} · ${atClock(Date.parse(trace.startedAt))} · ${trace.spanCount} spans${failed}`;
}

interface Props {
  traces: Found[];
  /** Only the newest are here: what lies before them is not empty, but unknown. */
  isCut: boolean;
  onTell: (text: string) => void;
}

/** Newer traces than the range was asked for widen it; unknown time is not shown. */
function spanOf({ traces, isCut }: Pick<Props, 'traces' | 'isCut'>): { from: number; to: number } {
  const { from, to } = range.value;
  const times = traces.map(({ startedAt }) => Date.parse(startedAt));
  const [first, last] = [Math.min(...times), Math.max(...times)];
  return isCut && last > first ? { from: first, to: last } : { from, to: Math.max(to, last) };
}

export function Scatter({ traces, isCut, onTell }: Props): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null);
  const all = useRef<Dot[]>([]);
  const began = useRef<number | null>(null);
  const given = useSignal({ traces, isCut });
  if (given.peek().traces !== traces || given.peek().isCut !== isCut) given.value = { traces, isCut };
  const [width, chosen, dragged] = [useSignal(0), useSignal<Found | null>(null), useSignal<[number, number] | null>(null)];
  useSignalEffect(() => {
    void colours.value;
    if (!canvas.current || width.value === 0) return;
    const scale = scaleOf(given.value.traces, spanOf(given.value), width.value);
    all.current = dots(given.value.traces, scale);
    draw(canvas.current, all.current, scale, chosen.value);
  });
  useEffect(() => {
    const host = canvas.current;
    if (!host) return;
    const watch = new ResizeObserver(() => (width.value = host.clientWidth));
    watch.observe(host);
    return () => watch.disconnect();
  }, []);

  const choose = (trace: Found | null): void => {
    chosen.value = trace;
    onTell(trace ? spoken(trace) : '');
  };
  const place = (event: PointerEvent): [number, number] => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const start = (event: PointerEvent): void => {
    if (event.button !== 0) return;
    began.current = place(event)[0];
    (event.currentTarget as HTMLElement).setPointerCapture(event.pointerId);
  };
  const move = (event: PointerEvent): void => {
    const [x, y] = place(event);
    if (began.current !== null && Math.abs(x - began.current) > DRAG) dragged.value = [Math.min(began.current, x), Math.max(began.current, x)];
    else choose(nearest(all.current, x, y)?.trace ?? null);
  };
  const end = (event: PointerEvent): void => {
    const [x, y] = place(event);
    const [box, from] = [dragged.value, began.current];
    began.current = null;
    dragged.value = null;
    if (from === null) return;
    if (box) {
      const span = spanOf({ traces, isCut });
      const at = (px: number): number => span.from + ((px - LEFT) / (width.value - LEFT - 6)) * (span.to - span.from);
      zoomTo(at(Math.max(box[0], LEFT)), at(box[1]));
      return;
    }
    const found = nearest(all.current, x, y);
    if (found) go(traceHref(found.trace.traceId));
  };
  const key = (event: KeyboardEvent): void => {
    if (event.key === 'Enter' && chosen.value) go(traceHref(chosen.value.traceId));
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined || event.altKey || event.metaKey) return;
    event.preventDefault();
    const inTime = [...traces].sort((a, b) => Number(BigInt(a.startNanos) - BigInt(b.startNanos)));
    const at = chosen.value ? inTime.indexOf(chosen.value) : inTime.length;
    choose(inTime[Math.min(Math.max(at + by, 0), inTime.length - 1)] ?? null);
  };
  const box = dragged.value;
  return (
    <div class="scatter">
      <canvas ref={canvas} tabIndex={0} role="img" style={{ height: `${HEIGHT}px` }} onKeyDown={key} onDblClick={zoomOut}
        aria-label={`${traces.length} traces by time and duration. Left and right go from one to the next, Enter opens it, V shows the table.`}
        onPointerDown={start}
        onPointerMove={move} onPointerUp={end} onPointerLeave={() => began.current === null && choose(null)} onPointerCancel={() => (began.current = null)} />
      {box && <i class="drag" aria-hidden="true" style={{ left: `${box[0]}px`, width: `${box[1] - box[0]}px` }} />}
    </div>
  );
}
