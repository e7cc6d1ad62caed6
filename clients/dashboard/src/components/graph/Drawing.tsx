// Services in layers, calls between them as lines: thicker is more, red fails.
import type { JSX } from 'preact';
import { useMemo } from 'preact/hooks';
import { show } from '../../data/format.ts';
import { type Edge, edgeTraces, isBad, loadOf, nameOfEdge, type Node, spokenEdge } from '../../data/graph.ts';
import { layout, type Place } from '../../data/layout.ts';
import { href } from '../../data/url.ts';

const WIDE = { node: 148, high: 44, layer: 268, between: 74, pad: 10 };
/** Below each other, so that a phone shows them. */
const PHONE = { node: 104, high: 44, layer: 104, between: 112, pad: 4 };
const LETTERS = 16;
/** Edges that say their figures in the drawing; more would hide each other. */
const LABELLED_MAX = 24;
const ICONS: Record<string, string> = {
  database: 'M3 4c0-1.3 10-1.3 10 0v8c0 1.3-10 1.3-10 0zM3 4c0 1.3 10 1.3 10 0M3 8c0 1.3 10 1.3 10 0',
  cache: 'M9 1.5L3.5 9H8l-1 5.5L12.5 7H8z',
  queue: 'M2 4h3v8H2zM6.5 4h3v8h-3zM11 4h3v8h-3z',
  external: 'M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13M1.5 8h13M8 1.5c-4 4-4 9 0 13M8 1.5c4 4 4 9 0 13',
  service: 'M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.01M5 11h.01',
};

export interface Props {
  nodes: Node[];
  edges: Edge[];
  isPhone: boolean;
  onTell: (text: string) => void;
}

/** Through all points, along the calls where it leaves and comes. */
function curve(points: Place[], isDown: boolean): string {
  const at = ({ x, y }: Place): string => `${x.toFixed(1)} ${y.toFixed(1)}`;
  let text = `M${at(points[0] ?? { x: 0, y: 0 })}`;
  for (let n = 1; n < points.length; n += 1) {
    const [a, b] = [points[n - 1] as Place, points[n] as Place];
    const [half, down] = [(b.x - a.x) / 2, (b.y - a.y) / 2];
    text += isDown ? `C${at({ x: a.x, y: a.y + down })} ${at({ x: b.x, y: b.y - down })} ${at(b)}` : `C${at({ x: a.x + half, y: a.y })} ${at({ x: b.x - half, y: b.y })} ${at(b)}`;
  }
  return text;
}

/** From the side of the caller to the side of the called. */
function ends(way: Place[], { node, high }: typeof WIDE, isDown: boolean): Place[] {
  const half = isDown ? high / 2 : node / 2;
  const shift = ({ x, y }: Place, by: number): Place => (isDown ? { x, y: y + by } : { x: x + by, y });
  const [first, last] = [way[0], way.at(-1)];
  if (!first || !last) return way;
  const isForward = isDown ? last.y >= first.y : last.x >= first.x;
  const by = isForward ? half : -half;
  return way.map((point, n) => (n === 0 ? shift(point, by) : n === way.length - 1 ? shift(point, -by - (isForward ? 5 : -5)) : point));
}

function Line({ edge, way, nodes, isDown, onTell }: { edge: Edge; way: Place[]; nodes: Node[]; isDown: boolean; onTell: Props['onTell'] }): JSX.Element {
  const d = curve(way, isDown);
  const tell = (): void => onTell(spokenEdge(edge));
  return (
    <a class={`edge${isBad(edge) ? ' bad-edge' : ''}`} href={href(edgeTraces(edge, nodes))} aria-label={`${spokenEdge(edge)}. Its traces.`} onMouseEnter={tell} onFocus={tell} onMouseLeave={() => onTell('')}>
      <path class="reach" d={d} />
      <path class="stroke" d={d} style={{ strokeWidth: `${Math.min(1.2 + Math.log2(1 + edge.ratePerSecond) * 0.7, 7)}px` }} marker-end={`url(#head${isBad(edge) ? '-bad' : ''})`} />
    </a>
  );
}

/** The figures of an edge, over all lines; the link itself says them to a screen reader. */
function Figures({ edge, way }: { edge: Edge; way: Place[] }): JSX.Element {
  const half = Math.floor(way.length / 2);
  const [a, b] = [way[way.length % 2 ? half : half - 1] ?? { x: 0, y: 0 }, way[half] ?? { x: 0, y: 0 }];
  return (
    <text x={(a.x + b.x) / 2} y={(a.y + b.y) / 2 - 5} aria-hidden="true">
      {show(edge.ratePerSecond, '1/s')} · {isBad(edge) ? `${show(edge.errorRate * 100, '%')} err` : show(edge.p95Ms, 'ms')}
    </text>
  );
}

