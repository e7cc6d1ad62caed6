// The whole trace at a glance: a drag chooses the time that the waterfall shows.
import { type ReadonlySignal, useSignal, useSignalEffect } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { show } from '../../data/format.ts';
import { colours } from '../../data/prefs.ts';
import type { Tree } from '../../data/tree.ts';
import { draw, HEIGHT } from './minimap.ts';
import type { Window } from './Row.tsx';

const DRAG = 4;

interface Props {
  tree: Tree;
  rows: Uint32Array;
  window: Window;
  /** Rows in sight, as shares of all. */
  sight: ReadonlySignal<[number, number]>;
  onWindow: (window: Window | null) => void;
}

function Sight({ sight }: Pick<Props, 'sight'>): JSX.Element | null {
  const [from, to] = sight.value;
  return to - from < 0.98 ? <i class="sight" style={{ top: `${from * 100}%`, height: `${Math.max((to - from) * 100, 2)}%` }} /> : null;
}

export function Minimap({ tree, rows, window: seen, sight, onWindow }: Props): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null);
  const began = useRef<number | null>(null);
  const [width, dragged, given] = [useSignal(0), useSignal<[number, number] | null>(null), useSignal(rows)];
  given.value = rows;
  useSignalEffect(() => {
    void [colours.value, width.value];
    if (canvas.current && width.value > 0) draw(canvas.current, tree, given.value);
  });
  useEffect(() => {
    const host = canvas.current;
    if (!host) return;
    const watch = new ResizeObserver(() => (width.value = host.clientWidth));
    watch.observe(host);
    return () => watch.disconnect();
  }, []);
  const share = (event: PointerEvent): number => {
    const box = canvas.current?.getBoundingClientRect();
    return box ? Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) : 0;
  };
  const move = (event: PointerEvent): void => {
    const [from, at] = [began.current, share(event)];
    if (from !== null && Math.abs(at - from) * width.value > DRAG) dragged.value = [Math.min(from, at), Math.max(from, at)];
  };
  const end = (): void => {
    const box = dragged.value;
    began.current = null;
    dragged.value = null;
    if (box) onWindow({ from: box[0] * tree.total, to: box[1] * tree.total });
  };
  const [from, to] = dragged.value ?? [seen.from / tree.total, seen.to / tree.total];
  const isWhole = from <= 0 && to >= 1;
  return (
    <div class="minimap" onPointerDown={(event) => {
      if (event.button !== 0) return;
      began.current = share(event);
      event.currentTarget.setPointerCapture(event.pointerId);
    }} onPointerMove={move} onPointerUp={end} onPointerCancel={end} onDblClick={() => onWindow(null)}>
      <canvas ref={canvas} role="img" style={{ height: `${HEIGHT}px` }} aria-label={`The whole trace, ${show(tree.total / 1e9, 's')}; shown from ${show(seen.from / 1e9, 's')} to ${show(seen.to / 1e9, 's')}.`} />
      {!isWhole && <><i class="shade" style={{ left: 0, width: `${from * 100}%` }} /><i class="shade" style={{ left: `${to * 100}%`, right: 0 }} /></>}
      <Sight sight={sight} />
    </div>
  );
}
