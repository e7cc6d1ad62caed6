// How durations are spread over time: buckets up, time to the right, requests as depth.
import { useSignal, useSignalEffect } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { show } from '../../data/format.ts';
import { colour, colours } from '../../data/prefs.ts';
import { queryRange } from '../../data/query.ts';
import { range, stepOf, zoomTo } from '../../data/range.ts';
import { atClock, atShort } from '../../data/time.ts';
import { useAgain, useLoad } from '../../data/use.ts';
import { Empty, Problem } from '../Empty.tsx';
import { Panel } from '../Panel.tsx';
import { type Cells, cellsOf, depth } from './cells.ts';
import { HeatTable } from './HeatTable.tsx';

const HEIGHT = 220;
const LEFT = 60;
const BOTTOM = 22;
const COLUMNS = 90;

function draw(canvas: HTMLCanvasElement, cells: Cells, cursor: [number, number] | null): void {
  const context = canvas.getContext('2d');
  if (!context) return;
  const [width, ratio] = [canvas.clientWidth, window.devicePixelRatio];
  canvas.width = width * ratio;
  canvas.height = HEIGHT * ratio;
  context.scale(ratio, ratio);
  const [w, h] = [(width - LEFT) / Math.max(cells.times.length, 1), (HEIGHT - BOTTOM) / Math.max(cells.bounds.length, 1)];
  context.fillStyle = colour('--heat');
  cells.counts.forEach((column, x) => {
    column.forEach((count, y) => {
      if (count <= 0) return;
      context.globalAlpha = depth(count, cells.most);
      context.fillRect(LEFT + x * w, HEIGHT - BOTTOM - (y + 1) * h, Math.ceil(w), Math.max(h - 1, 1));
    });
  });
  context.globalAlpha = 1;
  context.fillStyle = colour('--muted');
  context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
  context.textAlign = 'right';
  const every = Math.ceil(cells.bounds.length / 8);
  cells.bounds.forEach((bound, y) => {
    if (y % every === 0) context.fillText(Number.isFinite(bound) ? show(bound, 's') : 'more', LEFT - 6, HEIGHT - BOTTOM - (y + 1) * h + 8);
  });
  context.textAlign = 'center';
  const [first, last] = [cells.times[0] ?? 0, cells.times.at(-1) ?? 1];
  const across = (last - first) / Math.max(Math.floor((width - LEFT) / 90), 1);
  const between = Math.max(stepOf({ from: 0, to: across }, 1), 60_000);
  for (let at = Math.ceil(first / between) * between; at < last; at += between) {
    const text = between >= 86_400_000 ? atShort(at).split(', ')[0] : atShort(at).split(', ').at(-1);
    context.fillText(text ?? '', LEFT + ((at - first) / cells.step) * w, HEIGHT - 6);
  }
  if (!cursor) return;
  context.strokeStyle = colour('--ink');
  context.strokeRect(LEFT + cursor[0] * w + 0.5, HEIGHT - BOTTOM - (cursor[1] + 1) * h + 0.5, w - 1, h - 1);
}

interface Props {
  title: string;
  query: (step: number) => string;
}

export function Heatmap({ title, query }: Props): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null);
  const cursor = useSignal<[number, number] | null>(null);
  const loaded = useLoad(
    async (signal) => {
      const current = range.peek();
      const step = Math.max(stepOf(current, COLUMNS), 20_000);
      return cellsOf(await queryRange(query(step), current, signal, step), current, step);
    },
    query(0),
    () => range.value,
  );
  useAgain(loaded, 20_000);
  const width = useSignal(0);
  const isTable = useSignal(false);
  useSignalEffect(() => {
    void [colours.value, width.value, isTable.value];
    const cells = loaded.value.data;
    if (canvas.current && cells) draw(canvas.current, cells, cursor.value);
  });
  const { data: cells, error, loading } = loaded.value;
  const isEmpty = !cells || cells.most === 0;
  useEffect(() => {
    if (!canvas.current) return;
    const watch = new ResizeObserver(() => (width.value = canvas.current?.clientWidth ?? 0));
    watch.observe(canvas.current);
    return () => watch.disconnect();
  }, [isEmpty, isTable.value]);

  const cellAt = (event: MouseEvent): [number, number] | null => {
    if (!cells) return null;
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left - LEFT) / (box.width - LEFT)) * cells.times.length);
    const y = Math.floor(((HEIGHT - BOTTOM - (event.clientY - box.top)) / (HEIGHT - BOTTOM)) * cells.bounds.length);
    return cells.counts[x]?.[y] === undefined ? null : [x, y];
  };
  const move = (event: KeyboardEvent): void => {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!by || !cells) return;
    event.preventDefault();
    const [x, y] = cursor.value ?? [cells.times.length, 0];
    const clamp = (value: number, most: number): number => Math.min(Math.max(value, 0), most - 1);
    cursor.value = [clamp(x + (by[0] ?? 0), cells.times.length), clamp(y + (by[1] ?? 0), cells.bounds.length)];
  };
  const zoom = (): void => {
    const at = cursor.value && cells ? cells.times[cursor.value[0]] : undefined;
    if (at !== undefined && cells) zoomTo(at - cells.step * 5, at + cells.step * 5);
  };
  const [x, y] = cursor.value ?? [-1, -1];
  const at = cells?.times[x];
  const low = cells?.bounds[y - 1] ?? 0;
  const readout = cells && at !== undefined ? `${atClock(at)} · ${show(low, 's')} to ${Number.isFinite(cells.bounds[y]) ? show(cells.bounds[y], 's') : 'more'} · ${show(cells.counts[x]?.[y] ?? 0, '')} requests` : '';
  return (
    <Panel title={title} busy={loading && !isEmpty} wide note={readout || 'stronger is more requests'}
      actions={!isEmpty && <button type="button" class="quiet" aria-pressed={isTable.value} onClick={() => (isTable.value = !isTable.value)}>Table</button>}>
      {error && <Problem error={error} />}
      {isEmpty && !error && (
        <div class="plot-empty" style={{ minHeight: `${HEIGHT}px` }}>
          {loading ? <span class="muted">Loading…</span> : <Empty>No histogram of <code>http.server.request.duration</code> came from this service in this time. Exponential histograms and spans have no fixed buckets to draw.</Empty>}
        </div>
      )}
      {!isEmpty && cells && isTable.value && <HeatTable cells={cells} title={title} height={HEIGHT} />}
      {!isEmpty && cells && !isTable.value && (
        <>
          <canvas ref={canvas} class="heatmap" tabIndex={0} role="img" style={{ height: `${HEIGHT}px` }}
            aria-label={`${title}: durations from ${show(cells.bounds[0], 's')} over ${cells.times.length} spans of ${cells.step / 1000} s. Arrow keys move the cursor.`}
            onMouseMove={(event) => (cursor.value = cellAt(event))} onMouseLeave={() => (cursor.value = null)} onKeyDown={move} onDblClick={zoom} />
          <p class="sr" aria-live="polite">{document.activeElement === canvas.current ? readout : ''}</p>
        </>
      )}
    </Panel>
  );
}