interface BoxProps {
  node: Node;
  place: Place;
  size: typeof WIDE;
  edges: Edge[];
}

const corner = ({ x, y }: Place, { node, high }: typeof WIDE): string => `translate(${x - node / 2} ${y - high / 2})`;

function Box({ node, place, size, edges, onTell }: BoxProps & Pick<Props, 'onTell'>): JSX.Element {
  const load = loadOf(node.name, edges);
  const spoken = `${node.name}, ${node.kind}, ${load.rate > 0 ? `${show(load.rate, '1/s')}, p95 ${show(load.p95, 'ms')}, ${show(load.errors * 100, '%')} errors` : 'called by nobody'}`;
  const inside = (
    <>
      <rect width={size.node} height={size.high} rx={node.kind === 'service' ? 8 : 20} />
      <path class="sign" transform="translate(9 7) scale(0.82)" d={ICONS[node.kind] ?? ICONS['service']} />
    </>
  );
  const common = { class: `node ${node.kind}${load.errors >= 0.01 ? ' bad-node' : ''}`, transform: corner(place, size), onMouseEnter: () => onTell(spoken), onMouseLeave: () => onTell('') };
  if (node.kind !== 'service') return <g {...common} role="img" aria-label={spoken}>{inside}</g>;
  return <a {...common} href={href(`/services/${encodeURIComponent(node.name)}`)} aria-label={spoken} onFocus={() => onTell(spoken)}>{inside}</a>;
}

/** What a box says, over it; the box itself says it to a screen reader. */
function Words({ node, place, size, edges }: BoxProps): JSX.Element {
  const load = loadOf(node.name, edges);
  const letters = Math.floor((LETTERS * (size.node - 34)) / (WIDE.node - 34));
  const name = node.name.length > letters ? `${node.name.slice(0, letters - 1)}…` : node.name;
  const figures = load.rate > 0 ? `${show(load.rate, '1/s')}${size === WIDE ? ` · p95 ${show(load.p95, 'ms')}` : ''}` : 'begins here';
  return <g transform={corner(place, size)}><text x="28" y="18">{name}</text><text class="small" x="28" y="35">{figures}</text></g>;
}

export function Drawing({ nodes, edges, isPhone, onTell }: Props): JSX.Element {
  const size = isPhone ? PHONE : WIDE;
  // Names alone make the drawing: figures that change do not move it.
  const key = `${isPhone}|${nodes.map(({ name }) => name).join('|')}|${edges.map(nameOfEdge).join('|')}`;
  const drawn = useMemo(() => {
    const made = layout(nodes.map(({ name }) => name), edges.map(({ client, server }) => ({ from: client, to: server })), size);
    const turn = ({ x, y }: Place): Place => (isPhone ? { x: y, y: x } : { x, y });
    const [width, height] = isPhone ? [made.height, made.width] : [made.width, made.height];
    return { places: new Map([...made.nodes].map(([name, place]) => [name, turn(place)])), ways: made.ways.map((way) => ends(way.map(turn), size, isPhone)), width, height };
  }, [key]);
  const isLabelled = !isPhone && edges.length <= LABELLED_MAX;
  return (
    <div class="graph-box">
      <svg class="graph" width={drawn.width} height={drawn.height} viewBox={`0 0 ${drawn.width} ${drawn.height}`} role="group" aria-label={`${nodes.length} nodes, ${edges.length} calls between them`}>
        <defs>
          {['', '-bad'].map((kind) => <marker key={kind} id={`head${kind}`} class={`head${kind}`} viewBox="0 0 8 8" refX="3" refY="4" markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z" /></marker>)}
        </defs>
        {edges.map((edge, n) => <Line key={nameOfEdge(edge)} edge={edge} way={drawn.ways[n] ?? []} nodes={nodes} isDown={isPhone} onTell={onTell} />)}
        {isLabelled && <g class="figures-of" aria-hidden="true">{edges.map((edge, n) => <Figures key={nameOfEdge(edge)} edge={edge} way={drawn.ways[n] ?? []} />)}</g>}
        {nodes.map((node) => <Box key={node.name} node={node} place={drawn.places.get(node.name) ?? { x: 0, y: 0 }} size={size} edges={edges} onTell={onTell} />)}
        <g class="words" aria-hidden="true">{nodes.map((node) => <Words key={node.name} node={node} place={drawn.places.get(node.name) ?? { x: 0, y: 0 }} size={size} edges={edges} />)}</g>
      </svg>
    </div>
  );
}
