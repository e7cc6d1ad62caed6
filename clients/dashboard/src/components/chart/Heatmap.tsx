// How durations are spread over time: buckets up, time to the right, requests as depth. A box drawn over it is compared.
import { useSignal, useSignalEffect } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { Box } from '../../data/compare.ts';
import { show } from '../../data/format.ts';
import { colours } from '../../data/prefs.ts';
import { queryRange } from '../../data/query.ts';
import { range, stepOf, zoomTo } from '../../data/range.ts';
import { useAgain, useLoad } from '../../data/use.ts';
import { Empty, Problem } from '../Empty.tsx';
import { Panel } from '../Panel.tsx';
import { type Area, areaOf, type At, boxFrom, moved } from './area.ts';
import { cellsOf } from './cells.ts';
import { cellAt, draw, HEIGHT, told } from './heat.ts';
import { HeatTable } from './HeatTable.tsx';

const COLUMNS = 90;

interface Props {
  title: string;
  query: (step: number) => string;
  /** What is compared now. */
  box: Box | null;
  onBox: (box: Box | null) => void;
}

export function Heatmap({ title, query, box, onBox }: Props): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [cursor, area, given] = [useSignal<At | null>(null), useSignal<Area | null>(null), useSignal(box)];
  const began = useRef<At | null>(null);
  given.value = box;
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
    if (canvas.current && cells) draw(canvas.current, cells, { cursor: cursor.value, area: area.value ?? (given.value && areaOf(given.value, cells)) });
  });
  const { data: cells, error, loading } = loaded.value;
  const isEmpty = !cells || cells.most === 0;
  useEffect(() => {
    if (!canvas.current) return;
    const watch = new ResizeObserver(() => (width.value = canvas.current?.clientWidth ?? 0));
    watch.observe(canvas.current);
    return () => watch.disconnect();
  }, [isEmpty, isTable.value]);

  const start = (event: PointerEvent): void => {
    if (event.button !== 0 || !cells) return;
    began.current = cellAt(event, cells);
    (event.currentTarget as HTMLElement).setPointerCapture(event.pointerId);
  };
  const move = (event: PointerEvent): void => {
    const at = cells && cellAt(event, cells);
    cursor.value = at;
    if (began.current && at && (at[0] !== began.current[0] || at[1] !== began.current[1])) area.value = [began.current, at];
  };
  const end = (): void => {
    began.current = null;
    if (area.value && cells) onBox(boxFrom(area.value, cells));
    area.value = null;
  };
  const key = (event: KeyboardEvent): void => {
    if (event.key === 'Escape') onBox(null);
    if (event.key === 'Enter') end();
    const next = cells && moved(event.key, cursor.value, cells);
    if (!next) return;
    event.preventDefault();
    area.value = event.shiftKey ? [area.value?.[0] ?? cursor.value ?? next, next] : null;
    cursor.value = next;
  };
  const zoom = (): void => {
    const at = cursor.value && cells ? cells.times[cursor.value[0]] : undefined;
    if (at !== undefined && cells) zoomTo(at - cells.step * 5, at + cells.step * 5);
  };
  const readout = cells ? told(cursor.value, cells) : '';
  return (
    <Panel title={title} busy={loading && !isEmpty} wide note={readout || 'stronger is more; drag a box to see what differs in it'}
      actions={!isEmpty && <button type="button" class="quiet" aria-pressed={isTable.value} onClick={() => (isTable.value = !isTable.value)}>Table</button>}>
      {error && <Problem error={error} />}
      {isEmpty && !error && (
        <div class="plot-empty" style={{ minHeight: `${HEIGHT}px` }}>
          {loading ? <span class="muted">Loading…</span> : <Empty>Nothing called this service in this time: neither <code>http.server.request.duration</code> nor a server span came from it.</Empty>}
        </div>
      )}
      {!isEmpty && cells && isTable.value && <HeatTable cells={cells} title={title} height={HEIGHT} />}
      {!isEmpty && cells && !isTable.value && (
        <>
          <canvas ref={canvas} class="heatmap" tabIndex={0} role="img" style={{ height: `${HEIGHT}px` }}
            aria-label={`${title}: durations from ${show(cells.bounds[0], 's')} over ${cells.times.length} spans of ${cells.step / 1000} s. Arrow keys move the cursor, with Shift they draw a box, Enter compares what is in it.`}
            onPointerDown={start} onPointerMove={move} onPointerUp={end}
            onPointerLeave={() => began.current === null && (cursor.value = null)} onKeyDown={key} onDblClick={zoom} />
          <p class="sr" aria-live="polite">{document.activeElement === canvas.current ? readout : ''}</p>
        </>
      )}
    </Panel>
  );
}
