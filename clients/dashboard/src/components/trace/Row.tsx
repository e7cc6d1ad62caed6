// One span of the waterfall: who did what, when and for how long.
import type { JSX } from 'preact';
import { show } from '../../data/format.ts';
import type { Path } from '../../data/critical.ts';
import { KINDS, type Tree } from '../../data/tree.ts';

export const ROW = 26;
const INDENT = 12;
const INDENT_MAX = 14;
/** More pieces of a span than these are drawn as one. */
const PIECES_MAX = 40;

export interface Window {
  from: number;
  to: number;
}

interface Props {
  tree: Tree;
  path: Path;
  p: number;
  top: number;
  window: Window;
  isFolded: boolean;
  isActive: boolean;
  isOpen: boolean;
  step: number;
}

export function serviceColour(service: number): string {
  return `var(--c${(service % 8) + 1})`;
}

export function spokenSpan(tree: Tree, path: Path, p: number): string {
  const failed = tree.failed[p] ? ', failed' : '';
  const waited = path.time[p]! > 0 ? `, on the critical path for ${show(path.time[p]! / 1e9, 's')}` : '';
  // Begins with the words that are seen, so that what is said by voice finds it.
  return `${tree.services[tree.service[p]!]} ${tree.operations[tree.operation[p]!]} ${show(tree.duration[p]! / 1e9, 's')}, ${KINDS[tree.kind[p]!]}, after ${show(tree.start[p]! / 1e9, 's')}${failed}${waited}`;
}

function Pieces({ path, p, at }: { path: Path; p: number; at: (nanos: number) => number }): JSX.Element {
  const [first, end] = [path.first[p]!, path.first[p + 1]!];
  if (end - first > PIECES_MAX) return <i class="waited" style={{ left: `${at(path.from[first]!)}%`, width: `${at(path.to[end - 1]!) - at(path.from[first]!)}%` }} />;
  return <>{Array.from({ length: end - first }, (_, n) => <i key={n} class="waited" style={{ left: `${at(path.from[first + n]!)}%`, width: `${at(path.to[first + n]!) - at(path.from[first + n]!)}%` }} />)}</>;
}

export function SpanRow({ tree, path, p, top, window, isFolded, isActive, isOpen, step }: Props): JSX.Element {
  const wide = window.to - window.from;
  const at = (nanos: number): number => Math.min(Math.max(((nanos - window.from) / wide) * 100, -1), 101);
  const [left, right] = [at(tree.start[p]!), at(tree.start[p]! + tree.duration[p]!)];
  const isOut = right < 0 || left > 100;
  const depth = tree.depth[p]!;
  const parent = tree.parent[p]!;
  const isSame = parent >= 0 && tree.service[parent] === tree.service[p];
  const hasChildren = tree.size[p]! > 1;
  const label = right < 72 ? { left: `calc(${Math.max(right, 0)}% + 5px)` } : left > 28 ? { right: `calc(${100 - Math.min(left, 100)}% + 5px)` } : { right: '5px' };
  const expanded = hasChildren ? { 'aria-expanded': !isFolded } : {};
  return (
    <div role="treeitem" id={`span-${p}`} data-place={p} class={`span${isActive ? ' active' : ''}${isOpen ? ' open' : ''}${tree.failed[p] ? ' failed' : ''}`} style={{ transform: `translateY(${top}px)` }}
      aria-level={depth + 1} aria-posinset={tree.position[p]} aria-setsize={tree.siblings[p]} aria-selected={isOpen} aria-label={spokenSpan(tree, path, p)} {...expanded}>
      <span class="who" style={{ paddingLeft: `${6 + Math.min(depth, INDENT_MAX) * Math.min(INDENT, step)}px` }}>
        <i class={`fold${hasChildren ? (isFolded ? ' shut' : ' on') : ''}`} data-fold={hasChildren ? '' : undefined} />
        <i class="ink" style={{ background: serviceColour(tree.service[p]!) }} />
        {tree.failed[p] ? <i class="mark-failed" /> : null}
        <b class={isSame ? 'same' : ''}>{tree.services[tree.service[p]!]}</b> <span>{tree.operations[tree.operation[p]!]}</span>
        {isFolded && hasChildren && <small data-below={`+${tree.size[p]! - 1}`} />}
      </span>{' '}
      <span class="lane">
        {!isOut && <i class="bar" style={{ left: `${left}%`, width: `${right - left}%`, background: serviceColour(tree.service[p]!) }} />}
        {path.time[p]! > 0 && !isOut && <Pieces path={path} p={p} at={at} />}
        <span class={`took${label.right === '5px' && !isOut ? ' inside' : ''}`} style={label}>{show(tree.duration[p]! / 1e9, 's')}</span>
      </span>
    </div>
  );
}
