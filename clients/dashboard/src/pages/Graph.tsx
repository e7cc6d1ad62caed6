// Who calls whom, how often, how well and how fast, now or at any time that has windows.
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { Empty, Loading, Missing, Problem } from '../components/Empty.tsx';
import { Drawing } from '../components/graph/Drawing.tsx';
import { EdgeTable } from '../components/graph/EdgeTable.tsx';
import { Panel } from '../components/Panel.tsx';
import { around, type Graph, graphPath } from '../data/graph.ts';
import { isLive, range } from '../data/range.ts';
import { href, param, set } from '../data/url.ts';
import { useGet } from '../data/use.ts';

const PHONE = '(width < 700px)';
/** A larger graph is only a table until one service is chosen. */
const DRAWN_MAX = 120;
const EVERY_MS = 15_000;

function usePhone(): boolean {
  const isPhone = useSignal(window.matchMedia(PHONE).matches);
  useEffect(() => {
    const query = window.matchMedia(PHONE);
    const look = (): void => void (isPhone.value = query.matches);
    query.addEventListener('change', look);
    return () => query.removeEventListener('change', look);
  }, []);
  return isPhone.value;
}

function Nothing(): JSX.Element {
  return (
    <Empty>
      <p><b>No service called another in this time.</b></p>
      <p>A call is drawn once both of its spans have come: the caller's, of kind client or producer, and the called one's, of kind server or consumer, in one trace. Databases, caches and queues are drawn from the caller's span alone. <a href={href('/start')}>Send traces</a></p>
    </Empty>
  );
}

function Shown({ graph }: { graph: Graph }): JSX.Element {
  const told = useSignal('');
  const isPhone = usePhone();
  const chosen = param('around');
  const { nodes, edges } = around(graph, chosen);
  const isTable = param('view') === 'table' || nodes.length > DRAWN_MAX;
  const toggle = (): void => set({ view: isTable ? null : 'table' }, true);
  const key = (event: KeyboardEvent): void => {
    const isField = (event.target as Element).matches('select');
    if (event.key === 'v' && !isField && !event.ctrlKey && !event.metaKey) toggle();
  };
  const note = told.value || (nodes.length > DRAWN_MAX ? `${nodes.length} nodes are too many to draw; choose one` : isTable ? '' : 'thicker is more, red fails; a line leads to its traces');
  return (
    <Panel title="Calls" note={note} wide onKeyDown={key} actions={
      <>
        <select aria-label="Around which service" value={chosen} onChange={(event) => set({ around: event.currentTarget.value })}>
          <option value="">all services</option>
          {graph.nodes.map(({ name }) => <option key={name} value={name}>{name}</option>)}
        </select>
        <button type="button" class="quiet" aria-pressed={isTable} onClick={toggle}>Table</button>
      </>
    }>
      {edges.length === 0 ? <Nothing /> : isTable ? <EdgeTable nodes={nodes} edges={edges} /> : <Drawing nodes={nodes} edges={edges} isPhone={isPhone} onTell={(text) => (told.value = text)} />}
      <p class="sr" aria-live="polite">{told.value}</p>
    </Panel>
  );
}

export function GraphPage(): JSX.Element {
  const loaded = useGet<Graph>(graphPath(range.value, isLive.value), isLive.value ? EVERY_MS : 0);
  const { data, error } = loaded.value;
  return (
    <div class="page">
      {error?.isMissing ? <Missing what="Service graphs" /> : error && <Problem error={error} again={loaded.again} />}
      {!data && !error && <Loading />}
      {data && <Shown graph={data} />}
    </div>
  );
}
