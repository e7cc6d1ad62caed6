// Who calls whom, as the server tells it, and what each node and edge of the drawing says.
import type { Schemas } from './fetch.ts';
import { show } from './format.ts';
import type { Range } from './range.ts';

export type Graph = Schemas['GraphView'];
export type Node = Schemas['NodeView'];
export type Edge = Schemas['EdgeView'];

const MINUTES_MAX = 43_200;
/** From this share of errors on an edge is red. */
const BAD = 0.01;

export function graphPath({ from, to }: Range, isLive: boolean): string {
  const minutes = Math.min(Math.max(Math.round((to - from) / 60_000), 1), MINUTES_MAX);
  return `/api/service-graph?minutes=${minutes}${isLive ? '' : `&at=${to / 1000}`}`;
}

export const nameOfEdge = ({ client, server, connection }: Edge): string => `${client} → ${server} ${connection}`;
export const isBad = ({ errorRate }: Edge): boolean => errorRate >= BAD;

/** Only what has to do with one node, when one is chosen. */
export function around({ nodes, edges }: Graph, name: string): { nodes: Node[]; edges: Edge[] } {
  if (!name) return { nodes, edges };
  const kept = edges.filter(({ client, server }) => client === name || server === name);
  const names = new Set([name, ...kept.flatMap(({ client, server }) => [client, server])]);
  return { nodes: nodes.filter((node) => names.has(node.name)), edges: kept };
}

export function figures(edge: Edge): string {
  const errors = edge.errorRate > 0 ? `, ${show(edge.errorRate * 100, '%')} errors` : '';
  return `${show(edge.ratePerSecond, '1/s')}, p95 ${show(edge.p95Ms, 'ms')}${errors}`;
}

export const spokenEdge = (edge: Edge): string => `${edge.client} to ${edge.server}, ${edge.connection}: ${figures(edge)}`;

/** The traces that an edge is made of: those with both ends, or with the end that sends spans. */
export function edgeTraces({ client, server }: Edge, nodes: Node[]): string {
  const services = [client, server].filter((name) => nodes.some((node) => node.name === name && node.kind === 'service'));
  const query = new URLSearchParams(services.map((name, n) => [n === 0 ? 'service' : 'with', name]));
  return `/traces?${query}`;
}

export interface Load {
  rate: number;
  errors: number;
  p95: number | null;
}

/** What comes to a node: all that its callers send it. */
export function loadOf(name: string, edges: Edge[]): Load {
  const incoming = edges.filter(({ server }) => server === name);
  const rate = incoming.reduce((sum, edge) => sum + edge.ratePerSecond, 0);
  const errors = incoming.reduce((sum, edge) => sum + edge.ratePerSecond * edge.errorRate, 0);
  const slowest = incoming.reduce<number | null>((most, { p95Ms }) => (p95Ms === null || p95Ms === undefined ? most : Math.max(most ?? 0, p95Ms)), null);
  return { rate, errors: rate > 0 ? errors / rate : 0, p95: slowest };
}
