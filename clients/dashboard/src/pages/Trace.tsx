// One trace: minimap, waterfall, and a span beside it.
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useMemo } from 'preact/hooks';
import { Empty, Loading, Problem } from '../components/Empty.tsx';
import { Panel } from '../components/Panel.tsx';
import { Head, Waits } from '../components/trace/Head.tsx';
import { Minimap } from '../components/trace/Minimap.tsx';
import type { Window } from '../components/trace/Row.tsx';
import { SpanPanel } from '../components/trace/SpanPanel.tsx';
import { Waterfall } from '../components/trace/Waterfall.tsx';
import { criticalPath } from '../data/critical.ts';
import { get } from '../data/fetch.ts';
import { reveal, rowsOf } from '../data/rows.ts';
import { idOf, placeOf, type Tree, treeOf, type TraceView } from '../data/tree.ts';
import { href, param, set } from '../data/url.ts';
import { useLoad } from '../data/use.ts';

const SHARES = ['0.1', '0.5', '1', '5', '10'];
/** Least part of a trace that is shown. */
const ZOOM_MOST = 1e-6;

function windowOf(tree: Tree): Window {
  const [from = 0, to = 1] = param('zoom').split('-').map(Number);
  return from >= 0 && to > from && to <= 1 && param('zoom') ? { from: from * tree.total, to: to * tree.total } : { from: 0, to: Math.max(tree.total, 1) };
}

function Controls({ isZoomed, onWhole, onAll }: { isZoomed: boolean; onWhole: () => void; onAll: (isFolded: boolean) => void }): JSX.Element {
  return (
    <>
      {isZoomed && <button type="button" class="quiet" onClick={onWhole}>Whole trace</button>}
      <button type="button" class="quiet only-wide" onClick={() => onAll(true)}>Fold all</button>
      <button type="button" class="quiet only-wide" onClick={() => onAll(false)}>Unfold</button>
      <button type="button" class="quiet" aria-pressed={param('path') === '1'} onClick={() => set({ path: param('path') === '1' ? null : '1' }, true)}>Critical path</button>
      <select aria-label="Hide spans under a share of the trace" value={param('hide')} onChange={(event) => set({ hide: event.currentTarget.value }, true)}>
        <option value="">all spans</option>
        {SHARES.map((share) => <option key={share} value={share}>from {share} %</option>)}
      </select>
    </>
  );
}

function Whole({ tree }: { tree: Tree }): JSX.Element {
  const path = useMemo(() => criticalPath(tree), [tree]);
  const folded = useMemo(() => new Uint8Array(tree.count), [tree]);
  const [version, sight] = [useSignal(0), useSignal<[number, number]>([0, 1])];
  const open = placeOf(tree, param('span'));
  const least = (Number(param('hide')) / 100) * tree.total || 0;
  const isPath = param('path') === '1';
  const rows = useMemo(() => {
    if (open >= 0) reveal(tree, folded, open);
    return rowsOf(tree, { folded, least, path: isPath ? path : null });
  }, [tree, version.value, least, isPath, open]);
  const seen = windowOf(tree);
  const show = (window: Window | null): void => {
    const text = (nanos: number): string => String(Number((nanos / tree.total).toPrecision(7)));
    const isWhole = window === null || (window.from <= 0 && window.to >= tree.total);
    set({ zoom: isWhole ? null : `${text(Math.max(window.from, 0))}-${text(Math.min(window.to, tree.total))}` }, true);
  };
  const zoom = (by: number, at: number): void => {
    const wide = Math.max((seen.to - seen.from) * by, tree.total * ZOOM_MOST);
    show(wide >= tree.total ? null : { from: Math.min(Math.max(at - wide / 2, 0), tree.total - wide), to: Math.max(Math.min(at + wide / 2, tree.total), wide) });
  };
  const all = (isFolded: boolean): void => {
    folded.fill(isFolded ? 1 : 0);
    if (isFolded) folded[0] = 0;
    version.value += 1;
  };
  const close = (): void => {
    set({ span: null }, true);
    document.querySelector<HTMLElement>('.spans')?.focus({ preventScroll: true });
  };
  return (
    <div class="page">
      <section class="panel" aria-label="Trace"><Head tree={tree} /></section>
      <div class={`trace${open >= 0 ? ' with-span' : ''}`}>
        <Panel title="Spans" actions={<Controls isZoomed={param('zoom') !== ''} onWhole={() => show(null)} onAll={all} />}>
          <Waits tree={tree} path={path} />
          <Minimap tree={tree} rows={rows} window={seen} sight={sight} onWindow={show} />
          {rows.length === 0 ? <Empty>Every span is shorter than that.</Empty> : (
            <Waterfall tree={tree} path={path} rows={rows} folded={folded} window={seen} open={open} onZoom={zoom} onSight={(from, to) => (sight.value = [from, to])}
              onFold={() => (version.value += 1)} onOpen={(p) => set({ span: idOf(tree, p) }, open >= 0)} />
          )}
        </Panel>
        {open >= 0 && <SpanPanel tree={tree} path={path} p={open} onClose={close} key={open} />}
      </div>
    </div>
  );
}

export function TracePage({ id }: { id: string }): JSX.Element {
  const loaded = useLoad(async (signal) => treeOf(await get<TraceView>(`/api/traces/${encodeURIComponent(id)}`, signal)), id);
  const { data, error } = loaded.value;
  if (error?.isMissing) return <div class="page"><Empty><p><b>No such trace is kept.</b></p><p>It was none of those that are kept, it is past its retention, or its last span came less than ten seconds ago. <button type="button" onClick={loaded.again}>Look again</button> <a href={href('/traces')}>Kept traces</a></p></Empty></div>;
  if (error) return <div class="page"><Problem error={error} again={loaded.again} /></div>;
  if (!data) return <Loading />;
  return <Whole tree={data} key={id} />;
}
