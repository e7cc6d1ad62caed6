// The waterfall: only rows that are seen exist. A tree for keyboard and screen reader.
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import type { Path } from '../../data/critical.ts';
import { show } from '../../data/format.ts';
import { nextFailed, reveal, rowAt } from '../../data/rows.ts';
import type { Tree } from '../../data/tree.ts';
import { ROW, SpanRow, type Window } from './Row.tsx';

const BEYOND = 6;
const TICKS = [0, 0.25, 0.5, 0.75];

interface Props {
  tree: Tree;
  path: Path;
  rows: Uint32Array;
  folded: Uint8Array;
  window: Window;
  /** The span that is open beside, -1 for none. */
  open: number;
  onFold: () => void;
  onOpen: (p: number) => void;
  onZoom: (by: number, at: number) => void;
  /** Rows in sight, as shares of all. */
  onSight: (from: number, to: number) => void;
}

export function Waterfall(props: Props): JSX.Element {
  const { tree, path, rows, folded, window: seen, open, onFold, onOpen, onZoom, onSight } = props;
  const box = useRef<HTMLDivElement>(null);
  const [top, height, active] = [useSignal(0), useSignal(600), useSignal(Math.max(open, 0))];
  const current = rowAt(rows, active.value);
  const latest = useRef(rows);
  const drawn = useRef<{ deps: unknown[]; rows: Map<string, JSX.Element> }>({ deps: [], rows: new Map() });
  latest.current = rows;

  useEffect(() => {
    const host = box.current;
    if (!host) return;
    const watch = new ResizeObserver(() => (height.value = host.clientHeight));
    watch.observe(host);
    return () => watch.disconnect();
  }, []);
  const bring = (row: number): void => {
    const host = box.current;
    if (!host) return;
    if (row * ROW < host.scrollTop) host.scrollTop = row * ROW;
    else if ((row + 1) * ROW > host.scrollTop + host.clientHeight) host.scrollTop = (row + 1) * ROW - host.clientHeight;
  };
  useLayoutEffect(() => {
    if (open < 0) return;
    active.value = open;
    bring(rowAt(rows, open));
  }, [open]);
  useEffect(() => onSight(top.value / (rows.length * ROW), (top.value + height.value) / (rows.length * ROW)), [top.value, height.value, rows]);

  const moveTo = (row: number): void => {
    const at = Math.min(Math.max(row, 0), rows.length - 1);
    active.value = rows[at] ?? 0;
    bring(at);
  };
  const fold = (p: number, isFolded: boolean): void => {
    folded[p] = isFolded ? 1 : 0;
    onFold();
  };
  const sideways = (p: number, isRight: boolean): void => {
    const hasChildren = tree.size[p]! > 1;
    if (isRight && hasChildren) folded[p] ? fold(p, false) : moveTo(current + 1);
    else if (!isRight && hasChildren && !folded[p]) fold(p, true);
    else if (!isRight && tree.parent[p]! >= 0) moveTo(rowAt(rows, tree.parent[p]!));
  };
  const toFailed = (): void => {
    const p = nextFailed(tree, active.value);
    if (p < 0) return;
    reveal(tree, folded, p);
    onFold();
    active.value = p;
    requestAnimationFrame(() => bring(rowAt(latest.current, p)));
  };
  const key = (event: KeyboardEvent): void => {
    if (event.altKey || event.metaKey || event.ctrlKey) return;
    const [p, page] = [rows[current] ?? 0, Math.max(Math.floor(height.value / ROW) - 1, 1)];
    const middle = tree.start[p]! + tree.duration[p]! / 2;
    const actions: Record<string, () => void> = {
      ArrowDown: () => moveTo(current + 1), ArrowUp: () => moveTo(current - 1), j: () => moveTo(current + 1), k: () => moveTo(current - 1),
      PageDown: () => moveTo(current + page), PageUp: () => moveTo(current - page), Home: () => moveTo(0), End: () => moveTo(rows.length - 1),
      ArrowRight: () => sideways(p, true), ArrowLeft: () => sideways(p, false), Enter: () => onOpen(p), ' ': () => onOpen(p), e: toFailed,
      '+': () => onZoom(0.5, middle), '-': () => onZoom(2, middle), '0': () => onZoom(Infinity, 0),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  };
  const click = (event: MouseEvent): void => {
    const target = event.target as HTMLElement;
    const item = target.closest<HTMLElement>('[data-place]');
    if (!item) return;
    const p = Number(item.dataset['place']);
    active.value = p;
    if (target.dataset['fold'] !== undefined) fold(p, !folded[p]);
    else onOpen(p);
  };
  const first = Math.max(Math.floor(top.value / ROW) - BEYOND, 0);
  const last = Math.min(Math.ceil((top.value + height.value) / ROW) + BEYOND, rows.length);
  const step = box.current && box.current.clientWidth < 600 ? 7 : 12;
  // A row that only moved is not drawn anew.
  const deps = [rows, seen.from, seen.to, open, step];
  if (deps.some((dep, n) => dep !== drawn.current.deps[n])) drawn.current = { deps, rows: new Map() };
  const known = drawn.current.rows;
  drawn.current.rows = new Map();
  const shown: JSX.Element[] = [];
  const draw = (row: number, key: string | number): void => {
    const p = rows[row]!;
    const isActive = row === current;
    const name = `${key}|${row}|${isActive}`;
    const one = known.get(name) ?? <SpanRow key={key} tree={tree} path={path} p={p} top={row * ROW} window={seen} isFolded={folded[p] === 1} isActive={isActive} isOpen={p === open} step={step} />;
    drawn.current.rows.set(name, one);
    shown.push(one);
  };
  for (let row = first; row < last; row += 1) draw(row, row % 512);
  // The tree's active one is always there, seen or not.
  if (current < first || current >= last) draw(current, 'active');
  return (
    <div class="waterfall">
      <div class="ruler" aria-hidden="true"><span class="who">{rows.length === tree.count ? '' : `${rows.length} of ${tree.count} spans`}</span><span class="lane">{TICKS.map((tick) => <span key={tick} style={{ left: `${tick * 100}%` }}>{show((seen.from + tick * (seen.to - seen.from)) / 1e9, 's')}</span>)}</span></div>
      <div class="spans" ref={box} tabIndex={0} role="tree" aria-label="Spans. Left and right fold, Enter opens, E goes to the next failed one, plus and minus zoom." aria-activedescendant={`span-${rows[current] ?? 0}`}
        style={{ height: `${Math.min(rows.length * ROW, 30_000)}px` }} onScroll={(event) => (top.value = event.currentTarget.scrollTop)} onKeyDown={key} onClick={click}>
        <div role="none" style={{ height: `${rows.length * ROW}px` }}>{shown}</div>
      </div>
    </div>
  );
}
