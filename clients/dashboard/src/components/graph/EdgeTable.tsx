// Calls as a table.
import type { JSX } from 'preact';
import { show } from '../../data/format.ts';
import { type Edge, edgeTraces, isBad, nameOfEdge, type Node } from '../../data/graph.ts';
import { href } from '../../data/url.ts';
import { type Column, Table } from '../Table.tsx';

function end(name: string, nodes: Node[]): JSX.Element {
  const isService = nodes.some((node) => node.name === name && node.kind === 'service');
  return isService ? <a href={href(`/services/${encodeURIComponent(name)}`)}>{name}</a> : <>{name}</>;
}

export function EdgeTable({ nodes, edges }: { nodes: Node[]; edges: Edge[] }): JSX.Element {
  const columns: Column<Edge>[] = [
    { name: 'call', title: 'Call', by: nameOfEdge, cell: ({ client, server }) => <span class="pair">{end(client, nodes)} → {end(server, nodes)}</span> },
    { name: 'how', title: 'How', by: ({ connection }) => connection, cell: ({ connection }) => connection, wide: true },
    { name: 'rate', title: 'Calls', number: true, by: ({ ratePerSecond }) => ratePerSecond, cell: ({ ratePerSecond }) => show(ratePerSecond, '1/s') },
    { name: 'errors', title: 'Errors', number: true, by: ({ errorRate }) => errorRate, cell: (edge) => <span class={isBad(edge) ? 'bad' : ''}>{show(edge.errorRate * 100, '%')}</span> },
    { name: 'p50', title: 'p50', number: true, by: ({ p50Ms }) => p50Ms ?? -1, cell: ({ p50Ms }) => show(p50Ms, 'ms'), wide: true },
    { name: 'p95', title: 'p95', number: true, by: ({ p95Ms }) => p95Ms ?? -1, cell: ({ p95Ms }) => show(p95Ms, 'ms') },
    { name: 'traces', title: 'Traces', cell: (edge) => <a href={href(edgeTraces(edge, nodes))} aria-label={`Traces of ${edge.client} to ${edge.server}`}>traces</a>, wide: true },
  ];
  return <Table name="calls" label="Calls" columns={columns} rows={edges} id={nameOfEdge} sort="-rate" most={500} />;
}
